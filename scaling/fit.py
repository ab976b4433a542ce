"""The constants of the step-time model, fitted to published rows; and how far off it is on rows that it has not seen.

A fit minimises the logarithms' errors, robustly, with each constant drawn towards what is known of it beforehand
(`Constants`' defaults). A model's rows together weigh as much as the root of their number, so that sweeps over GPUs do
not decide alone. What the model looks like was chosen by leaving out one calibration model at a time; the rows of
`split.json`'s test models were looked at only after that.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import least_squares
from scipy.stats import spearmanr

from ..core.files import write_json
from .constants import CONSTANT_NAMES, Constants, Extent, Fit
from .published import Case, cases, left_out, rows
from .published_trainer import Stack
from .step_time import speed
from .work import stack

SPREAD = 0.25
"""Standard deviation of a constant's logarithm about what is known of it beforehand."""
ROBUST = 0.04
"""Relative error from which on a row counts by its error's size, no longer by its square."""
STATED = "all that state a speed"
"""All rows but those of which an MFU alone is published, in a count of operations that their source does not state."""
COVERED = (0.05, 0.95)
"""Quantiles of the errors, with a model left out, that an interval spans."""


def fit(
    given: list[Case],
    start: Constants | None = None,
    *,
    free: Sequence[str] = CONSTANT_NAMES,
    spread: float = SPREAD,
) -> Constants:
    """Fit the constants.

    Args:
        given: rows to fit to.
        start: what is known of the constants beforehand; by default `Constants()`.
        free: constants that are fitted; the others stay as they are.
        spread: standard deviation of a free constant's logarithm about what is known.
    """
    before = start or Constants()
    works, published = stack([case.work for case in given]), np.log([case.published for case in given])
    counts = Counter(case.model for case in given)
    weights = np.array([counts[case.model] ** -0.5 for case in given])
    weights /= np.sqrt(np.mean(weights**2))

    def residuals(shifts: np.ndarray) -> np.ndarray:
        errors = (np.log(speed(works, _shifted(before, free, shifts))) - published) / ROBUST
        tamed = np.sign(errors) * np.sqrt(2 * (np.sqrt(1 + errors**2) - 1))
        return np.concatenate([weights * tamed, shifts / spread])

    return _shifted(before, free, least_squares(residuals, np.zeros(len(free))).x)


def _shifted(constants: Constants, names: Sequence[str], shifts: np.ndarray) -> Constants:
    """The constants, those of `names` times the exponentials of `shifts`."""
    pairs = zip(names, np.exp(shifts).tolist(), strict=True)
    return replace(constants, **{name: getattr(constants, name) * factor for name, factor in pairs})


def predict(given: list[Case], constants: Constants) -> np.ndarray:
    """Predicted tokens a second and GPU of each row."""
    return speed(stack([case.work for case in given]), constants)


def errors_pct(given: list[Case], constants: Constants) -> np.ndarray:
    """Excess of each prediction over what was published, in percent of that."""
    return 100 * (predict(given, constants) / np.array([case.published for case in given]) - 1)


def cross_validated(given: list[Case]) -> np.ndarray:
    """Each row's error in percent with its model left out of the fit."""
    errors = np.empty(len(given))
    for model in {case.model for case in given}:
        inside = np.array([case.model == model for case in given])
        constants = fit([case for case in given if case.model != model])
        errors[inside] = errors_pct([case for case in given if case.model == model], constants)
    return errors


def split(given: list[Case]) -> tuple[list[Case], list[Case]]:
    """Calibration rows and test rows, as `split.json` says."""
    names = left_out()
    return [case for case in given if case.model not in names], [case for case in given if case.model in names]


def calibrate() -> Fit:
    """Fit to the calibration rows; the interval is of each of their models left out."""
    calibration, _ = split(cases(rows(), "published.json"))
    unseen = cross_validated(calibration)
    low, high = np.quantile(1 / (1 + unseen / 100), COVERED).tolist()
    return Fit(fit(calibration), (low, high), len(calibration))


def unlike_stacks(given: list[Case]) -> dict[str, tuple[float, float]]:
    """Interval of each other kind of trainer than Megatron's: measured over predicted speed, over all of its rows.

    Each row is predicted twice: by constants fitted without any row of its software in that kind, since a trainer that
    is planned next is a stranger to the fit, too; and by those fitted to all. These kinds have few sources, so that the
    interval spans all rows, not nine of ten.
    """
    intervals, fitted = {}, fit(given)
    for kind in sorted({case.stack for case in given} - {Stack.MEGATRON}):
        errors = errors_pct([case for case in given if case.stack == kind], fitted).tolist()
        for software in sorted({case.software for case in given if case.stack == kind}):
            unseen = [case for case in given if (case.stack, case.software) == (kind, software)]
            seen = [case for case in given if (case.stack, case.software) != (kind, software)]
            errors += errors_pct(unseen, fit(seen)).tolist()
        least, most = 1 / (1 + max(errors) / 100), 1 / (1 + min(errors) / 100)
        intervals[str(kind)] = (math.floor(1000 * least) / 1000, math.ceil(1000 * most) / 1000)
    return intervals


def extent(given: list[Case]) -> Extent:
    """Fewest and most parameters and GPUs of rows, and their largest DP and CP."""
    sizes = [float(case.work.model_parameters) for case in given]
    gpus, copies, shares = ([round(float(getattr(case.work, name))) for case in given] for name in ("gpus", "dp", "cp"))
    return Extent((min(sizes), max(sizes)), (min(gpus), max(gpus)), dp=max(copies), cp=max(shares))


def write_fit(out: Path) -> None:
    """Write what `calibrate` gives, and how far it holds, in the form that `read_reach` reads."""
    calibration, _ = split(cases(rows(), "published.json"))
    intervals = unlike_stacks(calibration)
    extents = {kind: extent([case for case in calibration if case.stack == kind])._asdict() for kind in intervals}
    reach = {"stacks": intervals, "extents": extents, "extent": extent(calibration)._asdict()}
    write_json(out, calibrate().to_json() | reach)


@dataclass(frozen=True)
class ErrorSummary:
    """Errors of the predictions of a set of rows, in percent.

    Attributes:
        rows: how many.
        mean, median, max: of the errors' sizes; NaN without rows.
        rank_speed: rank correlation (Spearman) of predicted and published tokens a second; None with fewer than three
            rows, or where all are alike.
        rank_flops: as `rank_speed`, of operations a second, which differ little from model to model, so that it tells
            how well configurations are put in order.
    """

    rows: int
    mean: float = math.nan
    median: float = math.nan
    max: float = math.nan
    rank_speed: float | None = None
    rank_flops: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values, without those that there are none of."""
        return {name: value for name, value in asdict(self).items() if value is not None and not math.isnan(value)}


def summarize(given: list[Case], errors: np.ndarray) -> ErrorSummary:
    """Summarize the errors of rows, in percent of the published speeds."""
    if not given:
        return ErrorSummary(0)
    sizes = np.abs(errors)
    published = np.array([case.published for case in given])
    predicted = published * (1 + errors / 100)
    flops = np.array([case.work.flops / case.work.slots for case in given])
    return ErrorSummary(
        rows=len(given),
        mean=float(sizes.mean()),
        median=float(np.median(sizes)),
        max=float(sizes.max()),
        rank_speed=_rank_correlation(predicted, published),
        rank_flops=_rank_correlation(predicted * flops, published * flops),
    )


def _rank_correlation(predicted: np.ndarray, published: np.ndarray) -> float | None:
    ordered = len(predicted) > 2 and np.ptp(predicted) > 0 and np.ptp(published) > 0
    correlation: Any = spearmanr(predicted, published)
    return float(correlation.statistic) if ordered else None


@dataclass(frozen=True)
class FittedRow:
    """A published row and its prediction, in tokens a second and GPU."""

    id: str
    model: str
    stack: str
    published: float
    predicted: float
    error_pct: float
    assumed: tuple[str, ...]


@dataclass(frozen=True)
class FitReport:
    """The fit, and its errors.

    Attributes:
        constants: fitted to the calibration rows.
        sets: set of rows -> all, rows that state a speed, or a stack -> errors.
        models: test model -> errors.
        rows: set of rows -> each row.
    """

    constants: Constants
    sets: dict[str, dict[str, ErrorSummary]]
    models: dict[str, ErrorSummary]
    rows: dict[str, list[FittedRow]]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "constants": asdict(self.constants),
            "sets": {
                name: {part: errors.to_json() for part, errors in each.items()} for name, each in self.sets.items()
            },
            "models": {model: errors.to_json() for model, errors in self.models.items()},
            "rows": {name: [asdict(row) for row in each] for name, each in self.rows.items()},
        }


def report() -> FitReport:
    """The fit, and its errors on calibration rows, with each of their models left out, and on the test models."""
    calibration, test = split(cases(rows(), "published.json"))
    constants = fit(calibration)
    of_test = errors_pct(test, constants)
    sets = {
        "calibration": (calibration, errors_pct(calibration, constants)),
        "cross-validation": (calibration, cross_validated(calibration)),
        "test": (test, of_test),
    }
    return FitReport(
        constants=constants,
        sets={name: _by_stack(*pair) for name, pair in sets.items()},
        models={model: _of_model(test, of_test, model) for model in sorted({case.model for case in test})},
        rows={name: _rows(*pair) for name, pair in sets.items() if name != "cross-validation"},
    )


def _by_stack(given: list[Case], errors: np.ndarray) -> dict[str, ErrorSummary]:
    stacks = sorted({case.stack for case in given})
    masks = {name: np.array([case.stack == name for case in given]) for name in stacks}
    parts = {n: summarize([c for c, i in zip(given, w, strict=True) if i], errors[w]) for n, w in masks.items()}
    stated = np.array([not case.mfu_only for case in given])
    whole = {"all": summarize(given, errors)}
    whole[STATED] = summarize([case for case in given if not case.mfu_only], errors[stated])
    return {**whole, **parts}


def _of_model(given: list[Case], errors: np.ndarray, model: str) -> ErrorSummary:
    inside = np.array([case.model == model for case in given])
    return summarize([case for case in given if case.model == model], errors[inside])


def _rows(given: list[Case], errors: np.ndarray) -> list[FittedRow]:
    return [
        FittedRow(
            id=case.id,
            model=case.model,
            stack=case.stack,
            published=case.published,
            predicted=case.published * (1 + error / 100),
            error_pct=error,
            assumed=case.assumed,
        )
        for case, error in zip(given, errors.tolist(), strict=True)
    ]
