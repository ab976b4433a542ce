"""Locks that keep all but one process out of a folder."""

import errno
import fcntl
import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from .. import log
from ..errors import UserError
from .disk import disk_errors


@contextmanager
def locked(out: Path, doing: str) -> Iterator[None]:
    """Keep a second process from doing the same in the same folder.

    The kernel holds the lock, and frees it when the process ends, for whatever reason. The lock's file, `.NAME.lock`
    beside the folder, is removed at the end of the block; a killed process leaves the file, but it blocks nobody.

    Args:
        out: the folder; it need not exist.
        doing: the activity with its preposition, such as `training into`.

    Raises:
        UserError: another process is doing it; the message says which.
    """
    made = [folder for folder in out.parents if not folder.exists()]
    out.parent.mkdir(parents=True, exist_ok=True)
    path = out.parent / f".{out.name}.lock"
    file, mine = _acquire(path, wait=False)
    if not mine:
        raise _refusal(file, out, doing)
    try:
        _name_holder(file, path)
        yield
    finally:
        path.unlink(missing_ok=True)  # before the lock is freed: nobody can lock a file without a name
        _close(file)
        _remove_empty(made)


def _name_holder(file: IO[str], path: Path) -> None:
    with disk_errors(path):
        file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.strftime('%Y-%m-%d %H:%M:%S')}")
        file.flush()


def _close(file: IO[str]) -> None:
    """Close the file, and ignore what could not be written because the disk is full."""
    with suppress(OSError):
        file.close()


@contextmanager
def claimed(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether this process alone holds the lock on a file until the block ends; the file is removed then.

    Args:
        path: the file. A killed process leaves it, but it blocks nobody.
        wait: whether to wait for another process.
    """
    file, mine = _acquire(path, wait=wait)
    try:
        yield mine
    finally:
        if mine:
            path.unlink(missing_ok=True)
        file.close()


def _remove_empty(folders: list[Path]) -> None:
    """Remove empty folders, innermost first, so that refused work leaves nothing."""
    with suppress(OSError):
        for folder in folders:
            folder.rmdir()


def _acquire(path: Path, *, wait: bool) -> tuple[IO[str], bool]:
    """Open the file, and say whether this process has the lock."""
    while True:
        _check_regular(path)
        file = path.open("a+", encoding="utf-8", errors="replace")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return file, False
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
            log.warn(f"{path.parent} is on a file system without locks: pdapt cannot keep a second process out of it")
        if _is_at(file, path):
            file.truncate(0)
            return file, True
        file.close()  # the process that held the lock has removed the file since


def _check_regular(path: Path) -> None:
    """Refuse pipes, which would block, and devices, to which pdapt would write."""
    if path.exists() and not path.is_file():
        raise UserError(f"{path} is not a regular file", where=str(path), fix="remove it: pdapt keeps a lock there")


def _is_at(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _refusal(file: IO[str], out: Path, doing: str) -> UserError:
    file.seek(0)
    holder = re.sub(r"[^ -~]", "", file.read(200))
    file.close()
    return UserError(
        f"another process is {doing} {out}" + (f": {holder}" if holder else ""),
        where="--out",
        fix="wait for it, end it first, or choose another folder",
    )
