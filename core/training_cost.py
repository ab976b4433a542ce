"""Cost of training a model, as a run has measured it and a report shows it."""

from dataclasses import dataclass
from typing import NamedTuple

from .remarks.remark import Remark


@dataclass(frozen=True)
class MeasuredStep:
    """A step as a run's journal has measured it.

    Attributes:
        time: Unix time of its end.
        seconds: duration, without the time between two steps.
        data_wait: seconds of the step spent waiting for data.
        tokens: tokens that count in the loss.
        slots: slots of the global batch.
        loss: loss in nats per token; None if it was not finite.
        joules: energy that all GPUs have used; None if unknown.
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
        steps: steps that count; a step that was repeated after a restart counts once.
        tokens: tokens of those steps, without padding.
        hours: running time of the processes, from each start to its last record.
        rank_hours: the same, times the ranks (GPUs, or processes on a CPU); None if the record of a start is lost.
        goodput: known productive share of the wall time since the first start.
        joules: energy of the GPUs in all steps, repeated ones included; None if a step has no measurement.
        unknown: share of that wall time whose records are lost: the goodput may be higher by up to this share.
        lost: number of steps that count but have no record.
        record_faults: the lines of the record that cannot be read, and the steps that are missing in it.
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
    """The predicted speed of a run.

    Attributes:
        step_seconds: time of a step.
        tokens_per_second_per_gpu: real tokens.
        interval: shortest and longest time to expect of a step.
        beyond: sentences on how the prediction goes beyond the rows that the planner is fitted to.
    """

    step_seconds: float
    tokens_per_second_per_gpu: float
    interval: tuple[float, float]
    beyond: list[str]
