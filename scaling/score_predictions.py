"""How far predictions are from measured rows: of a file in the form of published.json."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .constants import FITTED, Reach, read_fit, read_reach
from .fit import ErrorSummary, predict, summarize
from .published import Case, read_rows


@dataclass(frozen=True)
class ScoredRow:
    """A measured row and its prediction, in tokens a second and GPU.

    Attributes:
        id, model: of the row.
        predicted: with the constants.
        published: measured.
        error_pct: of the prediction.
        interval: in which 90 % of unseen rows of Megatron's trainer are; of another kind of trainer all rows at hand.
        assumed: what is assumed of the row, sentences.
        beyond: how the prediction goes beyond the rows that the constants are fitted to, sentences.
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
        site: file of constants to use instead of the fitted ones.

    Raises:
        UserError: the file has no rows, or one of them cannot be.
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
