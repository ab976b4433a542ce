"""Whether the files at a path are a registered source's, or one's own."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath

from ...core import log
from ...core.errors import UserError
from ...core.files import read_lines
from ...core.jsonio import JsonObject, parse_json
from ..sources.definition import Definition
from ..sources.recognition import PACKING, Files, exports, recognised
from ..sources.registry import definitions, key_of
from ..sources.rules import rule_for
from .faults import printable
from .folders import JOURNAL_FILE, walk
from .sources import Source
from .streams import SourceFile
from .survey import examine

SHOWN = 5
"""Files that are named in a message."""


def recognise(path: Path, name: str, out: Path | None = None, formats: Mapping[str, str] | None = None) -> str | None:
    """The format of the registered source that a file or folder is recognised as; None for files of one's own.

    Args:
        path: a file or folder.
        name: the source's name, as the user or the folder gives it.
        out: a folder that is passed over.
        formats: name -> format, of those that the user says.

    Raises:
        UserError: it may be of several sources, or holds files beside a source's that might be one's own.
    """
    if formats and name in formats:
        return formats[name]
    alone = not path.is_dir()
    files = [(path, path.name)] if alone else list(walk(path, [], out))
    sources, collected = _by_content(path, name, files), _journal(path)
    if not sources or any(key in sources for key in collected):
        sources = collected or sources
    else:
        sources |= collected
    if len(sources) > 1:
        raise _doubt(path, f"it may be {' or '.join(sources)}")
    if not sources:
        _check_export(path, files)
        _warn_of_name(path, name, files)
        return None
    ((key, definition),) = sources.items()
    foreign = [] if alone else _foreign(files, definition)
    if foreign:
        shown = ", ".join(foreign[:SHOWN]) + (f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else "")
        raise _doubt(path, f"its content is that of {key}, but {key} does not publish {shown}")
    log.info(f"{name}: recognised as {key}")
    return key


def is_whole(path: Path, out: Path | None = None) -> bool:
    """Whether a folder with subfolders is one source: it was collected, or its name is that of its source."""
    if (path / JOURNAL_FILE).is_file():
        return True
    key = key_of(path.name)
    return key in definitions() and key in _by_content(path, path.name, list(walk(path, [], out)))


def _by_content(path: Path, name: str, files: Files) -> dict[str, Definition]:
    """Key -> source, of those that the files may be of."""
    if path.is_dir():
        files = [(each, f"{path.name}/{relative}") for each, relative in files]
    elif key_of(name) not in definitions():
        name = path.parent.name
    return {each.key: each for each in recognised(files, name)}


def _doubt(path: Path, why: str) -> UserError:
    fix = (
        "--format SOURCE, or --format NAME=SOURCE for one of several, says which it is; --format text, lines, ... "
        "reads it as files of your own; or put what does not belong together into folders of their own"
    )
    return UserError(f"the source cannot be recognised: {why}", where=printable(path), fix=fix)


def _journal(path: Path) -> dict[str, Definition]:
    """The source that a folder was collected as, by its key.

    Raises:
        UserError: the journal names a source that is not registered.
    """
    journal = path / JOURNAL_FILE
    if not journal.is_file():
        return {}
    where, line = next(read_lines(journal), (str(journal), b""))
    key = JsonObject(parse_json(line, where), where).text("source")
    if key not in definitions():
        fix = "--format FILE.yaml, the file that defines it"
        raise UserError(f"the folder was collected as {key[:60]!r}, which is not registered", where=where, fix=fix)
    return {key: definitions()[key]}


def _check_export(path: Path, files: Files) -> None:
    """Check that there is no export of some source, of which nothing tells which.

    Raises:
        UserError: there is one.
    """
    names = exports(files)
    if names:
        raise _doubt(path, f"{names[0]} is an export of a registered source, and nothing tells of which")


def _warn_of_name(path: Path, name: str, files: Files) -> None:
    """Say where a folder is only called as a source is."""
    key = key_of(path.name)
    if path.is_dir() and files and key in definitions() and not _foreign(files, definitions()[key]):
        log.warn(
            f"{name}: read as files of your own: nothing in it shows that it is {key}; if it is, give --format {key}"
        )


def _foreign(files: Files, definition: Definition) -> list[str]:
    """Names of files that the source does not publish, and that would be read as documents of one's own."""
    texts = {name for _, name in files}
    return [name for path, name in files if not _published(name, texts, definition) and _is_own(path, name)]


def _published(name: str, names: set[str], definition: Definition) -> bool:
    """Whether a source has a file of this name: a text that is annotated has its annotations beside it."""
    rule = rule_for(definition, PACKING.sub("", name), alone=False)
    if rule is None or rule.format != "brat":
        return rule is not None
    return str(PurePath(PACKING.sub("", name)).with_suffix(".ann")) in names


def _is_own(path: Path, name: str) -> bool:
    try:
        return isinstance(examine(path, name, Source("", path), alone=False), SourceFile)
    except UserError:
        return False


def check_once(recognised_as: Sequence[tuple[str, str]]) -> None:
    """Check that no two folders are the same source, whose documents would be there twice.

    Args:
        recognised_as: name and source of each folder that was recognised.

    Raises:
        UserError: two are.
    """
    seen: dict[str, str] = {}
    for name, key in recognised_as:
        if key in seen:
            fix = (
                f"remove one, or read both as one source: --format {key} FOLDER-OF-BOTH; NAME=PATH takes each as it is"
            )
            raise UserError(f"both {seen[key]} and {name} are {key}", where="PATH", fix=fix)
        seen[key] = name
