"""Reports a rank that has been slower than the others for many steps."""

import statistics
from collections.abc import Callable

from ..events import Listener, StepResult
from ..journal import Event

STRAGGLING = 10
"""A rank is reported when it has been the slowest for this many steps in a row."""


def slowest_rank(compute_seconds: list[float]) -> tuple[int, float]:
    """Find the rank that computed longest, and the ratio of its time to the median rank's."""
    slowest, median = compute_seconds.index(max(compute_seconds)), statistics.median_low(compute_seconds)
    return slowest, max(compute_seconds) / median if median > 0 else 1.0


class Straggler(Listener):
    """Counts for how many steps in a row one rank has been the slowest."""

    def __init__(self, limit: float | None, report: Callable[..., None]) -> None:
        """Prepare.

        Args:
            limit: ratio of compute time to the median rank's from which a rank counts as slow; None reports none.
            report: writes an event to the journal: `report(Event.STRAGGLER, step=…, rank=…, ratio=…)`.
        """
        self.limit, self.report = limit, report
        self.rank, self.steps = -1, 0

    def step_ended(self, result: StepResult) -> None:
        """Count the step; report a rank that has been the slowest for STRAGGLING steps with it."""
        rank, ratio = slowest_rank(result.compute_seconds)
        if self.limit is None or ratio < self.limit:
            self.rank, self.steps = -1, 0
        else:
            self.rank, self.steps = rank, self.steps + 1 if self.rank == rank else 1
        if self.steps == STRAGGLING:
            self.report(Event.STRAGGLER, step=result.step, rank=rank, ratio=ratio)
            long = f"{ratio:.2f} x as long as the median rank, and was the slowest for {STRAGGLING} steps"
            print(f"straggler: rank {rank} computed {long}", flush=True)
