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
PLACES = "home|Users|root|tmp|mnt|scratch|lustre|data|work|workspace|var|opt|linkhome|users|beegfs|projects?|nfs|srv"
PLACES += "|media|storage|Volumes|private|fsx|ccc|sps|leonardo|pfs|gpfs[a-z0-9]*"
PATH = re.compile(
    rf"(?:file:/{{0,2}}|(?<![\w.:/~<-]))/(?:{PLACES})/[^\s\"'`)<]+|(?<!\w)[A-Za-z]:\\{{1,2}}Users\\{{1,2}}[^\s\"'`)<]+"
)
"""An absolute path that begins as on a workstation or a cluster; not part of an address of the Web."""
SETTINGS = {"config.json", "generation_config.json", "tokenizer_config.json", "mergekit_config.yml"}
"""Files in which a user's name is no word of the language."""
SHARED = {"root", "user", "users", "admin", "ubuntu", "runner", "model", "data", "base"}
"""Names of users that are nobody's, or words of settings."""
LARGEST_TEXT = 2**28
"""Bytes of the largest text that is searched; a tokenizer has some 10 MB."""
NAMED = 3
"""Places that an error names."""


def files_of(folder: Path, allowed: Iterable[str]) -> list[str]:
    """Names of the files to publish, relative to the folder, without the card, records of stages and hidden files.

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
        if any(part.startswith(".") for part in Path(name).parts):
            continue
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise UserError("links and special files are not published", where=str(path))
        if path.is_dir() or name == CARD_FILE or path.name in OWN_RECORDS:
            continue
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
    """Check that no published text names a path of this machine or its user's home, and no settings its user.

    Of a user's name that is also a word, a vocabulary or a list of authors has its own.

    Raises:
        UserError: one does.
    """
    texts = {name: folder / name for name in names if Path(name).suffix in TEXT}
    places = [f"{CARD_FILE}: {match}" for match in _private(card)]
    for name, path in texts.items():
        text = text_of(path)
        places += [f"{name}: {match}" for match in _private(text)]
        if path.name in SETTINGS and (user := _user_in(text)):
            places.append(f"{name}: the user name {user}")
    if places:
        more = f" and {len(places) - NAMED} more" if len(places) > NAMED else ""
        raise UserError(
            f"names of this machine or its user would be published: {'; '.join(places[:NAMED])}{more}",
            where=str(folder),
            fix="remove them from these files, or make the folder again",
        )


def _user_in(text: str) -> str:
    """The name of the user who publishes, if a text has it as a word; empty where it says nothing of a person."""
    user = getpass.getuser()
    return user if user not in SHARED and re.search(rf"(?<!\w){re.escape(user)}(?!\w)", text) else ""


def _private(text: str) -> list[str]:
    user = re.escape(getpass.getuser())
    homes = re.findall(rf"[/\\](?:home|Users)[/\\]{user}\b", text)
    return list(dict.fromkeys([*PATH.findall(text), *homes]))
