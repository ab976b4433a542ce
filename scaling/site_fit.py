"""A site's constants: the published fit, with two constants fitted to measurements at the site.

A few rows of one model determine only two constants: the speed of the network between nodes, and the fixed cost of a
step. The error is found by leaving out one row at a time. What the rows do not state (such as the micro-batch) is tried
in each possible way, and the interval covers all of them.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError
from ..core.files import read_json
from .constants import Constants, Fit, Measured, read_fit
from .fit import errors_pct, fit
from .published import Case, cases, extent_of_site

FREE = ("network", "step")
"""Constants that are a site's own."""
SPREAD = 1.0
"""Standard deviation of their logarithms: a step's fixed cost may well be several times the published fit's."""
LEAST = 3


@dataclass(frozen=True)
class SiteRow:
    """A row of a site, and the errors of its prediction in percent.

    Attributes:
        id, model, gpus: the row's fields.
        before: error with the published fit.
        after: error with the site's constants.
        left_out: error with constants that are fitted to the other rows.
    """

    id: Any
    model: str
    gpus: int
    before: float
    after: float
    left_out: float


@dataclass(frozen=True)
class Assumption:
    """An assumption about what the rows do not state: the errors in percent with each row left out in turn."""

    name: str
    left_out: list[float]


@dataclass(frozen=True)
class SiteFit:
    """A site's constants, and their errors.

    Attributes:
        fit: constants and interval.
        measured: models and GPUs of the rows.
        rows: the rows, with the fields that they state.
        assumptions: the errors under each alternative assumption.
        source: the rows as they were read, and the alternatives.
    """

    fit: Fit
    measured: Measured
    rows: list[SiteRow]
    assumptions: list[Assumption]
    source: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values: a site's file, which `read_fit` and `read_rows` read, and the errors."""
        errors = {"errors_pct": [asdict(row) for row in self.rows]}
        assumed = {"assumptions_errors_pct": {item.name: item.left_out for item in self.assumptions}}
        return self.source | self.fit.to_json() | {"measured": self.measured._asdict()} | errors | assumed


def fit_site(path: Path) -> SiteFit:
    """Fit a site's two constants to its rows.

    Args:
        path: JSON: `rows` in the form of published.json, and optionally `alternatives`: objects with a `name`, the
            fields that rows would have instead, and optionally the `ids` of the rows concerned (by default all).

    Raises:
        UserError: there are fewer than three rows, or a row or an alternative is invalid.
    """
    given, start = read_site_rows(path), read_fit().constants
    measured = given.cases
    constants = _fitted(measured, start)
    open_ways = [Assumption(name, _left_out(changed, start)) for name, changed in given.otherwise.items()]
    unseen = _left_out(measured, start)
    every = np.array([*unseen, *(error for way in open_ways for error in way.left_out)])
    ratios = 1 / (1 + every / 100)
    before, after = (errors_pct(measured, values).tolist() for values in (start, constants))
    return SiteFit(
        fit=Fit(constants, (float(min(1.0, ratios.min())), float(max(1.0, ratios.max())))),
        measured=extent_of_site(measured),
        rows=[
            SiteRow(case.id, case.model, case.gpus, before=old, after=new, left_out=error)
            for case, old, new, error in zip(measured, before, after, unseen, strict=True)
        ],
        assumptions=open_ways,
        source={"rows": given.rows, "alternatives": given.alternatives},
    )


@dataclass(frozen=True)
class SiteRows:
    """A site's rows as they are read, and as cases: as stated, and under the name of each alternative."""

    rows: list[Any]
    alternatives: list[dict[str, Any]]
    cases: list[Case]
    otherwise: dict[str, list[Case]]


def read_site_rows(path: Path) -> SiteRows:
    """Read the rows that `fit_site` fits to.

    Raises:
        UserError: see `fit_site`.
    """
    rows, alternatives = _parts(read_json(path), str(path))
    measured = cases(rows, str(path))
    if len(measured) < LEAST:
        raise UserError(
            f"there are {len(measured)} rows", where=str(path), allowed=f"{LEAST} or more for two constants"
        )
    otherwise = {}
    for item in alternatives:
        fields = {name: value for name, value in item.items() if name not in ("name", "ids")}
        chosen = item.get("ids")
        changed = [row | fields if chosen is None or row.get("id") in chosen else row for row in rows]
        otherwise[item["name"]] = cases(changed, f"{path}: {item['name']}")
    return SiteRows(rows, alternatives, measured, otherwise)


def _parts(given: Any, where: str) -> tuple[list[Any], list[dict[str, Any]]]:
    """Divide a file's content into rows and alternatives."""
    value = given if isinstance(given, dict) else {"rows": given}
    rows, alternatives = value.get("rows"), value.get("alternatives", [])
    known = isinstance(alternatives, list) and all(
        isinstance(item, dict) and isinstance(item.get("name"), str) and isinstance(item.get("ids", []), list)
        for item in alternatives
    )
    if not known:
        raise UserError(
            "`alternatives` is not a list of alternative fields of rows",
            where=where,
            allowed='objects with a "name", fields of a row, and perhaps "ids" of rows',
        )
    return rows if isinstance(rows, list) else [], alternatives


def _fitted(measured: list[Case], start: Constants) -> Constants:
    return fit(measured, start, free=FREE, spread=SPREAD)


def _left_out(measured: list[Case], start: Constants) -> list[float]:
    """Compute the error of each row in percent, with constants that are fitted to the others."""
    return [
        float(errors_pct([case], _fitted([other for other in measured if other is not case], start))[0])
        for case in measured
    ]
