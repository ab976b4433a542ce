"""`pdapt plan compare`: a recipe and the paper's own way to train, compared term by term; every time is predicted.

What follows from arithmetic is compared directly: slots that hold no token, bytes that are sent, memory. The time of a
step is predicted with the interval of FSDP's rows (`Reach.interval_of`), and only within their range: outside of it no
time is given. `padded_fsdp.py` says what is assumed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from ...core.errors import check_known
from ...core.gpus import GIB
from ...core.memory import fits
from ...recipes.filling import Filling, filling
from ...recipes.memory import of_gpu
from ...recipes.schema import Recipe
from ...scaling.constants import FITTED, read_fit, read_reach
from ...scaling.predict_run import Run, Site, beyond, run_from_terms, stack_of_recipe, unmeasured, work_of_recipe
from ...scaling.published_trainer import Stack
from ...scaling.step_time import Terms, step_time
from ...scaling.work import Work
from .padded_fsdp import Assumptions, as_pytorch, padded_fsdp, statements

FSDP_PADDED = "fsdp-padded"
OTHERS = (FSDP_PADDED,)
"""Ways that a recipe can be compared with."""
AS_PUBLISHED = Assumptions()


@dataclass(frozen=True)
class Side:
    """A way to train, predicted.

    Attributes:
        name: the way's name.
        sequences: sequences per step.
        micro_batch: sequences at once on a GPU.
        steps: steps of the run.
        real_tokens: real tokens per step.
        fill: share of the slots that hold real tokens.
        gigabytes: gigabytes that a GPU sends in a step for gradients and weights.
        memory_gib: memory of the GPU that needs most.
        fits: whether that fits the recipe's GPUs.
        interval: factors of the predicted speed between which the rows of such trainers lie.
        run: the predicted run; None if no rows support the interval.
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
    interval: tuple[float, float]
    run: Run | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values; without times where there are none."""
        numbers = {item.name: getattr(self, item.name) for item in fields(Side) if item.name not in ("run", "interval")}
        if self.run is None:
            return numbers
        run = {name: value for name, value in asdict(self.run).items() if name != "terms"}
        terms = {name: float(value) for name, value in asdict(self.run.terms).items()}
        hours = {"interval": self.interval, "hours_interval": _hours(self.run, self.interval)}
        return {**numbers, **run, **hours, "terms_seconds": terms}


def _hours(run: Run, interval: tuple[float, float]) -> tuple[float, float]:
    """Hours of a whole run, the least and the most."""
    return run.hours / interval[1], run.hours / interval[0]


@dataclass(frozen=True)
class Comparison:
    """A recipe and another way, on the same GPUs.

    Attributes:
        ours, other: the recipe and the other way.
        tokens_ratio: real tokens in all steps of the other way, divided by the recipe's.
        terms: term of a step -> seconds per million real tokens, of the recipe and of the other way, and the term's
            share of the difference; empty if the other way has no times.
        assumed: sentences on what is assumed about the other way, with reasons.
        unmeasured: why the other way has no times; None if it has.
        beyond: sentences on how the prediction goes beyond the rows.
    """

    ours: Side
    other: Side
    tokens_ratio: float
    terms: dict[str, tuple[float, float, float]]
    assumed: list[str]
    unmeasured: str | None
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
            "assumed": self.assumed,
            "no_step_time": self.unmeasured,
            "beyond": self.beyond,
        }


def compare(
    recipe: Recipe, other: str, constants: Path | None, *, site: Site, assumptions: Assumptions = AS_PUBLISHED
) -> Comparison:
    """Compare a recipe with another way to train as many epochs on the same GPUs.

    Args:
        recipe: the checked recipe.
        other: one of OTHERS.
        constants: a site's file, or None.
        site: the machines.
        assumptions: assumptions about the other way.

    Raises:
        UserError: there is no such way, or the recipe's GPUs cannot take its batch.
    """
    check_known(other, OTHERS, "way to train", "--with")
    path = constants or FITTED
    fit, reach = read_fit(path), read_reach(path)
    padded = padded_fsdp(recipe, assumptions)
    slots, rows, missing = filling(recipe, None), filling(padded, None), unmeasured(padded, reach)
    works = work_of_recipe(recipe, slots, site), as_pytorch(work_of_recipe(padded, rows, site), assumptions)
    runs = [
        run_from_terms(way, filled, site, work=work, terms=step_time(work, fit.constants))
        for way, filled, work in zip((recipe, padded), (slots, rows), works, strict=True)
    ]
    intervals = reach.interval_of(stack_of_recipe(recipe)), reach.interval_of(Stack.FSDP)
    ours = _side("recipe", recipe, slots, work=works[0], run=runs[0], interval=intervals[0])
    run = None if missing else runs[1]
    theirs = _side(other, padded, rows, work=works[1], run=run, interval=intervals[1])
    return Comparison(
        ours=ours,
        other=theirs,
        tokens_ratio=theirs.real_tokens * theirs.steps / (ours.real_tokens * ours.steps),
        terms={} if run is None else _by_term(runs, (ours.real_tokens, theirs.real_tokens)),
        assumed=list(statements(assumptions, rows)),
        unmeasured=missing,
        beyond=beyond(recipe, reach),
    )


def sent_bytes(work: Work) -> float:
    """Bytes that a GPU sends in a step for gradients and weights; with FSDP it sends them in every micro-batch."""
    group = work.dp * work.cp
    sharded = work.gathers > 0
    size = work.parameters * (work.grad_bytes + 2 * np.where(sharded, work.gathers, 1))
    return float(np.where(sharded, work.accumulation, 1) * size * (group - 1) / group)


def _side(
    name: str, recipe: Recipe, slots: Filling, *, work: Work, run: Run | None, interval: tuple[float, float]
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
        interval=interval,
        run=run,
    )


def _by_term(runs: Sequence[Run], real_tokens: tuple[float, float]) -> dict[str, tuple[float, float, float]]:
    """Seconds of each term for a million real tokens, and its share of the whole difference.

    Args:
        runs: ours and the other.
        real_tokens: of a step of each.
    """
    pairs = {}
    for item in fields(Terms):
        mine, other = (
            1e6 * float(getattr(run.terms, item.name)) / tokens for run, tokens in zip(runs, real_tokens, strict=True)
        )
        pairs[item.name] = (mine, other)
    difference = sum(other - mine for mine, other in pairs.values())
    return {name: (mine, other, (other - mine) / difference) for name, (mine, other) in pairs.items()}


def lines(name: str, result: Comparison) -> Iterator[str]:
    """Format a comparison for people."""
    ours, other = result.ours, result.other
    yield f"{name} compared with {other.name}, both on H100s. Predicted, not measured; not valid for CPU ranks."
    for side in (ours, other):
        memory = f"{side.memory_gib:.1f} GiB{'' if side.fits else ', which does not fit'}"
        sent = f"{side.gigabytes:,.0f}" if side.gigabytes >= 10 else f"{side.gigabytes:.2g}"
        yield (
            f"  {side.name}: {side.sequences:,} sequences per step, micro-batch {side.micro_batch}; {side.fill:.1%} of "
            f"the slots hold tokens, {side.real_tokens:,.0f} per step; a GPU sends {sent} GB per step, needs {memory}"
        )
        yield f"    {_times(side)}" if side.run else f"    no step time: {result.unmeasured}"
    yield f"  over the whole run, {other.name} reads {result.tokens_ratio:,.2f} x as many real tokens as the recipe"
    if ours.run and other.run:
        speed = ours.run.tokens_per_second_per_gpu / other.run.tokens_per_second_per_gpu
        low, high = ours.interval[0] / other.interval[1], ours.interval[1] / other.interval[0]
        yield f"  the recipe trains {speed:.2f} x as many real tokens/s ({low * speed:.2f} to {high * speed:.2f})"
        yield "  seconds per million real tokens:        recipe  other  share of the difference"
    for term, (mine, theirs, share) in sorted(result.terms.items(), key=lambda pair: -abs(pair[1][2])):
        yield f"    {term:<34} {mine:>7.3f} {theirs:>7.3f} {share:>8.0%}"
    yield f"  assumptions about {other.name} (--assume NAME=VALUE changes the first five):"
    yield from (f"    {sentence}" for sentence in result.assumed)
    yield from (f"  {sentence}" for sentence in result.beyond)


def _times(side: Side) -> str:
    """The predicted times of a side that has some."""
    assert side.run is not None
    least, most = _hours(side.run, side.interval)
    return (
        f"{side.run.step_seconds:.2f} s per step, {side.run.tokens_per_second_per_gpu:,.0f} real tokens/s/GPU; "
        f"{side.steps:,} steps: {side.run.hours:.1f} h ({least:.1f} to {most:.1f}), {side.run.gpu_hours:,.0f} GPU-hours"
    )
