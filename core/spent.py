"""What the training of a model took, as a run has measured it and a report shows it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Spent:
    """Sums over all starts of a run.

    Attributes:
        steps: that count; one that was done again after a restart counts once.
        tokens: of those steps, without padding.
        hours: that processes were up, from each start to the last thing it noted.
        rank_hours: the same, times the ranks (GPUs, or processes on a CPU).
        goodput: share of the wall time since the first start that moved the model on.
        joules: that the GPUs took in all steps, those done again included; None where a step has no measurement.
    """

    steps: int
    tokens: int
    hours: float
    rank_hours: float
    goodput: float
    joules: float | None
