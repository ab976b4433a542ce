"""Ends a run that hangs, and names the rank that it waits for.

A collective that times out says only that, on every rank except the one to blame. Therefore a thread of each rank
reports the rank's progress to the others, through torchrun's store. If no rank makes progress for too long, the rank to
blame is one that reports nothing any more (it is stopped, or its node is gone), else one that waits for data, else the
one that is furthest behind.
"""

import faulthandler
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from ....core.exit_codes import ExitCode
from ....core.log import counted
from ..events import Listener
from ..failures.rank_file import Phase, RankFile
from ..torchrun_store import torchrun_store

START_MINUTES = 5.0
"""Minutes that a start may take beyond a step's. Collectives, which name no rank, time out later still."""
NAMED = 8
"""How many ranks at one place are named; of further ones the number is stated."""


@dataclass(frozen=True)
class Progress:
    """How far a rank has come.

    Attributes:
        rank: number in the world.
        host: its node.
        step: the training step it is in, or the validation's.
        count: counter of finished phases; grows as long as the rank makes progress.
        phase: phase as in `failures/rank_file.py`.
        since: Unix time from which it has been in that phase.
        beat: counter of its thread; grows as long as the process lives.
    """

    rank: int
    host: str
    step: int = 0
    count: int = 0
    phase: str = Phase.START
    since: float = 0.0
    beat: int = 0


def to_blame(before: list[Progress], after: list[Progress]) -> list[Progress]:
    """Find the ranks that make a run stand still.

    Args:
        before: each rank's progress a while ago.
        after: each rank's progress now.
    """
    silent = [new for old, new in zip(before, after, strict=True) if new.beat == old.beat]
    waiting = [rank for rank in after if rank.phase.endswith(Phase.DATA)]
    furthest = min(rank.count for rank in after)
    return silent or waiting or [rank for rank in after if rank.count == furthest]


def places(ranks: list[Progress]) -> str:
    """Say where ranks are; those at the same place are named together."""
    at: dict[str, list[Progress]] = {}
    for rank in ranks:
        at.setdefault(f"{rank.phase}, step {rank.step}", []).append(rank)
    return "; ".join(f"{_names(group)}, {place}, since {_earliest(group)}" for place, group in at.items())


def _names(ranks: list[Progress]) -> str:
    names = [f"rank {rank.rank} on {rank.host}" for rank in ranks[:NAMED]]
    return ", ".join([*names, *([counted(len(ranks) - NAMED, "other")] if len(ranks) > NAMED else [])])


def _earliest(ranks: list[Progress]) -> str:
    return time.strftime("%H:%M:%S", time.localtime(min(rank.since for rank in ranks)))


class Watch(Listener):
    """This rank's progress, and the thread that reports it, to the others and to its file, and checks the others'."""

    def __init__(self, file: RankFile, world: int, minutes: float, report: Callable[[int, str], None]) -> None:
        """Prepare.

        Args:
            file: writes this rank's file.
            world: number of ranks.
            minutes: minutes without progress after which the run is ended; a start has START_MINUTES more.
            report: receives step and reason before the run is ended; only one rank calls it.
        """
        self.file = file
        self.progress = Progress(file.rank, socket.gethostname(), since=time.time())
        self.parts: list[tuple[str, str]] = []  # the parts that the rank is in, and the phase in which each began
        self.world, self.limit, self.report = world, 60 * minutes, report
        self.pause = min(5.0, self.limit / 8)
        self._over = threading.Event()

    def at(self, phase: str, step: int | None = None) -> None:
        """Note what the rank does now."""
        step = self.progress.step if step is None else step
        self.file.at("".join(f"{part}: " for part, _ in self.parts) + phase, step)
        count, since = self.progress.count + 1, self.file.since
        self.progress = replace(self.progress, phase=self.file.phase, step=step, count=count, since=since)

    def phase_begins(self, phase: str) -> None:
        """Note what the rank does now."""
        self.at(phase)

    def step_begins(self, step: int) -> None:
        """Note that the rank is between its steps, or begins the first."""
        self.at(Phase.BETWEEN, step)

    def part_begins(self, phase: str) -> None:
        """Note that all phases until `part_ends` belong to one; after an error the rank stays in it."""
        before = self.progress.phase
        self.at(phase)
        self.parts.append((phase, before))

    def part_ends(self) -> None:
        """Note that the rank is back in the phase before."""
        _, before = self.parts.pop()
        self.at(before)

    def ended(self, error: BaseException | None) -> None:
        """Expect no more progress."""
        del error
        self._over.set()

    def start(self) -> None:
        """Start the thread; MASTER_ADDR and MASTER_PORT have to be set, as torchrun sets them."""
        threading.Thread(target=self._run, name="watch", daemon=True).start()

    def _run(self) -> None:
        store = torchrun_store("watch", timeout=60 + self.limit)
        moved, seen, published, beat = time.monotonic(), -1, 0.0, 0
        while not self._over.wait(min(1.0, self.pause)):
            mine, now = self.progress, time.monotonic()
            if mine.count != seen:
                moved, seen = now, mine.count
            self.file.write()
            if now - published < self.pause:
                continue
            published, beat = now, beat + 1
            store.set(str(mine.rank), json.dumps(asdict(replace(mine, beat=beat))))
            limit = self.limit + (60 * START_MINUTES if mine.phase == Phase.START else 0)
            if now - moved > limit:
                self._end(store, replace(mine, beat=beat), limit)

    def _end(self, store: Any, mine: Progress, limit: float) -> None:
        before = self._told(store)
        for beat in (1, 2, 3):  # time for every live rank to report again
            time.sleep(self.pause)
            store.set(str(mine.rank), json.dumps(asdict(replace(mine, beat=mine.beat + beat))))
        blamed = to_blame(before, self._told(store))
        if self._over.is_set() or self.progress.count != mine.count:
            return
        if mine.rank in {rank.rank for rank in blamed}:
            faulthandler.dump_traceback(sys.stderr)
        if store.add("reported", 1) == 1:
            minutes = f"no rank has made progress for {limit / 60:g} minutes"
            if mine.phase == Phase.START:
                minutes += " of the start (guard.hang allows more)"
            reason = f"{minutes}; to blame: {places(blamed)}; all ranks: {places(self._told(store))}"
            self.report(mine.step, reason)
            time.sleep(1)  # for the process that shows it
        else:
            time.sleep(10)  # for the rank that reports
        os._exit(ExitCode.HALTED)

    def _told(self, store: Any) -> list[Progress]:
        names = [str(rank) for rank in range(self.world)]
        blank = [Progress(rank, "?") for rank in range(self.world)]
        return [
            Progress(**json.loads(store.get(name))) if store.check([name]) else empty
            for name, empty in zip(names, blank, strict=True)
        ]
