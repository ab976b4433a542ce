"""A run's saves while it trains: how long each stalls training, when it is complete, and its hashes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from ....core.checkpoint import TRACKER, newest_named
from ....recipes.schema import Engine, Recipe
from ..begun_saves import note_save
from ..events import Listener, Save
from .stops import block_signals

STANDSTILL = 300.0
"""Seconds without processor time after which the hashing process is given up."""


class PendingSaves:
    """Times a rank's saves, and finds those that are complete.

    Attributes:
        last: step that was saved last; -1 before the first save.
        pending: step -> moment at which its save began, and seconds for which it has stalled training.
    """

    def __init__(self) -> None:
        self.last = -1
        self.pending: dict[int, tuple[float, float]] = {}

    def begun(self, step: int, begin: float) -> None:
        """Note a save that training does not wait for any more; it began at `begin` of `time.perf_counter`."""
        self.last = step
        self.pending[step] = (begin, time.perf_counter() - begin)

    def whole(self, root: Path, stalled: float, *, asynchronous: bool) -> Iterator[Save]:
        """Take out the pending saves that are complete according to Megatron's tracker, each once.

        Args:
            root: folder of the checkpoints.
            stalled: seconds for which finishing them has stalled training.
            asynchronous: whether training continued while they were written.
        """
        tracker = root / TRACKER
        newest = newest_named(tracker) if tracker.is_file() else None
        for step in [step for step in self.pending if newest is not None and step <= newest]:
            begin, stall = self.pending.pop(step)
            yield Save(step, asynchronous, stall_seconds=stall + stalled, seconds=time.perf_counter() - begin)


class Hashing(Listener):
    """Starts, on one rank, a process that hashes each complete checkpoint and removes those that are not kept."""

    def __init__(self, out: Path, recipe: Recipe) -> None:
        """Prepare for a run's folder."""
        self.out, self.chosen, self.engine = out, recipe.checkpoint, Engine(recipe.engine)
        self._process: subprocess.Popen[bytes] | None = None
        self._unhashed: list[int] = []

    def save_begins(self, step: int) -> None:
        """Record that the checkpoint is this run's: a kill may leave it without hashes."""
        note_save(self.out, step, self.engine)

    def saved(self, save: Save) -> None:
        """Start the process that hashes a checkpoint and removes what is not kept: `training/run/hashes.py`.

        A checkpoint that an earlier process left without hashes, because it was killed, is hashed with it.
        """
        self.wait()  # one process at a time: a later one removes what an earlier one has hashed
        self._unhashed.append(save.step)
        values = [self.chosen.keep_every or 0, self.chosen.keep_last, os.getpid(), *self._unhashed]
        command = [sys.executable, "-m", "pdapt.training.run.hashes", str(self.out), *map(str, values)]
        # Slurm sends a signal to all processes of a step, and this one has to continue.
        self._process = subprocess.Popen(command, preexec_fn=block_signals)

    def wait(self) -> None:
        """Wait until the last checkpoint is hashed; say so if its process failed or stood still."""
        if self._process is None:
            return
        code, self._process = _exit_code(self._process), None
        if code == 0:
            self._unhashed.clear()
            return
        if code is None:
            how = f"stood still for {STANDSTILL / 60:g} minutes and was given up"
        else:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"failed with code {code}"
        steps = ", ".join(map(str, self._unhashed))
        what = f"the process that hashes the checkpoint of step {steps} {how}"
        print(f"save: {what}; the checkpoint will be hashed later", flush=True)

    def ended(self, error: BaseException | None) -> None:
        """Wait until the last checkpoint is hashed, however the loop has ended."""
        del error
        self.wait()


def _exit_code(process: "subprocess.Popen[bytes]") -> int | None:
    """Wait for a process; None if it stood still for STANDSTILL seconds, and was killed."""
    seen, moved = None, time.monotonic()
    while True:
        try:
            return process.wait(timeout=min(1.0, STANDSTILL / 4))
        except subprocess.TimeoutExpired:
            taken = _processor_time(process.pid)
        if taken != seen:
            seen, moved = taken, time.monotonic()
        elif time.monotonic() - moved > STANDSTILL:
            process.kill()
            with suppress(subprocess.TimeoutExpired):  # a process that waits for a lost disk survives the kill
                process.wait(timeout=10)
            return None


def _processor_time(pid: int) -> float:
    """Seconds of processor time of a process, the kernel's for it included: hashing uses some all the time."""
    times = psutil.Process(pid).cpu_times()
    return times.user + times.system
