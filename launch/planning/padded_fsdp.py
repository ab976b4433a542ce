"""The paper's own way to train, PyTorch's FSDP on padded rows: what is known of it, and what is assumed.

The paper names the framework, BF16, its rows, its batch and its steps. Its published example code, which need not be
what the run used, has one sequence at once on a GPU, weights in BF16, full sharding, and parameters off-loaded to the
host.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from ...core.errors import UserError, check_known
from ...core.log import counted
from ...data_prep.tokens.layouts import Layout
from ...data_prep.tokens.parcomed import SEQUENCES, table
from ...recipes.filling import Filling
from ...recipes.memory import RECOMPUTE
from ...recipes.published_recipes import RUNS, SEQ_LENGTH
from ...recipes.schema import Recipe, world_size
from ...scaling.work import Kernel, Work

VALUES = {
    "grads": {"bf16": "bf16", "fp32": "fp32"},
    "attention": {"flash-2": Kernel.FLASH_2, "flash-3": Kernel.FLASH_3},
    "fused": {"no": False, "yes": True},
    "recompute": {"no": False, "yes": True},
}
"""Name of an assumption with a few allowed values -> each value as it is given, and what it stands for."""


@dataclass(frozen=True)
class Assumptions:
    """The settings that decide a step of the other trainer, as the user gives them; each may be changed.

    Attributes:
        micro: sequences at once on a GPU.
        grads: type in which gradients are summed and reduced.
        attention: the kernel.
        fused: whether element-wise operations are fused.
        recompute: whether layers are recomputed in the backward pass.
    """

    micro: str = "1"
    grads: str = "bf16"
    attention: str = "flash-2"
    fused: str = "no"
    recompute: str = "no"


REASONS = {
    "micro": "the paper's published example code",
    "grads": "that code loads weights in BF16, and FSDP reduces gradients in the type of the weights",
    "attention": "an assumption: PyTorch's own flash kernel, which cuDNN's outdoes on an H100",
    "fused": "an assumption: a model's norms, rotations and activations as PyTorch runs them without a compiler",
    "recompute": "an assumption: no source states it",
}
"""Name of an assumption -> why its default is taken."""


def read_assumptions(given: list[str]) -> Assumptions:
    """Read `NAME=VALUE` items.

    Raises:
        UserError: there is no such assumption, or it cannot have that value.
    """
    values = {}
    for item in given:
        name, _, value = item.partition("=")
        check_known(name, REASONS, "assumption", "--assume")
        if name in VALUES:
            check_known(value, VALUES[name], f"value of {name}", "--assume")
        elif not (value.isascii() and value.isdigit() and 0 < int(value) <= RUNS[Layout.PAPER][0]):
            raise UserError(f"{item!r}", where="--assume", allowed=f"{name}=N, sequences at once on a GPU, from 1")
        values[name] = value
    return Assumptions(**values)


def padded_fsdp(recipe: Recipe, assumptions: Assumptions) -> Recipe:
    """The paper's way on a recipe's model and GPUs: its rows, batch and steps, fully sharded.

    Raises:
        UserError: the GPUs do not divide its batch, or a GPU's share of it is not a multiple of the micro-batch.
    """
    batch, steps = RUNS[Layout.PAPER]
    gpus, micro = world_size(recipe), int(assumptions.micro)
    if batch % gpus:
        raise UserError(
            f"{counted(gpus, 'GPU')} do not divide the paper's batch of {batch:,} rows",
            where="parallel.nodes",
            allowed=f"a number of GPUs that divides {batch:,}",
        )
    if batch // gpus % micro:
        raise UserError(
            f"micro={micro} does not divide a GPU's {batch // gpus} rows a step",
            where="--assume",
            allowed=f"a micro-batch that divides {batch // gpus}",
        )
    return replace(
        recipe,
        model=replace(recipe.model, precision="bf16", fp8=False),
        data=replace(recipe.data, layout=Layout.PAPER, seq_length=SEQ_LENGTH, document_masks=None),
        parallel=replace(recipe.parallel, tp=1, pp=1, cp=1, sp=None, fsdp=True),
        batch=replace(recipe.batch, global_size=batch, micro_size=micro),
        optimizer=replace(recipe.optimizer, grads=assumptions.grads),
        steps=steps,
        megatron=dict(RECOMPUTE) if VALUES["recompute"][assumptions.recompute] else {},
    )


def as_pytorch(work: Work, assumptions: Assumptions) -> Work:
    """Work as PyTorch does it, as far as that is assumed."""
    fused, attention = VALUES["fused"][assumptions.fused], VALUES["attention"][assumptions.attention]
    return replace(work, fused=float(fused), attention=attention)


def statements(assumptions: Assumptions, rows: Filling) -> Iterator[str]:
    """Yield a sentence for each assumption about the other way, with its reason.

    Args:
        assumptions: the assumptions that the user may change.
        rows: how full its rows are.
    """
    for item in fields(Assumptions):
        value = getattr(assumptions, item.name)
        yield f"{item.name}={value}: {REASONS[item.name] if value == item.default else 'as given'}"
    yield (
        "in each micro-batch weights are gathered twice and gradients scattered once: full sharding, as in the example "
        "code, without FSDP's no_sync, which scatters once a step and holds all gradients on each GPU"
    )
    yield "parameters are not off-loaded to the host, as in the example code: that would be slower"
    yield "memory is Megatron-FSDP's, with main weights in FP32; the example code has only BF16, which takes less"
    papers = table()["tokens"] / SEQUENCES / SEQ_LENGTH
    yield (
        f"{rows.source}: they fill {rows.fill:.1%} of padded rows; the paper's own numbers of tokens and rows give "
        f"{papers:.1%}, which would be slower"
    )
