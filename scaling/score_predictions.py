"""How far predictions are from measured rows: of a file in the form of published.json."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .constants import read_fit
from .fit import ErrorSummary, predict, summarize
from .published import read_rows


@dataclass(frozen=True)
class ScoredRow:
    """A measured row and its prediction, in tokens a second and GPU.

    Attributes:
        id, model: of the row.
        predicted: with the constants.
        published: measured.
        error_pct: of the prediction.
        interval: in which 90 % of unseen rows are.
        assumed: what is assumed of the row, sentences.
    """

    id: str
    model: str
    predicted: float
    published: float
    error_pct: float
    interval: tuple[float, float]
    assumed: tuple[str, ...]


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
    fit = read_fit(site) if site else read_fit()
    constants, (low, high) = fit.constants, fit.interval
    given = read_rows(path)
    predicted = predict(given, constants)
    errors = 100 * (predicted / np.array([case.published for case in given]) - 1)
    rows = [
        ScoredRow(
            id=case.id,
            model=case.model,
            predicted=float(value),
            published=case.published,
            error_pct=float(error),
            interval=(float(value * low), float(value * high)),
            assumed=case.assumed,
        )
        for case, value, error in zip(given, predicted, errors, strict=True)
    ]
    return Score(summarize(given, errors), rows)
