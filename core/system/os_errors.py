"""Errors of the operating system that the user can fix, as opposed to defects of pdapt, in words."""

import errno
import sys
from pathlib import Path

from ..errors import UserError
from .disk import disk_error, full_disk

_WORDS = {
    errno.EACCES: ("may not be read or written by you", "change its permissions, or choose another place"),
    errno.EPERM: ("may not be changed by you", "change its permissions, or choose another place"),
    errno.EROFS: ("is on a file system that is mounted read-only", "choose another place"),
    errno.ENOENT: ("is not there", "check the path"),
    errno.ENOTDIR: ("has a file where a folder should be", "check the path"),
    errno.EISDIR: ("is a folder, but a file is expected", "check the path"),
    errno.EEXIST: ("already exists, as something else", "remove it, or choose another place"),
    errno.ENOTEMPTY: ("is a folder that is not empty", "empty it, or choose another place"),
    errno.ENAMETOOLONG: ("has too long a name", "choose a shorter one"),
    errno.ELOOP: ("is a link that leads to itself", "check the path"),
    errno.EBUSY: ("is in use", "end the program that uses it, or choose another place"),
    errno.EXDEV: ("would have to be moved from one disk to another", "choose a folder that is not a disk of its own"),
    errno.EMFILE: ("cannot be opened: this process has too many files open", "raise the limit: ulimit -n 65536"),
    errno.ENFILE: ("cannot be opened: this machine has too many files open", "end other processes"),
    errno.ENXIO: ("is a device or pipe without anything at its other end", "give a file"),
    errno.ENODEV: ("is not a file", "give a file"),
    errno.EIO: ("cannot be read or written: the disk reports an error", "check the disk"),
    errno.ESTALE: ("has meanwhile been removed on the file server", "run the same command again"),
}
_OURS = Path(__file__).resolve().parents[2]


def user_error(error: OSError) -> UserError | None:
    """Turn an operating system's error into a `UserError`; None if it is a defect of pdapt.

    It is a defect if it names no file, or a missing file of the program itself.
    """
    words = full_disk(error)
    if words:
        return disk_error(words, Path(str(error.filename)) if error.filename else None)
    if error.errno not in _WORDS or not isinstance(error.filename, str | bytes):
        return None
    path = Path(error.filename.decode(errors="replace") if isinstance(error.filename, bytes) else error.filename)
    if error.errno == errno.ENOENT and path.is_relative_to(_OURS):
        return None
    what, fix = _WORDS[error.errno]
    shown = str(path) if len(str(path)) < 300 else f"{str(path)[:300]}…"
    return UserError(f"{shown} {what} ({error.strerror})", fix=fix)


def missing_package(error: ImportError) -> UserError | None:
    """Make the `UserError` for a package that is missing or broken; None if the missing module is pdapt's own."""
    package = (error.name or "").partition(".")[0]
    if package in ("", "pdapt"):
        return None
    return UserError(
        f"the package {package} cannot be loaded: {error}",
        where=sys.executable,
        fix="install pdapt there again with its dependencies (pip install pdapt, or `make setup`)",
    )
