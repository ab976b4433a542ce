"""`pdapt plan compare`: a recipe beside the paper's own way to train, term by term; every time is predicted.

The paper trained with PyTorch's FSDP on padded rows, one sequence at once on a GPU (its published example code). What
follows from arithmetic is compared as it is: slots that hold no token, bytes that travel, memory. The time of a step is
predicted with the constants that FSDP's rows have told, in the interval of those rows (`Reach.interval_of`).
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import UserError, check_known
from ...core.gpus import GIB
from ...core.memory import fits
from ...data_prep.tokens.layouts import Layout
from ...recipes.filling import Filling, filling
from ...recipes.memory import of_gpu
from ...recipes.published_recipes import RUNS
from ...recipes.schema import Recipe, world_size
from ...scaling.constants import FITTED, read_fit, read_reach
from ...scaling.predict_run import Run, Site, beyond, run_from_terms, stack_of_recipe, work_of_recipe
from ...scaling.published_trainer import Stack
from ...scaling.step_time import Terms, step_time
from ...scaling.work import Kernel, Work

FSDP_PADDED = "fsdp-padded"
OTHERS = (FSDP_PADDED,)
"""Ways that a recipe can be compared with."""


@dataclass(frozen=True)
class Side:
    """A way to train, predicted.

    Attributes:
        name: of the way.
        sequences: of a step.
        micro_batch: sequences at once on a GPU.
        steps: of the run.
        real_tokens: of a step.
        fill: share of the slots that hold them.
        gigabytes: that a GPU sends in a step for gradients and weights.
        memory_gib: of the GPU that needs most.
        fits: whether that fits the recipe's GPUs.
        run: predicted.
        interval: factors of the predicted speed within which the rows of such trainers are.
    """

    name: str
    sequences: int
    micro_batch: int
    steps: int
    real_tokens: float
    fill: float
    gigabytes: float
    memory_gib: float
    fits: bool
    run: Run
    interval: tuple[float, float]

    @property
    def hours(self) -> tuple[float, float]:
        """Hours of the whole run, the least and the most."""
        return self.run.hours / self.interval[1], self.run.hours / self.interval[0]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        numbers = {item.name: getattr(self, item.name) for item in fields(Side) if item.name != "run"}
        run = {name: value for name, value in asdict(self.run).items() if name != "terms"}
        terms = {name: float(value) for name, value in asdict(self.run.terms).items()}
        return {**numbers, **run, "hours_interval": self.hours, "terms_seconds": terms}


@dataclass(frozen=True)
class Comparison:
    """A recipe and another way, on the same GPUs.

    Attributes:
        ours, other: both.
        tokens_ratio: real tokens of all the other's steps over those of ours.
        terms: term of a step -> seconds per million real tokens, ours and the other's, and its share of the difference.
        beyond: how the prediction goes beyond the rows, sentences.
    """

    ours: Side
    other: Side
    tokens_ratio: float
    terms: dict[str, tuple[float, float, float]]
    beyond: list[str]

    def to_json(self) -> dict[str, Any]:
        """As JSON values; all times are predicted."""
        return {
            "predicted": True,
            "ours": self.ours.to_json(),
            "other": self.other.to_json(),
            "tokens_ratio": self.tokens_ratio,
            "terms": {
                name: {"ours": ours, "other": other, "share_of_difference": share}
                for name, (ours, other, share) in self.terms.items()
            },
            "beyond": self.beyond,
        }


def compare(recipe: Recipe, other: str, constants: Path | None, site: Site) -> Comparison:
    """Compare a recipe with another way to train as many epochs on the same GPUs.

    Args:
        recipe: checked.
        other: one of OTHERS.
        constants: a site's file, or None.
        site: its machines.

    Raises:
        UserError: there is no such way, or the recipe's GPUs cannot take its batch.
    """
    check_known(other, OTHERS, "way to train", "--with")
    path = constants or FITTED
    fit, reach = read_fit(path), read_reach(path)
    padded = padded_fsdp(recipe)
    slots, rows = filling(recipe, None), filling(padded, None)
    work = work_of_recipe(recipe, slots, site)
    foreign = as_pytorch(work_of_recipe(padded, rows, site))
    intervals = reach.interval_of(stack_of_recipe(recipe)), reach.interval_of(Stack.FSDP)
    ours = _side("recipe", recipe, slots, site, work=work, terms=step_time(work, fit.constants), interval=intervals[0])
    theirs = _side(
        other, padded, rows, site, work=foreign, terms=step_time(foreign, fit.constants), interval=intervals[1]
    )
    ratio = theirs.real_tokens * theirs.steps / (ours.real_tokens * ours.steps)
    return Comparison(ours, theirs, ratio, terms=_by_term(ours, theirs), beyond=beyond(recipe, reach))


def padded_fsdp(recipe: Recipe) -> Recipe:
    """The paper's way on a recipe's model and GPUs: its rows, batch and steps, fully sharded, one row at once.

    Raises:
        UserError: the GPUs do not divide its batch.
    """
    batch, steps = RUNS[Layout.PAPER]
    gpus = world_size(recipe)
    if batch % gpus:
        raise UserError(
            f"{gpus} GPUs do not divide the paper's batch of {batch:,} rows",
            where="parallel.nodes",
            allowed=f"a number of GPUs that divides {batch:,}",
        )
    return replace(
        recipe,
        data=replace(recipe.data, layout=Layout.PAPER, document_masks=None),
        parallel=replace(recipe.parallel, tp=1, pp=1, cp=1, sp=None, fsdp=True),
        batch=replace(recipe.batch, global_size=batch, micro_size=1),
        optimizer=replace(recipe.optimizer, grads="bf16"),
        steps=steps,
        megatron={},
    )


def as_pytorch(work: Work) -> Work:
    """Work as PyTorch and transformers do it: FlashAttention 2, and operations that nothing fuses."""
    return replace(work, fused=0.0, attention=Kernel.FLASH_2)


def sent_bytes(work: Work) -> float:
    """Bytes that a GPU sends in a step for gradients and weights: with FSDP in every micro-batch."""
    group = work.dp * work.cp
    sharded = work.gathers > 0
    size = work.parameters * (work.grad_bytes + 2 * np.where(sharded, work.gathers, 1))
    return float(np.where(sharded, work.accumulation, 1) * size * (group - 1) / group)


def _side(
    name: str, recipe: Recipe, slots: Filling, site: Site, *, work: Work, terms: Terms, interval: tuple[float, float]
) -> Side:
    memory, sequences = of_gpu(recipe), recipe.batch.global_size
    return Side(
        name=name,
        sequences=sequences,
        micro_batch=recipe.batch.micro_size,
        steps=recipe.steps,
        real_tokens=sequences * recipe.data.seq_length * slots.fill,
        fill=slots.fill,
        gigabytes=sent_bytes(work) / 1e9,
        memory_gib=memory.total / GIB,
        fits=fits(memory, recipe.machine.gpu_gib * GIB),
        run=run_from_terms(recipe, slots, site, work=work, terms=terms),
        interval=interval,
    )


def _by_term(ours: Side, theirs: Side) -> dict[str, tuple[float, float, float]]:
    """Seconds of each term for a million real tokens, and its share of the whole difference."""
    pairs = {}
    for item in fields(Terms):
        mine, other = (1e6 * float(getattr(side.run.terms, item.name)) / side.real_tokens for side in (ours, theirs))
        pairs[item.name] = (mine, other)
    difference = sum(other - mine for mine, other in pairs.values())
    return {name: (mine, other, (other - mine) / difference) for name, (mine, other) in pairs.items()}


def lines(name: str, result: Comparison) -> Iterator[str]:
    """A comparison's lines, for people."""
    yield f"{name} beside {result.other.name}, on the same GPUs. Predicted, not measured."
    for side in (result.ours, result.other):
        least, most = side.hours
        memory = f"{side.memory_gib:.1f} GiB{'' if side.fits else ', which does not fit'}"
        yield (
            f"  {side.name}: {side.sequences:,} sequences a step, {side.micro_batch} at once; {side.fill:.1%} of the "
            f"slots hold tokens, {side.real_tokens:,.0f} a step; {side.gigabytes:,.0f} GB sent a step and GPU; {memory}"
        )
        yield (
            f"    {side.run.step_seconds:.2f} s a step, {side.run.tokens_per_second_per_gpu:,.0f} real tokens/s/GPU; "
            f"{side.steps:,} steps: {side.run.hours:.1f} h ({least:.1f} to {most:.1f}), "
            f"{side.run.gpu_hours:,.0f} GPU-hours"
        )
    speed = result.ours.run.tokens_per_second_per_gpu / result.other.run.tokens_per_second_per_gpu
    yield f"  {speed:.2f} x the real tokens a second; {result.other.name} trains {result.tokens_ratio:.2f} x as many"
    yield "  seconds for a million real tokens:      recipe  other  share of the difference"
    for term, (mine, other, share) in sorted(result.terms.items(), key=lambda pair: -abs(pair[1][2])):
        yield f"    {term:<34} {mine:>7.3f} {other:>7.3f} {share:>8.0%}"
    yield from (f"  {sentence}" for sentence in result.beyond)
