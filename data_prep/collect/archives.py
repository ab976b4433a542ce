"""Unpacking of zip archives, within limits of size, number of members and folder."""

import errno
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from ...core.errors import Failed, UserError
from ...core.files import BLOCK, remove
from ...core.system.disk import check_space, disk_errors
from .names import safe_path
from .raw_folder import Answer, Raw

MOST_BYTES, MOST_MEMBERS = 2**36, 1_000_000
MOST_TIMES = 500
"""A member's size over that of its compressed bytes, from LARGE bytes on; text comes to 20, JSON's to 100."""
LARGE = 2**24
DAMAGED = (zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError, OSError)
"""Errors that zipfile and its decompressors raise on damaged bytes; some stand for other failures, too."""


def unpack(name: str, patterns: Sequence[str], raw: Raw) -> None:
    """Unpack the members of an archive that fit a pattern, below a folder called after it.

    Args:
        name: the archive, below the source's folder.
        patterns: of the members' paths, or of their last parts.
        raw: the source's folder.

    Raises:
        Failed: the archive is damaged, a bomb, or leads out of its folder; it is fetched again next time.
        UserError: the disk is full.
    """
    path, archive = raw.folder / name, raw.answers[name]
    try:
        with zipfile.ZipFile(path) as file:
            members = _members(file, patterns, name)
            wanted = [(each, _answer(each, name, archive)) for each in members]
            if not all(raw.find(answer.file, answer.url) for _, answer in wanted):
                _extract(file, wanted, raw, path)
    except UserError:
        raise
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno != errno.EINVAL:  # which is how a position before the file ends
            raise
        raw.forget([name])
        raise Failed(f"{path}: the archive is damaged: {error}; run the same command to fetch it again") from error


def _members(file: zipfile.ZipFile, patterns: Sequence[str], name: str) -> list[zipfile.ZipInfo]:
    """The members that are wanted, by path.

    Raises:
        Failed: there is none, or one is not what a corpus holds.
    """
    every = file.infolist()
    if len(every) > MOST_MEMBERS:
        raise Failed(f"{name}: the archive has {len(every):,} members; allowed: {MOST_MEMBERS:,}")
    members = sorted((each for each in every if _fits(each, patterns)), key=lambda each: each.filename)
    if not members:
        raise Failed(f"{name}: none of its {len(every):,} members is called {' or '.join(patterns)}")
    for each in members:
        _check(each, name)
    if len({safe_path(each.filename).lower() for each in members}) < len(members):
        raise Failed(f"{name}: two of the archive's members have the same name")
    total = sum(each.file_size for each in members)
    if total > MOST_BYTES:
        raise Failed(f"{name}: {total:,} bytes once unpacked; allowed: {MOST_BYTES:,}")
    return members


def _fits(member: zipfile.ZipInfo, patterns: Sequence[str]) -> bool:
    path = member.filename.lower()
    last = path.rpartition("/")[2]
    if member.is_dir() or last.startswith(".") or path.startswith("__macosx/"):
        return False
    return any(fnmatchcase(path, each.lower()) or fnmatchcase(last, each.lower()) for each in patterns)


def _check(member: zipfile.ZipInfo, name: str) -> None:
    path = member.filename
    if path.startswith("/") or "\\" in path or ".." in path.split("/") or ":" in path.split("/")[0]:
        raise Failed(f"{name}: the member {path[:200]!r} leads out of the archive's folder")
    mode = member.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise Failed(f"{name}: the member {path[:200]!r} is a link or a device")
    if member.flag_bits & 1:
        raise Failed(f"{name}: the member {path[:200]!r} is encrypted")
    if member.file_size > LARGE and member.file_size > MOST_TIMES * max(1, member.compress_size):
        raise Failed(f"{name}: the member {path[:200]!r} unpacks to {member.file_size:,} bytes, like a zip bomb")


def _answer(member: zipfile.ZipInfo, name: str, archive: Answer) -> Answer:
    """The member as an answer: its archive's, with its path after a `#`."""
    folder = name.rpartition(".")[0]
    return replace(archive, file=f"{folder}/{safe_path(member.filename)}", url=f"{archive.url}#{member.filename}")


def _extract(file: zipfile.ZipFile, wanted: Sequence[tuple[zipfile.ZipInfo, Answer]], raw: Raw, path: Path) -> None:
    """Unpack into a hidden folder first, so that half an archive is never taken for a whole one."""
    work = path.with_name(f".{path.name}.unpacking")
    remove(work)
    check_space(path, sum(member.file_size for member, _ in wanted))
    with disk_errors(path):
        work.mkdir()
        partials = []
        for number, (member, answer) in enumerate(wanted):
            _copy(file, member, work / str(number))
            partials.append((work / str(number), answer))
    raw.keep(partials)
    remove(work)


def _copy(file: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    """Unpack one member; zipfile compares its checksum, and reads no more than the size that it states."""
    with file.open(member) as source, target.open("wb") as sink:
        while block := source.read(BLOCK):
            sink.write(block)
