"""The files of a folder: links are followed, loops noticed, and skipped files noted with the reason."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...core.manifest import MANIFEST_FILE
from .faults import printable

JOURNAL_FILE = "collected.jsonl"
"""Journal that `pdapt corpus collect` keeps in a source's folder."""


@dataclass(frozen=True)
class Unread:
    """A file or folder that is left unread.

    Attributes:
        name: its path below the source's folder.
        reason: why.
        fix: what would make it readable, where anything would.
    """

    name: str
    reason: str
    fix: str = ""


def walk(folder: Path, unread: list[Unread], out: Path | None = None) -> Iterator[tuple[Path, str]]:
    """The files below a folder with their relative names, sorted; links are followed, each folder is entered once.

    Args:
        folder: where to look.
        unread: is given what is skipped: what is hidden, linked twice, not a regular file, or made by pdapt.
        out: a folder that is passed over.
    """
    seen: dict[tuple[int, int], str] = {}
    yield from _walk(folder, "", unread, seen=seen, out=out)


def _walk(
    folder: Path, prefix: str, unread: list[Unread], *, seen: dict[tuple[int, int], str], out: Path | None
) -> Iterator[tuple[Path, str]]:
    here = printable(prefix.rstrip("/") or folder.name)
    status = folder.stat()
    first = seen.setdefault((status.st_dev, status.st_ino), here)
    if first != here:
        unread.append(Unread(here, f"the same folder as {first} (a link)"))
        return
    for entry in sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name)):
        path, name = folder / entry.name, prefix + entry.name
        reason = passed_over(path, out)
        if reason:
            unread.append(Unread(printable(name), reason))
        elif path.is_dir():
            yield from _walk(path, f"{name}/", unread, seen=seen, out=out)
        else:
            yield path, printable(name)


def passed_over(path: Path, out: Path | None) -> str:
    """Why an entry of a folder is not looked into, or an empty string."""
    if path.name.startswith("."):
        return "hidden"
    try:
        mode = path.stat().st_mode
    except OSError:
        return "a link that leads nowhere"
    if stat.S_ISDIR(mode):
        if out is not None and path.resolve() == out.resolve():
            return "the output of this command"
        return "made by pdapt" if _is_manifest(path / MANIFEST_FILE) else ""
    if not stat.S_ISREG(mode):
        return "not a regular file"
    made = path.name == JOURNAL_FILE or (path.name == MANIFEST_FILE and _is_manifest(path))
    return "made by pdapt" if made else ""


def _is_manifest(path: Path) -> bool:
    """Whether a file is a stage's manifest, which stands in the folder that the stage made."""
    content = path.read_bytes() if path.is_file() else b""
    return all(f'"{name}"'.encode() in content for name in ("stage", "inputs", "outputs"))
