"""The events of a rank's training loop, whichever of Megatron's trainers runs it.

`hooks.py` calls these methods around Megatron-LM's functions, `training/nemo/callbacks.py` from Megatron-Bridge's
callbacks.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ...core.exit_codes import ExitCode
from ...recipes.schema import GuardAction
from ..run.events import Events, Gradient, Verdict
from ..run.failures.rank_file import Phase
from ..run.folder import STOP_AT
from ..run.listeners.saves import PendingSaves
from ..run.listeners.stops import Stops
from .measuring import Measuring


class LoopEvents:
    """Raises the events of one rank's training loop, and ends the loop if a listener asks for it."""

    def __init__(self, events: Events, measuring: Measuring, stops: Stops, *, watches_loss: bool) -> None:
        """Prepare.

        Args:
            events: the events to raise.
            measuring: measures each step.
            stops: is informed when the trainer itself decides to exit.
            watches_loss: whether a gradient's event states the loss, which costs an exchange among the ranks.
        """
        self.events, self.measuring, self.stops = events, measuring, stops
        self.watches_loss = watches_loss
        self.saves = PendingSaves()
        self.step, self.norm = 0, 0.0
        self._validation_began = 0.0

    def finish_saves(self) -> None:
        """Wait until all saves are complete."""
        raise NotImplementedError

    def exchanging(self, exchange: Callable[..., None]) -> Callable[..., None]:
        """Wrap the exchange of gradients among the ranks, to note where it begins and ends."""

        def finalize_model_grads(*args: Any, **kwargs: Any) -> None:
            self.measuring.compute_ends()
            self.events.phase_begins(Phase.EXCHANGE)
            exchange(*args, **kwargs)

        return finalize_model_grads

    def step_begins(self, done: int, last: int | None, optimizer: Any) -> None:
        """Begin the step after `done`; end the start if it has nothing left to do after its last step, `last`."""
        from megatron.core.optimizer_param_scheduler import get_canonical_lr_for_logging as learning_rate

        if last and done >= last:
            self.stops.request(STOP_AT)
            sys.exit(ExitCode.DONE)
        self.step = done + 1
        self.events.step_begins(self.step)
        self.measuring.step_begins(float(learning_rate(optimizer.param_groups) or 0.0))

    def stand_between(self, optimizer: Any) -> None:
        """Raise the event of each gradient once its norm is known, and before it changes a weight."""
        # Megatron chains its optimizers, except with its FSDP.
        measuring = "get_grad_norm" if hasattr(optimizer, "chained_optimizers") else "clip_grad_norm"
        measure, update = getattr(optimizer, measuring), optimizer.step_with_ready_grads

        def measured(*args: Any) -> float:
            self.norm = float(measure(*args))
            return self.norm

        def step_with_ready_grads() -> bool:
            self.events.phase_begins(Phase.OPTIMIZER)
            loss = self.measuring.mean_loss() if self.watches_loss else None
            verdict = self.events.gradient_is_ready(Gradient(self.step, self.norm, loss))
            return self._allows(verdict) and update()

        setattr(optimizer, measuring, measured)
        optimizer.step_with_ready_grads = step_with_ready_grads

    def _allows(self, verdict: Verdict | None) -> bool:
        """Say whether the update is made; end the run if the verdict says so."""
        if verdict is None:
            return True
        self.events.gradient_judged(self.step, verdict)
        if verdict.action in (GuardAction.WARN, GuardAction.SKIP):
            return verdict.action == GuardAction.WARN
        self.finish_saves()
        sys.exit(ExitCode.STOPPED_EARLY if verdict.action == GuardAction.REWIND else ExitCode.HALTED)

    def step_ends(self, step: int, losses: dict[str, Any], *, grad_norm: float | None, skipped: bool) -> None:
        """Measure the step over all ranks; `losses` has its mean on the rank that has it."""
        result = self.measuring.step_ends(
            step, losses.get("lm loss"), grad_norm=grad_norm, skipped=skipped, stop_flags=self.stops.flags()
        )
        self.events.step_ended(result)

    def validation_begins(self) -> None:
        """Begin a validation."""
        self._validation_began = time.perf_counter()
        self.events.part_begins(Phase.VALIDATE)

    def validation_ends(self, step: int) -> None:
        """End a validation after a step."""
        self.events.part_ends()
        self.events.validated(self.measuring.validation_ends(step, self._validation_began))

    def saving(self, step: int, save: Callable[[], Any]) -> bool:
        """Save if there is something to save, and return whether there was."""
        if not self.events.may_save():
            print(f"guard: step {step}: every update so far was skipped: nothing to save", flush=True)
            return False
        begin = time.perf_counter()
        self.events.part_begins(Phase.SAVE)
        self.events.save_begins(step)
        save()
        self.events.part_ends()
        self.saves.begun(step, begin)
        return True

    def finishing_saves(self, finish: Callable[[], Any], root: str, *, asynchronous: bool) -> None:
        """Finish the saves that training has not waited for; arguments as in `are_saved`."""
        begin = time.perf_counter()
        self.events.part_begins(Phase.SAVE)
        finish()
        self.events.part_ends()
        if self.saves.pending:
            self.are_saved(root, time.perf_counter() - begin, asynchronous=asynchronous)

    def are_saved(self, root: str, stalled: float = 0.0, *, asynchronous: bool) -> None:
        """Raise the event of each save that is complete by now; arguments as in `PendingSaves.whole`."""
        for save in self.saves.whole(Path(root), stalled, asynchronous=asynchronous):
            self.events.saved(save)

    def may_stop(self, step: int, *, exits: bool, save: Callable[[], Any]) -> bool:
        """Whether the loop ends after a step, with a save: the trainer `exits` by itself, or a listener asks for it."""
        reason = self.events.may_stop()
        if reason and not exits and self.saves.last != step:
            save()
        if reason:
            self.events.stopping(step)
        return bool(reason)
