"""How a start of a run ended, for the next start to read: `state.json` in the run's folder."""

import sys
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from ...core.errors import UserError
from ...core.files import read_object, write_json, write_text
from .failures.rank_file import this_start

STATE = "state.json"
PREPARED = "prepared.txt"
"""File that names the start for which the run's folder was last prepared."""


class State(StrEnum):
    """How a start ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    """Before the last step, with a checkpoint."""
    REWIND = "rewind"
    """By the guard; the run is started again."""
    STOP = "stop"
    """By the guard; a person has to look at it."""
    HANG = "hang"
    FAILED = "failed"


@dataclass(frozen=True)
class RunState:
    """The content of `state.json`.

    Attributes:
        state: how the start ended.
        step: the step that it was in, or had done last.
        reason: why it ended; empty if it finished.
    """

    state: State
    step: int
    reason: str

    def write(self, out: Path) -> None:
        """Write the state into a run's folder."""
        write_json(out / STATE, asdict(self))


def read_state(out: Path) -> RunState:
    """Read how the run's last start ended.

    Raises:
        UserError: nothing says so, or what does is damaged.
    """
    values = read_object(out / STATE)
    state = values.text("state")
    if state not in set(State):
        raise UserError(f"state: {state}", where=str(out / STATE), allowed=", ".join(State))
    return RunState(State(state), values.integer("step"), values.text("reason"))


def say_prepared(out: Path) -> None:
    """Let the other ranks of this start begin: the run's folder is claimed, and damaged checkpoints are moved aside."""
    write_text(out / PREPARED, this_start())


def wait_until_prepared(out: Path) -> None:
    """Wait for the rank that prepares the run's folder. If that rank ends, their launcher ends this wait."""
    path = out / PREPARED
    while not path.is_file() or path.read_text(encoding="utf-8", errors="replace") != this_start():
        time.sleep(0.2)


def report_hang(out: Path, step: int, reason: str) -> None:
    """Report that a run hangs, before it is ended; called by the rank that noticed it."""
    RunState(State.HANG, step, reason).write(out)
    print(f"hang: {reason}", file=sys.stderr, flush=True)
