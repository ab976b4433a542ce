"""A run's saves while it trains: how long each holds training up, when it is whole, and its seal."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from ...core.checkpoint import TRACKER, newest_named
from ...recipes.schema import Checkpoint


class Saves:
    """Of one rank. All ranks time their saves; one has them sealed.

    Attributes:
        last: step that was saved last; -1 before the first save.
        pending: step -> moment at which its save began, and seconds that it has held training up.
    """

    def __init__(self, out: Path, chosen: Checkpoint) -> None:
        """Prepare for a run's folder and its recipe's `checkpoint`."""
        self.out, self.chosen = out, chosen
        self.last = -1
        self.pending: dict[int, tuple[float, float]] = {}
        self._sealing: subprocess.Popen[bytes] | None = None
        self._unsealed: list[int] = []

    def begun(self, step: int, begin: float) -> None:
        """Note a save that training has gone on from; it began at `begin` of `time.perf_counter`."""
        self.last = step
        self.pending[step] = (begin, time.perf_counter() - begin)

    def whole(self, root: Path, stalled: float) -> Iterator[tuple[int, dict[str, float]]]:
        """The pending saves that Megatron's tracker says are whole, each once.

        Args:
            root: folder of the checkpoints.
            stalled: seconds that finishing them has held training up.

        Returns:
            Step, and `stall_seconds` and `seconds` until it was whole.
        """
        tracker = root / TRACKER
        newest = newest_named(tracker) if tracker.is_file() else None
        for step in [step for step in self.pending if newest is not None and step <= newest]:
            begin, stall = self.pending.pop(step)
            yield step, {"stall_seconds": stall + stalled, "seconds": time.perf_counter() - begin}

    def seal(self, step: int) -> None:
        """Start the process that seals a checkpoint and removes what is not kept: `training/run/hashes.py`.

        One that an earlier process has left, because it was killed, is sealed with it.
        """
        self.wait()  # one after the other: a later one removes what an earlier one has sealed
        self._unsealed.append(step)
        values = [self.chosen.keep_every or 0, self.chosen.keep_last, os.getpid(), *self._unsealed]
        command = [sys.executable, "-m", "pdapt.training.run.hashes", str(self.out), *map(str, values)]
        self._sealing = subprocess.Popen(command)

    def wait(self) -> None:
        """Wait until the last checkpoint is sealed; where its process failed, say so."""
        if self._sealing is None:
            return
        code, self._sealing = self._sealing.wait(), None
        if code == 0:
            self._unsealed.clear()
            return
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with code {code}"
        steps = ", ".join(map(str, self._unsealed))
        print(f"save: the process that hashes the checkpoint of step {steps} {how}: it is hashed later", flush=True)
