"""How far predictions are from measured rows: of a file in the form of published.json."""

from pathlib import Path
from typing import Any

import numpy as np

from .constants import read_fit
from .fit import predict, summary
from .published import read_rows


def score(path: Path, site: Path | None = None) -> dict[str, Any]:
    """Predict a file's rows.

    Args:
        path: JSON: a list of rows, or an object that has them under `rows`.
        site: file of constants to use instead of the fitted ones.

    Returns:
        `mean_abs_error_pct`, `max_abs_error_pct`, the rank correlations, and `rows` with tokens a second and GPU as
        predicted (with an interval that 90 % of unseen rows are in) and as published.

    Raises:
        UserError: the file has no rows, or one of them cannot be.
    """
    constants, (low, high), _ = read_fit(site) if site else read_fit()
    given = read_rows(path)
    predicted = predict(given, constants)
    errors = 100 * (predicted / np.array([case.published for case in given]) - 1)
    rows = [
        {
            "id": case.id,
            "model": case.model,
            "predicted": float(value),
            "published": case.published,
            "error_pct": float(error),
            "interval": [float(value * low), float(value * high)],
            "assumed": list(case.assumed),
        }
        for case, value, error in zip(given, predicted, errors, strict=True)
    ]
    whole = summary(given, errors)
    ranks = {name: whole[name] for name in ("rank_speed", "rank_flops") if name in whole}
    return {"mean_abs_error_pct": whole["mean"], "max_abs_error_pct": whole["max"], **ranks, "rows": rows}
