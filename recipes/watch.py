"""Ends a run that stands still, and names the rank that it stands still for.

Collectives only say that they timed out, on every rank but the one that is to blame. So each rank's thread tells the
others, through torchrun's store, how far its rank has come. Where nothing moves for too long, the rank to blame is one
that tells nothing any more (stopped, or its node is gone), else one that waits for data, else the one that is furthest
behind.
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
from datetime import timedelta
from typing import Any, cast

DATA, COMPUTE, WAIT = "waits for data", "computes", "waits for other ranks, or between steps"


@dataclass(frozen=True)
class Progress:
    """How far a rank has come.

    Attributes:
        rank: number in the world.
        host: its node.
        step: the training step it is in, or validation's.
        count: of things done; grows as long as the rank moves.
        doing: `DATA`, `COMPUTE` or `WAIT`.
        beat: of its thread; grows as long as the process lives.
    """

    rank: int
    host: str
    step: int = 0
    count: int = 0
    doing: str = WAIT
    beat: int = 0


def to_blame(before: list[Progress], after: list[Progress]) -> list[Progress]:
    """The ranks that a run stands still for.

    Args:
        before: what each rank told, a while ago.
        after: what it tells now.
    """
    silent = [new for old, new in zip(before, after, strict=True) if new.beat == old.beat]
    waiting = [rank for rank in after if rank.doing == DATA]
    furthest = min(rank.count for rank in after)
    return silent or waiting or [rank for rank in after if rank.count == furthest]


class Watch:
    """This rank's progress, and the thread that tells it and looks at the others'."""

    def __init__(self, rank: int, world: int, minutes: float, report: Callable[[str], None]) -> None:
        """Prepare.

        Args:
            rank: this one's number.
            world: how many there are.
            minutes: without progress until the run is ended.
            report: is told which rank it stands still for, by one rank, before the run is ended.
        """
        self.progress = Progress(rank, socket.gethostname())
        self.world, self.limit, self.report = world, 60 * minutes, report
        self.pause = min(5.0, self.limit / 8)
        self._over = threading.Event()

    def at(self, doing: str, step: int | None = None) -> None:
        """Say what the rank does now."""
        step = self.progress.step if step is None else step
        self.progress = replace(self.progress, doing=doing, step=step, count=self.progress.count + 1)

    def start(self) -> None:
        """Start the thread. Where torchrun has set MASTER_ADDR and MASTER_PORT."""
        import torch

        c10d = cast(Any, torch.distributed)  # its stubs do not name the stores
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        client = c10d.TCPStore(address, port, is_master=False, timeout=timedelta(seconds=60))
        # What an earlier start of the ranks under the same torchrun has told does not count.
        store = c10d.PrefixStore(f"pdapt/watch/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", client)
        threading.Thread(target=self._run, args=(store,), name="watch", daemon=True).start()

    def stop(self) -> None:
        """No more progress is expected."""
        self._over.set()

    def _run(self, store: Any) -> None:
        moved, seen, beat = time.monotonic(), -1, 0
        while not self._over.wait(self.pause):
            beat += 1
            mine = replace(self.progress, beat=beat)
            store.set(str(mine.rank), json.dumps(asdict(mine)))
            if mine.count != seen:
                moved, seen = time.monotonic(), mine.count
            if time.monotonic() - moved > self.limit:
                self._end(store, mine)

    def _end(self, store: Any, mine: Progress) -> None:
        before = self._told(store)
        for beat in (1, 2, 3):  # time for every live rank to tell again
            time.sleep(self.pause)
            store.set(str(mine.rank), json.dumps(asdict(replace(mine, beat=mine.beat + beat))))
        blamed = to_blame(before, self._told(store))
        if self._over.is_set() or self.progress.count != mine.count:
            return
        if mine.rank in {rank.rank for rank in blamed}:
            faulthandler.dump_traceback(sys.stderr)
        if store.add("reported", 1) == 1:
            names = "; ".join(f"rank {one.rank} on {one.host}, which {one.doing}, step {one.step}" for one in blamed)
            self.report(f"no rank has moved for {self.limit / 60:g} minutes; to blame: {names}")
        else:
            time.sleep(10)  # for the rank that reports
        os._exit(1)

    def _told(self, store: Any) -> list[Progress]:
        names = [str(rank) for rank in range(self.world)]
        blank = [Progress(rank, "?") for rank in range(self.world)]
        return [
            Progress(**json.loads(store.get(name))) if store.check([name]) else empty
            for name, empty in zip(names, blank, strict=True)
        ]
