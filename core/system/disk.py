"""Disks: recognising and reporting a full one, and starting writes early."""

import ctypes
import errno
import mmap
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import UserError

_WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk's quota is used up",
    errno.EFBIG: "the file is larger than the file system or this shell (`ulimit -f`) allows",
}
# Libraries in Rust and C++, and processes of which only the messages are left, put the system's error into words.
_IN_WORDS = re.compile(
    r"No space left on device|Disk quota exceeded|(?:os error|errno:?) (?:27|28|122)\b", re.IGNORECASE
)

_WRITE = 2
"""Linux's SYNC_FILE_RANGE_WRITE: begin to write, wait for nothing."""


def begin_flush(descriptor: int, begin: int = 0, length: int = 0) -> None:
    """Have the disk begin to write a file's bytes while the writer continues.

    The flush that makes the file safe, `fsync`, then finds little left to do. By itself this makes nothing safe:
    where the system or the file system does not know the call, time alone is lost.

    Args:
        descriptor: the open file's.
        begin: first byte.
        length: how many bytes; 0 for all that follow.
    """
    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call(descriptor, ctypes.c_int64(begin), ctypes.c_int64(length), _WRITE)


def read_ahead(mapped: mmap.mmap, begin: int, end: int) -> None:
    """Have the disk begin to read a part of a mapped file that is about to be used, in one go.

    Else it is asked for a page at a time, by whoever touches it, and the more readers there are the less of it lies in
    a row.

    Args:
        mapped: the file.
        begin: first byte.
        end: the byte after the last.
    """
    begin -= begin % mmap.PAGESIZE
    mapped.madvise(mmap.MADV_WILLNEED, begin, end - begin)


def full_disk(error: BaseException) -> str:
    """Words for a full disk if an error, or one of its causes, comes from one; else empty."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _WORDS:
            return _WORDS[seen.errno]
        if _IN_WORDS.search(str(seen)):
            return _WORDS[errno.ENOSPC]
        seen = seen.__cause__ or seen.__context__
    return ""


def disk_error(words: str, path: Path | None) -> UserError:
    """The `UserError` for a full disk.

    Args:
        words: from `full_disk`.
        path: what was being written, there or not; None where that is not known.
    """
    fix = "free space, or write elsewhere; then run the same command again"
    if path is None:
        return UserError(words, fix=fix)
    disk = _disk_of(path)
    space = shutil.disk_usage(disk)
    return UserError(
        f"{words}: {space.free / 1e9:,.2f} of {space.total / 1e9:,.2f} GB are free on {disk}", where=str(path), fix=fix
    )


def check_space(out: Path, needed: int, *, left: int = 0) -> None:
    """Check, before anything is written, that a disk has room for it.

    Args:
        out: what is to be written.
        needed: bytes of it.
        left: bytes that an interrupted run left there, and that make way.

    Raises:
        UserError: it has not.
    """
    disk = _disk_of(out)
    free = shutil.disk_usage(disk).free + left
    if needed > free:
        raise UserError(
            f"the disk has too little room: {needed / 1e6:,.1f} MB are to be written, {free / 1e6:,.1f} MB are free on "
            f"{disk}",
            where=str(out),
            fix="free space, or write elsewhere; then run the same command again",
        )


def _disk_of(path: Path) -> Path:
    """The mount point of the file system that holds a path, or will hold it."""
    place = Path(os.path.realpath(path))
    while not place.exists() or not (place.is_mount() or place == place.parent):
        place = place.parent
    return place


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn any error that a full disk causes in the block into a `UserError` that names the disk.

    Args:
        path: what is being written.

    Raises:
        UserError: the disk is full, the quota used up or a file too large.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # whatever a library made of the system's error; all else goes on as it is
        words = full_disk(error)
        if not words:
            raise
        raise disk_error(words, path) from error
