"""Checks of what is published: kinds of files, and names of this machine and its user within them."""

import getpass
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...core.errors import UserError
from ...core.files import read_bytes
from .hub import CARD_FILE

TEXT = {".json", ".md", ".txt", ".yml", ".yaml", ".html", ".jinja", ".csv", ".tex", ".model"}
"""Endings of files that are searched."""
OWN_RECORDS = {"manifest.json", "pdapt.json"}
"""Records for later stages, with hashes of this machine's inputs: not published."""
PLACES = "home|Users|root|tmp|mnt|scratch|lustre|gpfs|gpfswork|gpfsscratch|data|work|workspace|var|opt"
PATH = re.compile(rf"(?<![\w.:/~<-])/(?:{PLACES})/[^\s\"'`)<]+")
"""An absolute path that begins as on a workstation or a cluster; not part of an address."""
LARGEST_TEXT = 2**28
"""Bytes of the largest text that is searched; a tokenizer has some 10 MB."""
NAMED = 3
"""Places that an error names."""


def files_of(folder: Path, allowed: Iterable[str]) -> list[str]:
    """Names of the files to publish, relative to the folder, without the card and the records of stages.

    Args:
        folder: that is published.
        allowed: endings of the files that may be published.

    Raises:
        UserError: there is a file of another kind, or a link.
    """
    if not folder.is_dir():
        raise UserError("there is no such folder", where=str(folder))
    endings, names = set(allowed), []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_dir() or name == CARD_FILE or path.name in OWN_RECORDS:
            continue
        if path.is_symlink() or not path.is_file():
            raise UserError("links and special files are not published", where=str(path))
        if path.suffix not in endings:
            raise UserError(
                f"files that end in {path.suffix or 'nothing'!r} are not published",
                where=str(path),
                allowed=", ".join(sorted(endings)),
                fix="move it out of the folder; weights must be safetensors",
            )
        names.append(name)
    return names


def text_of(path: Path) -> str:
    """Text of a file; bytes that are not UTF-8 become U+FFFD.

    Raises:
        UserError: it is too large to be searched.
    """
    return read_bytes(path, LARGEST_TEXT).decode("utf-8", errors="replace")


def check_anonymous(folder: Path, names: Sequence[str], card: str) -> None:
    """Check that no published text names a path of this machine or its user's home.

    Raises:
        UserError: one does.
    """
    texts = {name: folder / name for name in names if Path(name).suffix in TEXT}
    places = [f"{CARD_FILE}: {match}" for match in _private(card)]
    for name, path in texts.items():
        places += [f"{name}: {match}" for match in _private(text_of(path))]
    if places:
        more = f" and {len(places) - NAMED} more" if len(places) > NAMED else ""
        raise UserError(
            f"paths of this machine would be published: {'; '.join(places[:NAMED])}{more}",
            where=str(folder),
            fix="remove them from these files, or make the folder again",
        )


def _private(text: str) -> list[str]:
    user = re.escape(getpass.getuser())
    homes = re.findall(rf"[/\\](?:home|Users)[/\\]{user}\b", text) if user != "root" else []
    return list(dict.fromkeys([*PATH.findall(text), *homes]))
