"""How a start ended, as the next one reads it."""

from pathlib import Path

import pytest
from step_results import result

from pdapt.core.files import read_json
from pdapt.training.run.events import Events, Verdict
from pdapt.training.run.folder import SKIPPED
from pdapt.training.run.journal import Journal, read
from pdapt.training.run.listeners.end_state import EndState
from pdapt.training.run.listeners.stops import Stops
from pdapt.training.run.run_state import STATE, RunState, State, read_state


class Asked(Stops):
    """Stops for a reason, without catching any signal."""

    def __init__(self, reason: str) -> None:
        self.reason = reason


def listener(out: Path, reason: str = "", *, done: int = 0, step: int | None = 7, skipped: bool = False) -> EndState:
    """The state of a run that goes on after `done`, and is in `step`; None before its first."""
    found = EndState(out, Journal(out / "log.jsonl"), Asked(reason), done)
    if step is not None:
        found.step_begins(step)
        found.step_ended(result(step=step, skipped=skipped))
    return found


def written(out: Path) -> dict[str, object]:
    """The state, which the journal's last row repeats."""
    state = read_json(out / STATE)
    (row,) = read(out / "log.jsonl")
    assert {name: row[name] for name in ("event", *state)} == {"event": "end", **state}
    return state


@pytest.mark.parametrize(
    ("error", "reason", "state"),
    [
        (None, "", State.FINISHED),
        (None, "SIGTERM", State.STOPPED),
        (SystemExit(0), "SIGTERM", State.STOPPED),  # the trainer's way to end before the last step
        (SystemExit(1), "", State.FAILED),
        (ValueError("no such thing"), "SIGTERM", State.FAILED),
    ],
)
def test_a_start_ends_in_the_state_that_it_ended_in(
    tmp_path: Path, error: BaseException | None, reason: str, state: State
) -> None:
    listener(tmp_path, reason).ended(error)
    expected = str(error) if state == State.FAILED else reason
    assert written(tmp_path) == {"state": state.value, "step": 7, "reason": expected}
    assert read_state(tmp_path) == RunState(state, 7, expected)


def test_a_start_without_a_step_ends_at_the_step_that_it_goes_on_after(tmp_path: Path) -> None:
    listener(tmp_path, "--stop-at", done=5, step=None).ended(SystemExit(0))
    assert written(tmp_path) == {"state": "stopped", "step": 5, "reason": "--stop-at"}


def test_a_state_that_is_there_is_left(tmp_path: Path) -> None:
    """The guard's, or that of a run that stood still."""
    (tmp_path / STATE).write_text("mine")
    with Events([listener(tmp_path)]):
        pass
    assert (tmp_path / STATE).read_text() == "mine"
    assert read(tmp_path / "log.jsonl") == []


def test_a_run_whose_updates_were_all_skipped_ends_for_somebody_to_look_at(tmp_path: Path) -> None:
    """Started again it would only skip them again: nothing was saved."""
    listener(tmp_path, "--wall-time", skipped=True).ended(None)
    state = written(tmp_path)
    assert state["state"] == "stop"
    assert "every update was skipped" in str(state["reason"])


def test_a_run_that_goes_on_has_something_to_go_back_to_though_its_updates_are_skipped(tmp_path: Path) -> None:
    listener(tmp_path, "--wall-time", done=6, skipped=True).ended(None)
    assert written(tmp_path)["state"] == "stopped"


def test_the_guard_ends_a_start_and_what_it_goes_back_from_is_left_out(tmp_path: Path) -> None:
    found = listener(tmp_path)
    for action in ("warn", "skip"):
        found.gradient_judged(7, Verdict(action, "a spike"))
    assert not (tmp_path / STATE).exists()
    found.gradient_judged(7, Verdict("rewind", "a spike"))
    assert written(tmp_path) == {"state": "rewind", "step": 7, "reason": "a spike"}
    found.gradient_judged(9, Verdict("rewind", "another"))
    assert read_json(tmp_path / SKIPPED) == [7, 9]
    found.gradient_judged(9, Verdict("stop", "a spike"))
    assert read_json(tmp_path / SKIPPED) == [7, 9]
    assert read_state(tmp_path).state == State.STOP
