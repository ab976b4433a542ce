"""Fits the constants of the step-time model to published rows, and measures its errors on rows that it has not seen.

A fit minimises the errors of the logarithms, robustly, with each constant drawn towards what is known beforehand
(`Constants`' defaults). The rows of a model together have the weight of the square root of their number, so that sweeps
over GPUs do not dominate. The form of the model was chosen by leaving out one calibration model at a time; the rows of
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
"""Standard deviation of a constant's logarithm around the value that is known beforehand."""
ROBUST = 0.04
"""Relative error above which a row counts by the size of its error, no longer by the square."""
STATED = "all that state a speed"
"""All rows except those with only a published MFU whose count of operations the source does not state."""
COVERED = (0.05, 0.95)
"""Quantiles of the errors, with a model left out, between which an interval lies."""


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
        start: the values of the constants that are known beforehand; by default `Constants()`.
        free: constants that are fitted; the others stay as they are.
        spread: standard deviation of a free constant's logarithm around its known value.
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
    """Multiply the constants in `names` by the exponentials of `shifts`."""
    pairs = zip(names, np.exp(shifts).tolist(), strict=True)
    return replace(constants, **{name: getattr(constants, name) * factor for name, factor in pairs})


def predict(given: list[Case], constants: Constants) -> np.ndarray:
    """Predict the tokens/s/GPU of each row."""
    return speed(stack([case.work for case in given]), constants)


def errors_pct(given: list[Case], constants: Constants) -> np.ndarray:
    """Compute by how many percent each prediction exceeds the published value."""
    return 100 * (predict(given, constants) / np.array([case.published for case in given]) - 1)


def cross_validated(given: list[Case]) -> np.ndarray:
    """Compute each row's error in percent, with the row's model left out of the fit."""
    errors = np.empty(len(given))
    for model in {case.model for case in given}:
        inside = np.array([case.model == model for case in given])
        constants = fit([case for case in given if case.model != model])
        errors[inside] = errors_pct([case for case in given if case.model == model], constants)
    return errors


def split(given: list[Case]) -> tuple[list[Case], list[Case]]:
    """Divide rows into calibration rows and test rows, as `split.json` says."""
    names = left_out()
    return [case for case in given if case.model not in names], [case for case in given if case.model in names]


def calibrate() -> Fit:
    """Fit to the calibration rows; the interval comes from leaving out each of their models in turn."""
    calibration, _ = split(cases(rows(), "published.json"))
    unseen = cross_validated(calibration)
    low, high = np.quantile(1 / (1 + unseen / 100), COVERED).tolist()
    return Fit(fit(calibration), (low, high), len(calibration))


def unlike_stacks(given: list[Case]) -> dict[str, tuple[float, float]]:
    """Compute, for each kind of trainer other than Megatron's, the interval of measured over predicted speed.

    Each row is predicted twice: by constants fitted without the rows of its software, since the next trainer to be
    planned will be unknown to the fit, too; and by constants fitted to all rows. These kinds have few sources, so the
    interval covers all rows, not nine of ten.
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
    """Find the fewest and most parameters and GPUs of rows, and the largest DP and CP."""
    sizes = [float(case.work.model_parameters) for case in given]
    gpus, copies, shares = ([round(float(getattr(case.work, name))) for case in given] for name in ("gpus", "dp", "cp"))
    return Extent((min(sizes), max(sizes)), (min(gpus), max(gpus)), dp=max(copies), cp=max(shares))


def write_fit(out: Path) -> None:
    """Write the result of `calibrate` and the range in which it holds, in the form that `read_reach` reads."""
    calibration, _ = split(cases(rows(), "published.json"))
    intervals = unlike_stacks(calibration)
    extents = {kind: extent([case for case in calibration if case.stack == kind])._asdict() for kind in intervals}
    reach = {"stacks": intervals, "extents": extents, "extent": extent(calibration)._asdict()}
    write_json(out, calibrate().to_json() | reach)


@dataclass(frozen=True)
class ErrorSummary:
    """Errors of the predictions of a set of rows, in percent.

    Attributes:
        rows: number of rows.
        mean, median, max: mean, median and largest absolute error; NaN without rows.
        rank_speed: rank correlation (Spearman) of predicted and published tokens per second; None with fewer than three
            rows, or if all are equal.
        rank_flops: like `rank_speed`, for operations per second; these differ little between models, so this measures
            how well configurations are ranked.
    """

    rows: int
    mean: float = math.nan
    median: float = math.nan
    max: float = math.nan
    rank_speed: float | None = None
    rank_flops: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Return JSON values, without those that are missing."""
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
    """A published row and its prediction, in tokens/s/GPU."""

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
        constants: the constants, fitted to the calibration rows.
        sets: set of rows -> all rows, those that state a speed, or a kind of trainer -> errors.
        models: test model -> errors.
        rows: set of rows -> its rows.
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
    """Report the fit and its errors: on calibration rows, with each of their models left out, and on test models."""
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
