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
# Libraries in Rust and C++, and ended processes that left only messages, state the system's error in words.
_IN_WORDS = re.compile(
    r"No space left on device|Disk quota exceeded|(?:os error|errno:?) (?:27|28|122)\b", re.IGNORECASE
)

_WRITE = 2
"""Linux's SYNC_FILE_RANGE_WRITE: begin to write, wait for nothing."""


def begin_flush(descriptor: int, begin: int = 0, length: int = 0) -> None:
    """Let the disk begin to write a file's bytes while the writer continues.

    `fsync`, the flush that makes the file safe, then has little left to do. This call alone makes nothing safe: if the
    system or the file system does not support it, only time is lost.

    Args:
        descriptor: descriptor of the open file.
        begin: first byte.
        length: number of bytes; 0 for all that follow.
    """
    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call(descriptor, ctypes.c_int64(begin), ctypes.c_int64(length), _WRITE)


def read_ahead(mapped: mmap.mmap, begin: int, end: int) -> None:
    """Let the disk begin to read, in one go, a part of a mapped file that is about to be used.

    Otherwise readers fetch one page at a time as they touch it, and the more readers there are, the less contiguous
    the reads.

    Args:
        mapped: the file.
        begin: first byte.
        end: the byte after the last.
    """
    begin -= begin % mmap.PAGESIZE
    mapped.madvise(mmap.MADV_WILLNEED, begin, end - begin)


def full_disk(error: BaseException) -> str:
    """Describe a full disk if an error, or one of its causes, comes from one; else empty."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _WORDS:
            return _WORDS[seen.errno]
        if _IN_WORDS.search(str(seen)):
            return _WORDS[errno.ENOSPC]
        seen = seen.__cause__ or seen.__context__
    return ""


def disk_error(words: str, path: Path | None) -> UserError:
    """Make the `UserError` for a full disk.

    Args:
        words: the description from `full_disk`.
        path: what was being written, whether it exists or not; None if unknown.
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
    """Check, before anything is written, that a disk has enough space.

    Args:
        out: the file or folder to write.
        needed: its size in bytes.
        left: bytes that an interrupted run left there, and that will be replaced.

    Raises:
        UserError: there is too little space.
    """
    disk = _disk_of(out)
    free = shutil.disk_usage(disk).free + left
    if needed > free:
        raise UserError(
            f"the disk has too little space: {needed / 1e6:,.1f} MB are to be written, {free / 1e6:,.1f} MB are free "
            f"on {disk}",
            where=str(out),
            fix="free space, or write elsewhere; then run the same command again",
        )


def _disk_of(path: Path) -> Path:
    """Find the mount point of the file system that holds a path, or will hold it."""
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
    except Exception as error:  # a library may have wrapped the system's error in anything; others are raised again
        words = full_disk(error)
        if not words:
            raise
        raise disk_error(words, path) from error
