"""The published recipes: continued pre-training of Qwen3-Base on H100s, with padded or packed rows, and fine-tuning.

A name is `qwen3_<size>_cpt_<GPUs>xh100_<layout>`, with `sft` instead of `cpt` for supervised fine-tuning on
conversations. The planner chose how each run is spread, and a test repeats the choice; none of these recipes has run on
a GPU yet.
"""

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

from ..core.errors import check_known
from ..data_prep.tokens.layouts import OVERLAP, Layout
from ..data_prep.tokens.parcomed import SEQUENCES, table

SEQ_LENGTH = 2048
NODES = {48: (12, 4), 16: (4, 4), 8: (1, 8), 4: (1, 4), 1: (1, 1)}
"""GPUs -> nodes, GPUs per node. The paper's cluster has 4 per node."""
RUNS = {Layout.PAPER: (1152, 4320), Layout.PACKED: (576, 4194)}
"""Layout -> sequences per step, steps."""


class Spread(NamedTuple):
    """A spread over GPUs: TP, type of the gradients, micro-batch."""

    tp: int
    grads: str
    micro: int


SPREADS = {
    ("0p6b", 48): (Spread(1, "fp32", 8), Spread(1, "bf16", 6)),
    ("0p6b", 16): (Spread(1, "fp32", 8), Spread(1, "fp32", 9)),
    ("0p6b", 8): (Spread(1, "fp32", 8), Spread(1, "fp32", 8)),
    ("0p6b", 4): (Spread(1, "fp32", 8), Spread(1, "fp32", 8)),
    ("0p6b", 1): (Spread(1, "fp32", 8), Spread(1, "fp32", 8)),
    ("1p7b", 48): (Spread(1, "bf16", 6), Spread(1, "bf16", 6)),
    ("1p7b", 16): (Spread(1, "bf16", 6), Spread(1, "fp32", 6)),
    ("1p7b", 8): (Spread(1, "bf16", 6), Spread(1, "bf16", 6)),
    ("1p7b", 4): (Spread(1, "fp32", 6), Spread(1, "fp32", 6)),
    ("1p7b", 1): (Spread(1, "fp32", 4), Spread(1, "fp32", 4)),
    ("4b", 48): (Spread(1, "bf16", 4), Spread(1, "bf16", 4)),
    ("4b", 16): (Spread(1, "bf16", 4), Spread(1, "bf16", 4)),
    ("4b", 8): (Spread(1, "bf16", 4), Spread(1, "bf16", 4)),
    ("4b", 4): (Spread(1, "bf16", 3), Spread(1, "bf16", 3)),
    ("8b", 48): (Spread(1, "bf16", 2), Spread(1, "bf16", 2)),
    ("8b", 16): (Spread(1, "bf16", 2), Spread(1, "bf16", 2)),
    ("8b", 8): (Spread(2, "bf16", 4), Spread(2, "bf16", 4)),
    ("8b", 4): (Spread(2, "bf16", 4), Spread(2, "bf16", 4)),
}
"""Size of the model, GPUs -> spread of the padded run, and of the packed one. `pdapt plan recipe` chooses them: the
simplest way that is predicted to be within 1 % of the fastest. `recipes` knows no speeds; a test in tests/scaling
repeats the search."""

SFT_GPUS, SFT_SEQ_LENGTH, SFT_BATCH, SFT_STEPS = 8, 4096, 32, 1000
SFT_SPREADS = {
    "0p6b": Spread(1, "fp32", 4),
    "1p7b": Spread(1, "bf16", 4),
    "4b": Spread(1, "bf16", 2),
    "8b": Spread(2, "bf16", 2),
}
"""Size of the model -> spread of its fine-tuning, chosen like `SPREADS`."""

OPTIMIZER: dict[str, Any] = {
    "lr": 2e-5,
    "warmup_steps": 0,
    "beta1": 0.9,
    "beta2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.05,
    "clip": 1.0,
}
"""Values that all published recipes share: keys of `schema.Optimizer`; see `SOURCES`."""
SFT_OPTIMIZER: dict[str, Any] = OPTIMIZER | {"lr": 1e-5, "schedule": "linear", "warmup_steps": 30}
EPOCHS = 2.53
"""How often the recipes read the corpus, by the paper's account."""
SAVES = 6
"""Number of checkpoints of a run: one every 720 of the paper's 4,320 steps."""

SOURCES = {
    "model.size": "paper: all four sizes",
    "data.layout": "paper: each row holds one piece of one document; packed: ours",
    "data.seq_length": "paper: 2,048 tokens",
    "parallel.nodes": "paper: 48 H100 on Jean Zay, whose nodes have 4; other numbers of GPUs: ours",
    "parallel.ranks_per_node": "as parallel.nodes",
    "parallel.tp": "ours: the simplest way within 1 % of the fastest, as `pdapt plan recipe` predicts; the paper "
    "sharded with PyTorch's FSDP",
    "batch.global_size": "paper: 1,152; packed: ours, half of it, which holds 3 % more real tokens than 1,152 padded",
    "batch.micro_size": "ours: chosen like parallel.tp; the paper's example code has 1",
    "optimizer.grads": "ours: chosen like parallel.tp; FP32 unless BF16 is 1 % faster",
    "optimizer.lr": "paper: 2e-5, constant",
    "optimizer.warmup_steps": "paper: none",
    "optimizer.beta1": "the paper's published example code, which need not be what the run used: AdamW's default",
    "optimizer.beta2": "as optimizer.beta1",
    "optimizer.eps": "as optimizer.beta1",
    "optimizer.weight_decay": "the paper's published example code",
    "optimizer.clip": "the paper's published example code",
    "checkpoint.every": "paper: every 720 steps",
    "checkpoint.keep_every": "paper: its checkpoints are compared, so all of them are kept",
    "checkpoint.reshardable": "ours: true would gather 12 bytes per parameter in each rank's host memory at each save",
    "steps": "paper: 4,320; packed: ours, the steps that read the same number of epochs",
}
"""Key of a recipe -> where its value comes from: the paper, the example code published with it, or us."""


SFT_SOURCES = SOURCES | {
    "data.layout": "ours: packed, several conversations in a row",
    "data.seq_length": "ours: few conversations are longer; these are cut, and a message says how many",
    "parallel.nodes": "ours: one node",
    "batch.global_size": "ours: 32 rows of several conversations each",
    "optimizer.lr": "ours: half the rate of the pre-training",
    "optimizer.schedule": "ours: as Lambert et al. 2024 (Tulu 3, arXiv:2411.15124) fine-tune, linear to 0",
    "optimizer.warmup_steps": "ours: 3 % of the steps, from the same source as optimizer.schedule",
    "checkpoint.every": "ours: four checkpoints to choose from",
    "checkpoint.keep_every": "ours: as checkpoint.every, so all of them are kept",
    "steps": "ours: to be set by the data: `pdapt tokens stats` says how many epochs the steps are",
}
"""Like `SOURCES`, for the recipes for fine-tuning."""


class Kind(StrEnum):
    """Kinds of training: continued pre-training on documents, supervised fine-tuning on conversations."""

    CPT = "cpt"
    SFT = "sft"


@dataclass(frozen=True)
class Published:
    """The values that distinguish one published recipe from another.

    Attributes:
        size: the model's size, a key of `SIZES`.
        gpus: number of GPUs, a key of `NODES`.
        layout: layout of the tokens, a key of `RUNS`.
        spread: spread over the GPUs.
        kind: kind of training.
    """

    size: str
    gpus: int
    layout: Layout
    spread: Spread
    kind: Kind = Kind.CPT

    @property
    def name(self) -> str:
        """The recipe's name on the command line."""
        return f"qwen3_{self.size}_{self.kind}_{self.gpus}xh100_{self.layout}"


def names() -> list[str]:
    """Names of the recipes that fit, in the order of kind, size, GPUs and layout."""
    return list(_published())


def values(name: str) -> dict[str, Any]:
    """Give a recipe's values, as nested keys that merge into `schema.Recipe`.

    Args:
        name: one of `names()`.

    Raises:
        UserError: there is no such recipe.
    """
    recipe = _find(name)
    nodes, ranks_per_node = NODES[recipe.gpus]
    fine = recipe.kind == Kind.SFT
    batch, steps = (SFT_BATCH, SFT_STEPS) if fine else RUNS[recipe.layout]
    every = SFT_STEPS // 4 if fine else 720
    return {
        "model": {"size": recipe.size},
        "data": {"layout": recipe.layout.value, "seq_length": SFT_SEQ_LENGTH if fine else SEQ_LENGTH},
        "parallel": {"nodes": nodes, "ranks_per_node": ranks_per_node, "tp": recipe.spread.tp},
        "batch": {"global_size": batch, "micro_size": recipe.spread.micro},
        "optimizer": {"grads": recipe.spread.grads, **(SFT_OPTIMIZER if fine else OPTIMIZER)},
        "checkpoint": {"every": every, "keep_every": every, "reshardable": False},
        "steps": steps,
    }


def statement(name: str) -> str:
    """State in one line the real tokens of a step and the epochs of PARCOMED's commercial edition.

    For fine-tuning, the line says how to set the steps. Packed rows count as full: 99.99 % of the slots were, with
    lengths drawn from the corpus's table. The paper's epochs are its own account; next to it stands the least that its
    numbers of documents and tokens allow, which is more (docs/benchmarks.md).

    Args:
        name: one of `names()`.

    Raises:
        UserError: there is no such recipe.
    """
    recipe = _find(name)
    if recipe.kind == Kind.SFT:
        return (
            f"fine-tuning: {SFT_BATCH} x {SFT_SEQ_LENGTH:,} slots a step; `pdapt tokens stats TOKENS --seq-length "
            f"{SFT_SEQ_LENGTH} --batch {SFT_BATCH} --steps N` says how many epochs of your conversations N steps are"
        )
    layout = recipe.layout
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
    recipes = [
        Published(size, gpus, layout, spread)
        for (size, gpus), spreads in SPREADS.items()
        for layout, spread in zip(RUNS, spreads, strict=True)
    ]
    recipes += [Published(size, SFT_GPUS, Layout.PACKED, spread, kind=Kind.SFT) for size, spread in SFT_SPREADS.items()]
    return {recipe.name: recipe for recipe in recipes}


def _find(name: str) -> Published:
    known = _published()
    check_known(name, known, "recipe", "RECIPE")
    return known[name]
