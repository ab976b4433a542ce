"""Measured training speeds: read from runs' journals, as efficiencies, and as an adjustment of the planner."""

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
"""First steps of a run that do not count: memory is allocated, and threads and kernels start."""
RATES = ("bf16", "fp8", "attention", "attention_2", "attention_triton", "memory", "network")
"""Constants that are speeds; with a machine that is so many times as slow, they are so many times as small."""
SLOWEST, FASTEST = 1e-7, 10.0
"""Range of that factor: from a core to what no H100 reaches."""


@dataclass(frozen=True)
class Turn:
    """One run of a world size.

    Attributes:
        seconds: of each step that counts, from its end to the next one's end, all in between included.
        waits: of them, the wait for data.
        between: of them, what is outside of the step: logging, garbage collection, saves.
        tokens: that count in a step, the mean.
        slots: of a step.
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
    """The time of a world size, over all its turns.

    Attributes:
        scaling: weak or strong.
        world: ranks.
        cores: that each rank had; None on GPUs.
        global_batch: sequences of a step.
        seconds: of a step, the median over all turns' steps.
        spread: of the turns' medians: the largest over the smallest, less 1.
        tokens_per_second: that count, of all ranks.
        slots_per_second_per_rank: slots, real or padding.
        data_wait: seconds of a step, the median.
        between: as `data_wait`, outside of the step.
        turns: how many.
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
    """Put the turns of a world size together."""
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
    """Speeds over those of the fewest ranks that scale in the same way.

    Attributes:
        by_rank: tokens a second and rank.
        by_core: tokens a second and core in use; None on GPUs. On a CPU a second rank takes half of the cores from the
            first, so that this is what one can compare.
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
    """Error of a row's prediction in percent, before the adjustment and after it."""

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
        """As the JSON values of a site's file."""
        return self.fit.to_json() | {"measured": self.measured._asdict()}

    def to_json(self) -> dict[str, Any]:
        """As JSON values: a site's file, and the errors."""
        return self.site() | {"errors_pct": [asdict(row) for row in self.errors_pct]}


def adjust(path: Path) -> Adjustment:
    """Adjust the published fit to a file of measured rows.

    Args:
        path: JSON in the form of published.json.

    Raises:
        UserError: the file has no rows, one of them cannot be, or nothing explains them.
    """
    cases, start = read_rows(path), read_fit().constants
    fit_of_site = recalibrated(cases, start)
    before, after = (errors_pct(cases, constants).tolist() for constants in (start, fit_of_site.constants))
    pairs = [RowErrors(case.id, old, new) for case, old, new in zip(cases, before, after, strict=True)]
    return Adjustment(fit_of_site, pairs, extent_of_site(cases))


def case_of(recipe: Recipe, filling: Filling, site: Site, measured: Measurement) -> Case:
    """A measurement as a row that constants can be fitted to."""
    name = f"{measured.scaling} {measured.world}"
    work, speed = work_of_recipe(recipe, filling, site), measured.slots_per_second_per_rank
    return Case(name, name, Stack.MEGATRON, work=work, published=speed, assumed=())


def recalibrated(cases: list[Case], start: Constants) -> Fit:
    """Fit the constants of a site to what it measured; the interval is that of its own rows.

    First all speeds are scaled alike, so that the median row is met, while fixed times stay; then the constants are
    fitted from there, each drawn towards where that has brought it. A few rows therefore shift what they tell most
    about, and no more.

    Args:
        cases: measured.
        start: the published fit.

    Raises:
        UserError: nothing explains them.
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
            fix="measure a larger model or a larger batch, whose steps take longer than fixed times do",
        )
    # NVLink is no constant: where there is none, as between CPU ranks, the network's share carries it.
    fitted = fit(cases, scaled(float(np.exp(root_scalar(off, bracket=(low, high)).root))))
    ratios = np.array([case.published for case in cases]) / predict(cases, fitted)
    least, most = np.quantile(ratios, COVERED).tolist()
    return Fit(fitted, (min(least, 1.0), max(most, 1.0)), len(cases))
