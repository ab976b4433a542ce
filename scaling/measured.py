"""Measured training speeds: read from runs' journals, given as efficiencies, and used to adjust the planner."""

import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import root_scalar

from ..core.errors import UserError
from ..core.log import counted
from ..core.training_cost import MeasuredStep
from ..recipes.filling import Filling
from ..recipes.schema import Recipe
from .constants import Constants, Fit, Measured, read_fit
from .fit import COVERED, errors_pct, fit, predict
from .predict_run import Site, work_of_recipe
from .published import Case, extent_of_site, read_rows
from .published_trainer import Stack
from .work import Scaling

WARM = 3
"""Number of first steps of a run that do not count: memory is allocated, and threads and kernels start."""
RATES = ("bf16", "fp8", "attention", "attention_2", "attention_triton", "memory", "network")
"""Constants that are speeds: all of them scale with the speed of the machine."""
SLOWEST, FASTEST = 1e-7, 10.0
"""Range of that factor: from a CPU core's to more than any H100 reaches."""


@dataclass(frozen=True)
class Turn:
    """One run with a certain number of ranks.

    Attributes:
        seconds: time of each step that counts, from the end of the step before to its own end.
        waits: the part of each that is spent waiting for data.
        between: the part of each between the steps: logging, garbage collection, saves.
        tokens: mean number of tokens that count in a step.
        slots: slots per step.
    """

    seconds: list[float]
    waits: list[float]
    between: list[float]
    tokens: float
    slots: float


def turn_of(steps: Sequence[MeasuredStep]) -> Turn:
    """Sum up a run's steps, without the first ones.

    Raises:
        ValueError: too few steps were done.
    """
    if len(steps) < WARM + 2:
        raise ValueError(f"{counted(len(steps), 'step')}; the first {WARM} do not count")
    pairs = list(pairwise(steps[WARM - 1 :]))
    seconds = [after.time - before.time for before, after in pairs]
    return Turn(
        seconds=seconds,
        waits=[after.data_wait for _, after in pairs],
        between=[whole - after.seconds for whole, (_, after) in zip(seconds, pairs, strict=True)],
        tokens=statistics.mean(after.tokens for _, after in pairs),
        slots=pairs[0][1].slots,
    )


@dataclass(frozen=True)
class Measurement:
    """The speed with a certain number of ranks, over all its turns.

    Attributes:
        scaling: weak or strong.
        world: number of ranks.
        cores: cores of each rank; None on GPUs.
        global_batch: sequences per step.
        seconds: time of a step, the median over the steps of all turns.
        spread: the largest of the turns' medians divided by the smallest, minus 1.
        tokens_per_second: tokens that count, over all ranks.
        slots_per_second_per_rank: slots, real or padding.
        data_wait: median seconds per step spent waiting for data.
        between: median seconds between two steps.
        turns: number of turns.
    """

    scaling: Scaling
    world: int
    cores: float | None
    global_batch: int
    seconds: float
    spread: float
    tokens_per_second: float
    slots_per_second_per_rank: float
    data_wait: float
    between: float
    turns: int

    @property
    def oversubscribed(self) -> bool:
        """Whether ranks share cores, so that they wait for each other."""
        return self.cores is not None and self.cores < 1


def measurement(scaling: Scaling, world: int, turns: list[Turn], *, cores: float | None, batch: int) -> Measurement:
    """Combine the turns with one number of ranks."""
    medians = [statistics.median(turn.seconds) for turn in turns]
    seconds = statistics.median(second for turn in turns for second in turn.seconds)
    return Measurement(
        scaling=scaling,
        world=world,
        cores=cores,
        global_batch=batch,
        seconds=seconds,
        spread=max(medians) / min(medians) - 1,
        tokens_per_second=statistics.mean(turn.tokens for turn in turns) / seconds,
        slots_per_second_per_rank=turns[0].slots / seconds / world,
        data_wait=statistics.median(wait for turn in turns for wait in turn.waits),
        between=statistics.median(rest for turn in turns for rest in turn.between),
        turns=len(turns),
    )


@dataclass(frozen=True)
class Efficiency:
    """Speeds relative to those of the fewest ranks with the same kind of scaling.

    Attributes:
        by_rank: tokens/s per rank.
        by_core: tokens/s per core in use; None on GPUs. On a CPU a second rank takes half of the first rank's cores, so
            this is the value to compare.
    """

    by_rank: float
    by_core: float | None


def efficiencies(measurements: list[Measurement]) -> list[Efficiency]:
    """Compute the efficiency of each measurement."""
    computed = []
    for measured in measurements:
        first = next(other for other in measurements if other.scaling == measured.scaling)
        rate, base = measured.tokens_per_second / measured.world, first.tokens_per_second / first.world
        by_core = None
        if measured.cores is not None and first.cores is not None:
            used, at_first = measured.cores * measured.world, first.cores * first.world
            by_core = measured.tokens_per_second / used / (first.tokens_per_second / at_first)
        computed.append(Efficiency(rate / base, by_core))
    return computed


@dataclass(frozen=True)
class RowErrors:
    """Error of a row's prediction in percent, before and after the adjustment."""

    id: str
    before: float
    after: float


@dataclass(frozen=True)
class Adjustment:
    """The published fit adjusted to a site."""

    fit: Fit
    errors_pct: list[RowErrors]
    measured: Measured

    def site(self) -> dict[str, Any]:
        """Return the JSON values of a site's file."""
        return self.fit.to_json() | {"measured": self.measured._asdict()}

    def to_json(self) -> dict[str, Any]:
        """Return JSON values: a site's file, and the errors."""
        return self.site() | {"errors_pct": [asdict(row) for row in self.errors_pct]}


def adjust(path: Path) -> Adjustment:
    """Adjust the published fit to a file of measured rows.

    Args:
        path: JSON in the form of published.json.

    Raises:
        UserError: the file has no rows, a row is invalid, or no speed of the machine explains them.
    """
    cases, start = read_rows(path), read_fit().constants
    fit_of_site = recalibrated(cases, start)
    before, after = (errors_pct(cases, constants).tolist() for constants in (start, fit_of_site.constants))
    pairs = [RowErrors(case.id, old, new) for case, old, new in zip(cases, before, after, strict=True)]
    return Adjustment(fit_of_site, pairs, extent_of_site(cases))


def case_of(recipe: Recipe, filling: Filling, site: Site, measured: Measurement) -> Case:
    """Convert a measurement to a row that constants can be fitted to."""
    name = f"{measured.scaling} {measured.world}"
    work, speed = work_of_recipe(recipe, filling, site), measured.slots_per_second_per_rank
    return Case(name, name, Stack.MEGATRON, work=work, published=speed, assumed=())


def recalibrated(cases: list[Case], start: Constants) -> Fit:
    """Fit a site's constants to its measurements; the interval is that of its own rows.

    First all speeds are multiplied by one factor, so that the median row fits, while fixed times stay. Then the
    constants are fitted from there, each drawn towards its scaled value. A few rows therefore change only the constants
    that they determine best.

    Args:
        cases: the measured rows.
        start: the published fit.

    Raises:
        UserError: no speed of the machine explains the rows.
    """
    published = np.log([case.published for case in cases])

    def scaled(factor: float) -> Constants:
        return replace(start, **{name: getattr(start, name) * factor for name in RATES})

    def off(logarithm: float) -> float:
        return float(np.median(np.log(predict(cases, scaled(np.exp(logarithm)))) - published))

    low, high = np.log(SLOWEST), np.log(FASTEST)
    if off(low) > 0 or off(high) < 0:
        raise UserError(
            "no speed of the machine explains the measurements",
            where="the measurements",
            allowed=f"{SLOWEST:g} to {FASTEST:g} times as fast as an H100, with its fixed times",
            fix="measure a larger model or a larger batch, whose steps take longer than the fixed times",
        )
    # NVLink's speed is not a fitted constant: without NVLink, as between CPU ranks, the network's share stands for it.
    fitted = fit(cases, scaled(float(np.exp(root_scalar(off, bracket=(low, high)).root))))
    ratios = np.array([case.published for case in cases]) / predict(cases, fitted)
    least, most = np.quantile(ratios, COVERED).tolist()
    return Fit(fitted, (min(least, 1.0), max(most, 1.0)), len(cases))
