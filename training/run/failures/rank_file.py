"""Each rank's file in the run's folder: its progress, and the error that it ended with."""

import faulthandler
import json
import os
import re
import socket
import time
import traceback
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any

from ....core.errors import UserError
from ....core.files import read_object
from ....core.jsonio import JsonObject
from .out_of_memory import Memory, advise, read_memory

FOLDER = "ranks"
"""Subfolder of a run with a file for each rank of the last start."""
LOST = re.compile(
    r"gloo/|connection closed by peer|connection reset|broken pipe|NCCL|ProcessGroup|DistBackendError|DistNetworkError|"
    r"DistStoreError",
    re.IGNORECASE,
)
"""Pattern of the errors with which a rank ends when it has lost another one."""
TRACE_LINES, MESSAGE = 12, 4000
"""How many lines of an error's traceback, and characters of its message, are kept."""
PUBLISHED = "first-cause.txt"
"""File beside the ranks' files: the first cause, by the first rank that found it."""


class Phase(StrEnum):
    """The activity of a rank."""

    START = "starting"
    DATA = "waiting for data"
    COMPUTE = "forward/backward"
    EXCHANGE = "gradient exchange"
    OPTIMIZER = "optimizer"
    BETWEEN = "between steps"
    SAVE = "saving"
    VALIDATE = "validating"


@dataclass(frozen=True)
class Record:
    """The content of a rank's file.

    Attributes:
        rank: number in the world.
        host: its node.
        pid: its process there.
        start: the start of the run that it belongs to: torchrun's id and number of restarts.
        time: Unix time at which this was written.
        step: the training step it is in; 0 before the first.
        phase: one of `Phase`; within a validation or a save, prefixed by its name and a colon.
        since: Unix time from which it has been in that phase.
        memory: its machine's memory.
        error: kind and message of the exception it ended with; empty if there was none.
        trace: the exception's traceback.
    """

    rank: int
    host: str
    pid: int
    start: str
    time: float
    step: int
    phase: str
    since: float
    memory: Memory
    error: str = ""
    trace: str = ""

    @property
    def lost_others(self) -> bool:
        """Whether the error only says that the rank has lost another one."""
        return bool(LOST.search(self.error))

    @property
    def place(self) -> str:
        """Step and phase, as messages name them."""
        return f"step {self.step}, {self.phase}" if self.step else self.phase


def this_start() -> str:
    """Identify the start of the run that this process belongs to."""
    return f"{os.environ.get('TORCHELASTIC_RUN_ID', '')}.{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"


@dataclass
class RankFile:
    """Writes this rank's file; the rank does its work within it as a context manager."""

    folder: Path
    rank: int
    step: int = 0
    phase: str = Phase.START
    since: float = field(default_factory=time.time)

    @property
    def path(self) -> Path:
        """The rank's file."""
        return self.folder / f"rank-{self.rank}.json"

    def now(self) -> Record:
        """The rank's present record."""
        return Record(
            rank=self.rank,
            host=socket.gethostname(),
            pid=os.getpid(),
            start=this_start(),
            time=time.time(),
            step=self.step,
            phase=self.phase,
            since=self.since,
            memory=read_memory(),
        )

    def write(self, record: Record | None = None) -> None:
        """Write the rank's file; if that fails, as on a full disk, the rank continues without it."""
        partial = self.path.with_suffix(".partial")
        with suppress(OSError):
            partial.write_text(json.dumps(asdict(record or self.now())), encoding="utf-8")
            partial.replace(self.path)

    def __enter__(self) -> "RankFile":
        """Record that the rank has begun. A fault in native code leaves its Python stack beside the file."""
        with suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._stack = self.path.with_suffix(".stack").open("w", encoding="utf-8")
            faulthandler.enable(self._stack, all_threads=False)
        if self.rank == 0:
            (self.folder / PUBLISHED).unlink(missing_ok=True)
        self.write()
        return self

    def at(self, phase: str, step: int | None = None) -> None:
        """Note where the rank is now, without writing the file."""
        self.phase, self.since = phase, time.time()
        self.step = self.step if step is None else step

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Record the error that the rank ends with, in its file and, in torchrun's format, for torchrun."""
        if error is None or isinstance(error, SystemExit | KeyboardInterrupt):
            return
        from torch.distributed.elastic.multiprocessing.errors import get_error_handler

        text = str(error).encode(errors="replace").decode()[:MESSAGE]
        message = "\n  ".join(filter(None, [f"{type(error).__name__}: {text}".rstrip(), advise(error)]))
        lines = "".join(traceback.format_tb(error.__traceback__)).splitlines()[-TRACE_LINES:]
        self.write(replace(self.now(), error=message, trace="\n".join(lines)))
        get_error_handler().record_exception(error)


def read_records(folder: Path, start: str | None = None) -> list[Record]:
    """Read the ranks' files, in the order of ranks, of one start if that is given. Damaged files are left out."""
    records = []
    for path in folder.glob("rank-*.json"):
        with suppress(UserError, OSError):
            records.append(_from(read_object(path)))
    return sorted((record for record in records if start in (None, record.start)), key=lambda record: record.rank)


def _from(values: JsonObject) -> Record:
    memory = values.object("memory")
    counts: dict[str, Any] = {
        name: memory.integer(name) if name in memory else None for name in ("cgroup_kills", "machine_kills")
    }
    parts: dict[str, Any] = {name: values.integer(name) for name in ("rank", "pid", "step")}
    parts |= {name: values.text(name) for name in ("host", "start", "phase", "error", "trace")}
    parts |= {name: values.number(name) for name in ("time", "since")}
    sizes = {name: memory.integer(name) for name in ("available", "total")}
    return Record(**parts, memory=Memory(**counts, **sizes))


def stack_of(folder: Path, rank: int) -> Iterator[str]:
    """Yield the lines of the Python stack that a rank left when native code failed."""
    path = folder / f"rank-{rank}.stack"
    with suppress(OSError):
        yield from path.read_text(encoding="utf-8", errors="replace").splitlines()[:TRACE_LINES]
