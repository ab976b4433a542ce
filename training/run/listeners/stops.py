"""Stops a run before its last step: on a signal, at its time limit, or at the trainer's request."""

import signal
import time
from types import FrameType

from ..events import Listener, StepResult

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)
"""The signals that Slurm and torchrun send before they kill, and the signal of Ctrl-C."""


def block_signals() -> None:
    """Block the signals in this process and in those that it starts: they are meant for the ranks."""
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)


def ignore_signals() -> None:
    """Ignore the signals from now on, in every thread."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


class Stops(Listener):
    """Catches the signals, and checks the time limit.

    A rank only notes them: at the end of the step all ranks learn of them together, save, and end.

    Attributes:
        reason: why the run stops; empty if it continues.
    """

    def __init__(self, deadline: float | None) -> None:
        """Catch the signals from now on.

        Args:
            deadline: Unix time after which the run stops; None for no limit.
        """
        self.deadline = deadline
        self.received: set[int] = set()
        self.reason = ""
        for number in SIGNALS:
            signal.signal(number, self._receive)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)  # see `spawn`

    def _receive(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received.add(number)

    def flags(self) -> list[float]:
        """1 for each signal that this rank has received, and 1 if its time is over; else 0."""
        over = self.deadline is not None and time.time() > self.deadline
        return [*(float(number in self.received) for number in SIGNALS), float(over)]

    @staticmethod
    def reason_of(flags: list[float]) -> str:
        """Say why the run stops, from the sum of all ranks' flags; empty if it does not."""
        names = [*(number.name for number in SIGNALS), "--wall-time"]
        return next((name for name, flag in zip(names, flags, strict=True) if flag), "")

    def step_ended(self, result: StepResult) -> None:
        """Take note of every rank's signals; the first reason stays."""
        self.reason = self.reason or self.reason_of(result.stop_flags)

    def request(self, reason: str) -> None:
        """Stop the run because its trainer says so; this reason takes precedence over all others."""
        self.reason = reason

    def may_stop(self) -> str:
        """Say why the run has to stop; empty if it continues."""
        return self.reason
