"""The rank that failed first, among all that have ended, and why: the others only lose their connection to it."""

import signal
import socket
import time
from collections.abc import Iterable
from pathlib import Path

from ....core import log
from ....core.system.disk import full_disk
from ....core.system.process import lives
from .out_of_memory import Memory, explain_kill, read_memory
from .rank_file import PUBLISHED, Record, read_records, stack_of, this_start

PATIENCE = 10.0
"""Seconds within which the rank to blame writes its error, or is gone, after another rank has lost it."""
ENDED_BY_US = (signal.SIGTERM, signal.SIGABRT)
"""Signals that a rank ends with because another one has: torchrun's, and NCCL's watchdog."""


def first_cause(
    folder: Path, codes: dict[int, int], *, log_end: str = "", start: str | None = None, memory: Memory | None = None
) -> str:
    """Describe the first cause of a run's end; empty if nothing is known.

    Args:
        folder: folder of the ranks' files.
        codes: exit codes of the ranks that torchrun saw end first, negative for signals; empty if unknown.
        log_end: the end of their log, for a rank that has left no error.
        start: the start whose files count; None for all.
        memory: this machine's memory now.
    """
    records = {record.rank: record for record in read_records(folder, start)}
    now = memory or read_memory()
    several = len({record.host for record in records.values()}) > 1
    killed = {rank: code for rank, code in codes.items() if code < 0 and -code not in ENDED_BY_US}
    silent = {rank: code for rank, code in codes.items() if rank not in records or not records[rank].error}
    for rank in sorted(killed):
        return _killed(folder, rank, records.get(rank), -killed[rank], several=several, memory=now)
    own = [record for record in records.values() if record.error and not record.lost_others]
    for record in sorted(own, key=lambda record: record.time):
        return _raised(record, now, several=several)
    for rank, code in sorted(silent.items()):
        if code < 0:
            return _killed(folder, rank, records.get(rank), -code, several=several, memory=now)
        name = _name(rank, records.get(rank), several=several)
        return f"{name} ended with exit code {code} and left no error; the end of the log:\n{log_end}"
    for record in _gone(records.values()):
        return f"{_killed(folder, record.rank, record, None, several=several, memory=now)}"
    return _behind(list(records.values()), now, several=several)


def _name(rank: int, record: Record | None, *, several: bool) -> str:
    return f"rank {rank} on {record.host}" if record and several else f"rank {rank}"


def _raised(record: Record, memory: Memory, *, several: bool) -> str:
    lines = [f"{_name(record.rank, record, several=several)} failed ({record.place}): {record.error}"]
    if "killed by signal: Killed" in record.error and record.host == socket.gethostname():  # a DataLoader's process
        lines.append(f"  {explain_kill(record.memory, memory)}")
    return "\n".join([*lines, record.trace])


def _killed(
    folder: Path, rank: int, record: Record | None, number: int | None, *, several: bool, memory: Memory
) -> str:
    """Describe the end of a rank that left no error; `number` is its signal, None if nobody saw it."""
    place = f" ({record.place} when last seen)" if record else ""
    how = f"was ended by {signal.Signals(number).name}" if number else "is gone without an error: killed"
    ending = f"{_name(rank, record, several=several)} {how}{place}"
    here = record is not None and record.host == socket.gethostname()
    if number in (signal.SIGKILL, None) and record and here:
        return f"{ending}\n  {explain_kill(record.memory, memory)}"
    return "\n  ".join([ending, *stack_of(folder, rank)])


def _gone(records: Iterable[Record]) -> list[Record]:
    """The ranks of this machine whose processes are gone although they left no error, in the order of their ends."""
    here = [
        record
        for record in records
        if record.host == socket.gethostname() and not record.error and not lives(record.pid)
    ]
    return sorted(here, key=lambda record: record.time)


def _behind(records: list[Record], memory: Memory, *, several: bool) -> str:
    """If every rank only lost another one: say which lost the connection first, and where the others are."""
    lost = sorted((record for record in records if record.error), key=lambda record: record.time)
    standing = [record for record in records if not record.error]
    if not lost:
        return ""
    lines = [f"no rank has an error of its own; {_raised(lost[0], memory, several=several)}"]
    for record in sorted(standing, key=lambda record: (record.step, record.since)):
        since = time.strftime("%H:%M:%S", time.localtime(record.since))
        lines.append(f"  {_name(record.rank, record, several=several)} is at {record.place}, since {since}")
    return "\n".join(lines)


def publish(folder: Path, rank: int) -> None:
    """Report the first cause on a rank that lost another one; only the first rank that knows the cause reports it.

    If pdapt did not start torchrun, nobody else is left to report it.

    Args:
        folder: folder of the ranks' files.
        rank: this rank's number.
    """
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        records = read_records(folder, this_start())
        if any(record.rank == rank and not record.lost_others for record in records):
            return  # the error is this rank's own, and is shown like any error
        if any(record.error and not record.lost_others for record in records) or _gone(records):
            break
        time.sleep(0.2)
    cause = first_cause(folder, {}, start=this_start())
    try:
        with (folder / PUBLISHED).open("x", encoding="utf-8") as file:
            file.write(cause + "\n")
    except FileExistsError:
        return
    except OSError as error:
        if not full_disk(error):  # a full disk is reported as the rank's own error
            raise
    log.warn(f"train: rank {rank} has lost another rank; the first cause: {cause}")
