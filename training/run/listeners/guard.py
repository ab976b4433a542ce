"""Checks each step's loss and gradient norm before its update, and decides what to do if they are bad."""

import math
import statistics
from collections import deque

from ....recipes.schema import LEAST_STEPS, Guard, GuardAction
from ..events import Gradient, Listener, StepResult, Verdict
from ..journal import Event, Row, kept


class GradientGuard(Listener):
    """Gives a verdict on each gradient. Every rank has one, and all come to the same verdict.

    Attributes:
        updated: whether the run has changed a weight yet.
    """

    def __init__(
        self,
        guard: Guard,
        history: list[tuple[float, float]],
        *,
        skips: int = 0,
        rewinds: int = 0,
        updated: bool = False,
    ) -> None:
        """Prepare.

        Args:
            guard: the recipe's options.
            history: loss and gradient norm of the steps before, oldest first, so that a resumed run decides alike.
            skips: how many updates the run has skipped already.
            rewinds: how often it has gone back already.
            updated: whether it continues from a checkpoint.
        """
        self.guard = guard
        self.history = deque(history, maxlen=guard.window)
        self.skips, self.rewinds, self.updated = skips, rewinds, updated

    @staticmethod
    def resumed(guard: Guard, rows: list[Row], step: int, rewinds: int) -> "GradientGuard":
        """Read from the journal the steps up to the one after which the run continues."""
        steps = kept(rows, Event.STEP, step).values()
        taken = [row for row in steps if not row["skipped"]]
        pairs = [(row.get("loss"), row.get("grad_norm")) for row in taken]
        history = [(loss, norm) for loss, norm in pairs if loss is not None and norm is not None]
        skips = len(steps) - len(taken)
        return GradientGuard(guard, history, skips=skips, rewinds=rewinds, updated=step > 0)

    def gradient_is_ready(self, gradient: Gradient) -> Verdict | None:
        """Give the verdict on a gradient; None if nothing is wrong."""
        loss, norm = gradient.loss, gradient.norm
        if not math.isfinite(norm) or (loss is not None and not math.isfinite(loss)):
            return self._limited(self.guard.nonfinite, f"loss {loss}, gradient norm {norm}")
        reason = self._spike(loss, norm)
        return self._limited(self.guard.spike, reason) if self.guard.spike and reason else None

    def step_ended(self, result: StepResult) -> None:
        """Add a step whose update was made to the history that later steps are compared with."""
        if result.skipped:
            return
        self.updated = True
        if math.isfinite(result.loss) and math.isfinite(result.grad_norm):
            self.history.append((result.loss, result.grad_norm))

    def may_save(self) -> bool:
        """Say whether there was an update: before the first one, Megatron's optimizers have nothing to save."""
        return self.updated

    def _spike(self, loss: float | None, norm: float) -> str | None:
        if self.guard.spike is None or len(self.history) < min(LEAST_STEPS, self.guard.window):
            return None
        losses, norms = zip(*self.history, strict=True)
        for name, value, known in (("loss", loss, losses), ("gradient norm", norm, norms)):
            if value is None:
                continue
            mean, deviation = statistics.fmean(known), statistics.stdev(known)
            if value > mean + self.guard.deviations * deviation:
                return f"{name} {value:.4g}; the last {len(known)} steps had {mean:.4g} ± {deviation:.2g}"
        return None

    def _limited(self, chosen: str, reason: str) -> Verdict:
        action = GuardAction(chosen)
        done = {GuardAction.SKIP: self.skips, GuardAction.REWIND: self.rewinds}.get(action)
        if done is not None and done >= self.guard.limit:
            return Verdict(GuardAction.STOP, f"{reason}; guard.limit={self.guard.limit} is reached")
        self.skips += action == GuardAction.SKIP
        return Verdict(action, reason)
