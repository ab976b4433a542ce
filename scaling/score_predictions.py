"""Compares predictions with measured rows, from a file in the form of published.json."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .constants import FITTED, Reach, read_fit, read_reach
from .fit import ErrorSummary, predict, summarize
from .published import Case, read_rows


@dataclass(frozen=True)
class ScoredRow:
    """A measured row and its prediction, in tokens/s/GPU.

    Attributes:
        id, model: the row's id and model.
        predicted: the predicted speed.
        published: the measured speed.
        error_pct: error of the prediction in percent.
        interval: limits that hold 90 % of unseen rows of Megatron's trainer or, for another kind, all available rows.
        assumed: sentences on what is assumed about the row.
        beyond: sentences on how the prediction goes beyond the rows that the constants are fitted to.
    """

    id: str
    model: str
    predicted: float
    published: float
    error_pct: float
    interval: tuple[float, float]
    assumed: tuple[str, ...]
    beyond: tuple[str, ...]


@dataclass(frozen=True)
class Score:
    """The errors of a file's predictions."""

    errors: ErrorSummary
    rows: list[ScoredRow]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        ranks = {name: value for name, value in self.errors.to_json().items() if name.startswith("rank_")}
        sizes = {"mean_abs_error_pct": self.errors.mean, "max_abs_error_pct": self.errors.max}
        return {**sizes, **ranks, "rows": [asdict(row) for row in self.rows]}


def score_predictions(path: Path, site: Path | None = None) -> Score:
    """Predict a file's rows.

    Args:
        path: JSON: a list of rows, or an object that has them under `rows`.
        site: file of constants to use instead of the published fit.

    Raises:
        UserError: the file has no rows, or a row is invalid.
    """
    path_of_fit = site or FITTED
    constants, reach = read_fit(path_of_fit).constants, read_reach(path_of_fit)
    given = read_rows(path)
    predicted = predict(given, constants)
    errors = 100 * (predicted / np.array([case.published for case in given]) - 1)
    rows = [
        _scored(case, value, error, reach)
        for case, value, error in zip(given, predicted.tolist(), errors.tolist(), strict=True)
    ]
    return Score(summarize(given, errors), rows)


def _scored(case: Case, predicted: float, error: float, reach: Reach) -> ScoredRow:
    low, high = reach.interval_of(case.stack)
    size, dp, cp = float(case.work.model_parameters), round(float(case.work.dp)), round(float(case.work.cp))
    return ScoredRow(
        id=case.id,
        model=case.model,
        predicted=predicted,
        published=case.published,
        error_pct=error,
        interval=(predicted * low, predicted * high),
        assumed=case.assumed,
        beyond=tuple(reach.beyond(case.model, size, case.gpus, dp=dp, cp=cp)),
    )
