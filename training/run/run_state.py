"""How a start of a run ended, for whoever starts the next one: `state.json` in the run's folder."""

import sys
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from ...core.errors import UserError
from ...core.files import read_object, write_json

STATE = "state.json"


class State(StrEnum):
    """How a start ended."""

    FINISHED = "finished"
    STOPPED = "stopped"
    """Before the last step, with a checkpoint."""
    REWIND = "rewind"
    """By the guard; it is started again."""
    STOP = "stop"
    """By the guard, for somebody to look at."""
    HANG = "hang"
    FAILED = "failed"


@dataclass(frozen=True)
class RunState:
    """The content of `state.json`.

    Attributes:
        state: how the start ended.
        step: the step that it was in, or had done last.
        reason: why; empty where it finished.
    """

    state: State
    step: int
    reason: str

    def write(self, out: Path) -> None:
        """Write it into a run's folder."""
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


def report_hang(out: Path, step: int, reason: str) -> None:
    """Say that a run stands still; by whichever rank has found it, before it is ended."""
    RunState(State.HANG, step, reason).write(out)
    print(f"hang: {reason}", file=sys.stderr, flush=True)
