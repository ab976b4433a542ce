"""Cost of training a model, as a run has measured it and a report shows it."""

from dataclasses import dataclass
from typing import NamedTuple

from .remarks.remark import Remark


@dataclass(frozen=True)
class MeasuredStep:
    """A step as a run's journal has measured it.

    Attributes:
        time: Unix seconds of its end.
        seconds: that it took, without what is between two steps.
        data_wait: seconds of it that it waited for data.
        tokens: that count in the loss.
        slots: of the global batch.
        loss: nats a token; None where it was not finite.
        joules: that all GPUs have used; None where it is not known.
    """

    time: float
    seconds: float
    data_wait: float
    tokens: int
    slots: int
    loss: float | None = None
    joules: float | None = None


@dataclass(frozen=True)
class Spent:
    """Sums over all starts of a run.

    Attributes:
        steps: that count; one that was done again after a restart counts once.
        tokens: of those steps, without padding.
        hours: that processes were up, from each start to the last thing it noted.
        rank_hours: the same, times the ranks (GPUs, or processes on a CPU); None where the record of a start is lost.
        goodput: share of the wall time since the first start that moved the model on, as far as is known.
        joules: that the GPUs took in all steps, those done again included; None where a step has no measurement.
        unknown: share of that wall time of which records are lost: the goodput may be higher by as much.
        lost: steps that count and of which nothing is known.
        record_faults: the lines of the record that cannot be read, and the steps that it lacks.
    """

    steps: int
    tokens: int
    hours: float
    rank_hours: float | None
    goodput: float
    joules: float | None
    unknown: float = 0.0
    lost: int = 0
    record_faults: tuple[Remark, ...] = ()


class PredictedSpeed(NamedTuple):
    """The speed that a run is predicted to have.

    Attributes:
        step_seconds: of a step.
        tokens_per_second_per_gpu: real tokens.
        interval: in which a step's seconds are to be expected, the least and the most.
        beyond: how the prediction goes beyond the rows that the planner is fitted to, sentences.
    """

    step_seconds: float
    tokens_per_second_per_gpu: float
    interval: tuple[float, float]
    beyond: list[str]
