"""The events of a rank's training loop, and who listens to them.

The code that runs the loop raises them (`training/megatron/hooks.py` for Megatron's); the listeners receive each event
in the order in which they were added.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from ...recipes.schema import GuardAction
from .sums import DataSums


@dataclass(frozen=True)
class Gradient:
    """A step's gradient, between its norm and its update.

    Attributes:
        step: number of the step, from 1.
        norm: norm of the whole gradient, before clipping.
        loss: mean loss of the global batch, nats per token; None if nobody asked for it.
    """

    step: int
    norm: float
    loss: float | None


@dataclass(frozen=True)
class Verdict:
    """The guard's decision about a gradient: what is done, and why."""

    action: GuardAction
    reason: str


@dataclass(frozen=True)
class StepResult:
    """A finished step, measured over all ranks.

    Attributes:
        step: number of the step, from 1.
        loss: mean loss of the global batch, nats per token.
        grad_norm: norm of the whole gradient, before clipping; NaN if there is none.
        learning_rate: learning rate of the step.
        skipped: whether the update was skipped, so that no weight changed.
        seconds: time that the step took on this rank.
        data: sums by data set.
        joules: energy that all GPUs have used since the step before; NaN if unknown.
        stop_flags: the sum of all ranks' `Stops.flags`.
        data_waits: seconds waited for data, by rank.
        compute_seconds: seconds of forward and backward, by rank.
    """

    step: int
    loss: float
    grad_norm: float
    learning_rate: float
    skipped: bool
    seconds: float
    data: DataSums
    joules: float
    stop_flags: list[float]
    data_waits: list[float]
    compute_seconds: list[float]


@dataclass(frozen=True)
class ValidationResult:
    """A finished validation: the step before it, its seconds, and sums over all ranks."""

    step: int
    seconds: float
    data: DataSums


@dataclass(frozen=True)
class Save:
    """A complete checkpoint.

    Attributes:
        step: step after which it was saved.
        asynchronous: whether training continued while it was written.
        stall_seconds: time for which training stood still.
        seconds: time until it was complete.
    """

    step: int
    asynchronous: bool
    stall_seconds: float
    seconds: float


class Listener:
    """Base class of listeners: they override the methods of the events that they need; the others do nothing."""

    def phase_begins(self, phase: str) -> None:
        """The rank enters another phase, such as `Phase.COMPUTE` of `failures/rank_file.py`."""

    def part_begins(self, phase: str) -> None:
        """All phases until `part_ends` are parts of one phase, such as `Phase.VALIDATE`."""

    def part_ends(self) -> None:
        """The part that began last is over."""

    def step_begins(self, step: int) -> None:
        """A step begins; the first is 1."""

    def gradient_is_ready(self, gradient: Gradient) -> Verdict | None:
        """The gradient's norm is known, no weight has changed; return a verdict if something is wrong with it."""

    def gradient_judged(self, step: int, verdict: Verdict) -> None:
        """The guard has found something wrong with a step's gradient."""

    def step_ended(self, result: StepResult) -> None:
        """A step has ended."""

    def validated(self, result: ValidationResult) -> None:
        """A validation has ended."""

    def may_save(self) -> bool:
        """Say whether there is anything to save yet."""
        return True

    def save_begins(self, step: int) -> None:
        """A step's checkpoint is about to be written."""

    def saved(self, save: Save) -> None:
        """A checkpoint is complete."""

    def may_stop(self) -> str:
        """Say why the run has to stop after this step; empty if it continues."""
        return ""

    def stopping(self, step: int) -> None:
        """The run stops after a step, with a checkpoint, although that was not planned as its last step."""

    def ended(self, error: BaseException | None) -> None:
        """The loop has ended: with an error if it failed, with `SystemExit` if it ended before the last step."""


class Events(Listener):
    """Passes each event on to every listener; as a context manager, it also reports how the loop ended."""

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self.listeners = list(listeners)

    def add(self, listeners: Iterable[Listener]) -> None:
        """Append listeners to the present ones."""
        self.listeners.extend(listeners)

    def phase_begins(self, phase: str) -> None:
        for listener in self.listeners:
            listener.phase_begins(phase)

    def part_begins(self, phase: str) -> None:
        for listener in self.listeners:
            listener.part_begins(phase)

    def part_ends(self) -> None:
        for listener in self.listeners:
            listener.part_ends()

    def step_begins(self, step: int) -> None:
        for listener in self.listeners:
            listener.step_begins(step)

    def gradient_is_ready(self, gradient: Gradient) -> Verdict | None:
        verdicts = [listener.gradient_is_ready(gradient) for listener in self.listeners]
        return next(filter(None, verdicts), None)

    def gradient_judged(self, step: int, verdict: Verdict) -> None:
        for listener in self.listeners:
            listener.gradient_judged(step, verdict)

    def step_ended(self, result: StepResult) -> None:
        for listener in self.listeners:
            listener.step_ended(result)

    def validated(self, result: ValidationResult) -> None:
        for listener in self.listeners:
            listener.validated(result)

    def may_save(self) -> bool:
        return all(listener.may_save() for listener in self.listeners)

    def save_begins(self, step: int) -> None:
        for listener in self.listeners:
            listener.save_begins(step)

    def saved(self, save: Save) -> None:
        for listener in self.listeners:
            listener.saved(save)

    def may_stop(self) -> str:
        reasons = [listener.may_stop() for listener in self.listeners]
        return next(filter(None, reasons), "")

    def stopping(self, step: int) -> None:
        for listener in self.listeners:
            listener.stopping(step)

    def ended(self, error: BaseException | None) -> None:
        for listener in self.listeners:
            listener.ended(error)

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Report how the loop has ended."""
        self.ended(error)
