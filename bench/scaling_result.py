"""The result of `pdapt bench scaling`: each number of ranks, measured and planned."""

from dataclasses import asdict, dataclass
from typing import Any

from ..scaling.constants import Fit
from ..scaling.measured import Efficiency, Measurement


@dataclass(frozen=True)
class ScalingRow:
    """A number of ranks, measured and planned.

    Attributes:
        measured: the measurement over all turns.
        efficiency: efficiency relative to the fewest ranks.
        dp: copies of the model.
        planned: slots per second per rank, predicted with the published fit; None on cores, which it does not cover.
        planned_from_fewest_ranks: the same with the fit adjusted to the fewest ranks alone.
        error_pct: error of the latter in percent.
    """

    measured: Measurement
    efficiency: Efficiency
    dp: int
    planned: float | None
    planned_from_fewest_ranks: float
    error_pct: float

    def to_json(self) -> dict[str, Any]:
        """Return one flat object, without missing values."""
        values = {
            **asdict(self.measured),
            "oversubscribed": self.measured.oversubscribed,
            "efficiency": self.efficiency.by_rank,
            "efficiency_by_core": self.efficiency.by_core,
            "dp": self.dp,
            "planned_slots_per_second_per_rank": self.planned,
            "planned_from_fewest_ranks": self.planned_from_fewest_ranks,
            "error_from_fewest_ranks_pct": self.error_pct,
        }
        absent = ("efficiency_by_core", "planned_slots_per_second_per_rank")
        return {name: value for name, value in values.items() if value is not None or name not in absent}


@dataclass(frozen=True)
class ScalingResult:
    """The result of `pdapt bench scaling`.

    Attributes:
        rows: one row for each kind of scaling and number of ranks.
        site: constants fitted to all measurements.
        others: share of the cores' time that other processes took.
    """

    rows: list[ScalingRow]
    site: Fit
    others: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        others = {} if self.others is None else {"others": self.others}
        return {"rows": [row.to_json() for row in self.rows], "site": self.site.to_json(), **others}
