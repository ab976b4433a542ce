"""Whether a step's loss and gradient are what they should be, and what is done where they are not."""

import math
import statistics
from collections import deque
from dataclasses import dataclass

from ...recipes.schema import LEAST_STEPS, REWIND, SKIP, STOP, Guard


@dataclass(frozen=True)
class Verdict:
    """What is done about a step, and why."""

    action: str
    reason: str


class Judge:
    """Judges each step before its update. Every rank has one, and all come to the same verdict."""

    def __init__(self, guard: Guard, history: list[tuple[float, float]], *, skips: int = 0, rewinds: int = 0) -> None:
        """Prepare.

        Args:
            guard: the recipe's.
            history: loss and gradient norm of the steps before, oldest first, so that a resumed run judges alike.
            skips: how many updates the run has skipped already.
            rewinds: how often it has gone back already.
        """
        self.guard = guard
        self.history = deque(history, maxlen=guard.window)
        self.skips, self.rewinds = skips, rewinds

    def judge(self, loss: float | None, norm: float) -> Verdict | None:
        """The verdict on a step; None where nothing is wrong.

        Args:
            loss: mean of the global batch, nats a token; None where only the norm is watched.
            norm: of the whole gradient, before clipping.
        """
        if not math.isfinite(norm) or (loss is not None and not math.isfinite(loss)):
            return self._limited(self.guard.nonfinite, f"loss {loss}, gradient norm {norm}")
        reason = self._spike(loss, norm)
        return self._limited(self.guard.spike, reason) if self.guard.spike and reason else None

    def remember(self, loss: float, norm: float) -> None:
        """Count a step that was taken among those that later ones are compared with."""
        if math.isfinite(loss) and math.isfinite(norm):
            self.history.append((loss, norm))

    def _spike(self, loss: float | None, norm: float) -> str | None:
        if self.guard.spike is None or len(self.history) < min(LEAST_STEPS, self.guard.window):
            return None
        losses, norms = zip(*self.history, strict=True)
        for what, value, known in (("loss", loss, losses), ("gradient norm", norm, norms)):
            if value is None:
                continue
            mean, deviation = statistics.fmean(known), statistics.stdev(known)
            if value > mean + self.guard.deviations * deviation:
                return f"{what} {value:.4g}, the last {len(known)} steps had {mean:.4g} ± {deviation:.2g}"
        return None

    def _limited(self, action: str, reason: str) -> Verdict:
        done = {SKIP: self.skips, REWIND: self.rewinds}.get(action)
        if done is not None and done >= self.guard.limit:
            return Verdict(STOP, f"{reason}; guard.limit={self.guard.limit} is reached")
        self.skips += action == SKIP
        return Verdict(action, reason)
