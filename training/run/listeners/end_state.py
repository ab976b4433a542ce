"""Records how a start ended, in `state.json` and as its last row of the journal."""

from pathlib import Path

from ....core.files import write_json
from ....recipes.schema import GuardAction
from ..events import Listener, StepResult, Verdict
from ..folder import SKIPPED, skipped
from ..journal import Event, Journal
from ..run_state import STATE, RunState, State
from .stops import Stops


class EndState(Listener):
    """Writes the end, on the one rank that writes the journal.

    A state that the guard or the watch has already written stays as it is.
    """

    def __init__(self, out: Path, journal: Journal, stops: Stops, step: int) -> None:
        """Prepare.

        Args:
            out: run folder.
            journal: the run's journal.
            stops: knows why a run has stopped.
            step: step that the run continues after.
        """
        self.out, self.journal, self.stops, self.step = out, journal, stops, step
        self.began, self.updated = False, step > 0

    def step_begins(self, step: int) -> None:
        """Note the step."""
        self.step, self.began = step, True

    def step_ended(self, result: StepResult) -> None:
        """Note whether there was an update."""
        self.updated = self.updated or not result.skipped

    def gradient_judged(self, step: int, verdict: Verdict) -> None:
        """Write the end of a start that the guard ends, and the step whose batch the next start leaves out."""
        if verdict.action in (GuardAction.WARN, GuardAction.SKIP):
            return
        if verdict.action == GuardAction.REWIND:
            write_json(self.out / SKIPPED, [*skipped(self.out), step])
        self._write(State(verdict.action), verdict.reason)

    def ended(self, error: BaseException | None) -> None:
        """Write the end of any other start."""
        if not (self.out / STATE).is_file():
            self._write(*self._how(error))

    def _how(self, error: BaseException | None) -> tuple[State, str]:
        if error is not None and not (isinstance(error, SystemExit) and not error.code):
            return State.FAILED, str(error)
        if self.began and not self.updated:  # another start would end in the same way
            return State.STOP, "every update was skipped: there is nothing to save, and nothing to continue from"
        return (State.STOPPED, self.stops.reason) if self.stops.reason else (State.FINISHED, "")

    def _write(self, state: State, reason: str) -> None:
        self.journal.write(Event.END, step=self.step, state=state, reason=reason)
        RunState(state, self.step, reason).write(self.out)
