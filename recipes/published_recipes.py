"""The published recipes: Qwen3-Base trained further on H100s, with the paper's padded rows or packed.

A name is `qwen3_<size>_cpt_<GPUs>xh100_<layout>`. How a run is spread follows from the memory that `core.memory`
predicts; none of these recipes has run on a GPU yet.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

from ..core.errors import check_known
from ..core.memory import fits, gpu_memory
from ..core.qwen3 import SIZES
from ..data_prep.tokens.layouts import OVERLAP, Layout
from ..data_prep.tokens.parcomed import SEQUENCES, table

SEQ_LENGTH = 2048
NODES = {48: (12, 4), 16: (4, 4), 8: (1, 8), 4: (1, 4), 1: (1, 1)}
"""GPUs -> nodes, GPUs of a node. The paper's cluster has 4 a node."""
RUNS = {Layout.PAPER: (1152, 4320), Layout.PACKED: (576, 4194)}
"""Layout -> sequences a step, steps."""
LARGEST_MICRO = 8
ATTEMPTS = ((1, "fp32"), (1, "bf16"), (2, "fp32"), (2, "bf16"))
"""TP and type of the gradients, in the order of preference: the first that fits is taken."""

OPTIMIZER: dict[str, Any] = {
    "lr": 2e-5,
    "warmup_steps": 0,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.05,
    "clip": 1.0,
}
"""Values that all of them share: keys of `schema.Optimizer`; see `SOURCES`."""
EPOCHS = 2.53
"""How often they read the corpus, by the paper's account."""
SAVES = 6
"""Checkpoints of a run: one every 720 of the paper's 4,320 steps."""

SOURCES = {
    "model.size": "paper: all four sizes",
    "data.layout": "paper: one piece of one document a row; packed: ours",
    "data.seq_length": "paper: 2,048 tokens",
    "parallel.nodes": "paper: 48 H100 on Jean Zay, whose nodes have 4; other numbers of GPUs: ours",
    "parallel.ranks_per_node": "as parallel.nodes",
    "parallel.tp": "ours: the smallest that fits in memory, as predicted; the paper sharded with PyTorch's FSDP",
    "batch.global_size": "paper: 1,152; packed: ours, half of it, which holds 3 % more real tokens than 1,152 padded",
    "batch.micro_size": "ours: the largest up to 8 that divides and fits, as predicted; the paper's example code has 1",
    "optimizer.grads": "ours: FP32 where it fits, as predicted",
    "optimizer.lr": "paper: 2e-5, constant",
    "optimizer.warmup_steps": "paper: none",
    "optimizer.beta1": "the paper's published example code, which does not prove the run's: AdamW's default",
    "optimizer.beta2": "as optimizer.beta1",
    "optimizer.eps": "as optimizer.beta1",
    "optimizer.weight_decay": "the paper's published example code",
    "optimizer.clip": "the paper's published example code",
    "checkpoint.every": "paper: every 720 steps",
    "checkpoint.keep_every": "paper: its checkpoints are compared, so all of them are kept",
    "checkpoint.reshardable": "ours: it would gather 12 bytes a parameter in each rank's host memory at each save",
    "steps": "paper: 4,320; packed: ours, the steps that read as many epochs",
}
"""Key of a recipe -> where its value comes from: the paper, the example code published with it, or us."""


@dataclass(frozen=True)
class Published:
    """The values that distinguish one published recipe from another.

    Attributes:
        size: of the model, a key of `SIZES`.
        gpus: a key of `NODES`.
        layout: a key of `RUNS`.
        tp: GPUs that share each layer.
        grads: type in which gradients are summed.
        micro: sequences at once on a GPU.
    """

    size: str
    gpus: int
    layout: Layout
    tp: int
    grads: str
    micro: int

    @property
    def name(self) -> str:
        """Its name on the command line."""
        return f"qwen3_{self.size}_cpt_{self.gpus}xh100_{self.layout}"


def names() -> list[str]:
    """The recipes that fit, by size, GPUs and layout."""
    return list(_published())


def values(name: str) -> dict[str, Any]:
    """A recipe's values, as nested keys that merge into `schema.Recipe`.

    Args:
        name: one of `names()`.

    Raises:
        UserError: there is no such recipe.
    """
    recipe = _find(name)
    nodes, ranks_per_node = NODES[recipe.gpus]
    batch, steps = RUNS[recipe.layout]
    return {
        "model": {"size": recipe.size},
        "data": {"layout": recipe.layout.value, "seq_length": SEQ_LENGTH},
        "parallel": {"nodes": nodes, "ranks_per_node": ranks_per_node, "tp": recipe.tp},
        "batch": {"global_size": batch, "micro_size": recipe.micro},
        "optimizer": {"grads": recipe.grads, **OPTIMIZER},
        "checkpoint": {"every": 720, "keep_every": 720, "reshardable": False},
        "steps": steps,
    }


def statement(name: str) -> str:
    """One line: real tokens of a step, and epochs of PARCOMED's commercial edition.

    Packed rows are taken as full: 99.99 % were, on lengths drawn from the corpus' table. The paper's epochs are its own
    account; beside it stands the least that its numbers of documents and tokens allow, which is more
    (docs/benchmarks.md).

    Args:
        name: one of `names()`.

    Raises:
        UserError: there is no such recipe.
    """
    layout = _find(name).layout
    batch, steps = RUNS[layout]
    corpus = table()
    tokens, slots = corpus["tokens"], batch * SEQ_LENGTH
    documents = sum(source["documents"] for source in corpus["sources"] if source["commercial"])
    real, rows = (slots, tokens / SEQ_LENGTH) if layout == Layout.PACKED else (batch * tokens / SEQUENCES, SEQUENCES)
    line = (
        f"{layout}: {batch:,} x {SEQ_LENGTH:,} slots a step, {real / 1e6:.3f} M real tokens, {steps:,} steps = "
        f"{steps * batch / rows:.2f} epochs of PARCOMED's {tokens / 1e9:.3f} G tokens"
    )
    if layout == Layout.PACKED:
        return line
    most = documents + tokens / (SEQ_LENGTH - OVERLAP)  # a document of n tokens gives at most 1 + n / 2,044 rows
    return f"{line} by the paper's account, {steps * batch / most:.2f} or more by its documents"


@cache
def _published() -> dict[str, Published]:
    candidates = (_choose(size, gpus, layout) for size in SIZES for gpus in NODES for layout in RUNS)
    return {recipe.name: recipe for recipe in candidates if recipe is not None}


def _find(name: str) -> Published:
    known = _published()
    check_known(name, known, "recipe", "RECIPE")
    return known[name]


def _choose(size: str, gpus: int, layout: Layout) -> Published | None:
    """The first attempt that fits with one sequence at once, with as many as fit then; None if none fits."""
    batch = RUNS[layout][0]
    for tp, grads in ATTEMPTS:
        if gpus % tp:
            continue
        dp = gpus // tp
        divisors = [micro for micro in range(1, LARGEST_MICRO + 1) if batch % (dp * micro) == 0]
        fitting = [micro for micro in divisors if _fits(size, dp, tp, grads=grads, micro=micro)]
        if fitting:
            return Published(size, gpus, layout, tp=tp, grads=grads, micro=max(fitting))
    return None


def _fits(size: str, dp: int, tp: int, *, grads: str, micro: int) -> bool:
    spread = {"dp": dp, "tp": tp, "pp": 1, "cp": 1, "sp": tp > 1}
    return fits(gpu_memory(SIZES[size], **spread, micro_batch=micro, seq_length=SEQ_LENGTH, grads=grads))
