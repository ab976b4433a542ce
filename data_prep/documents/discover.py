"""The sources that a user's paths name."""

from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import UserError, check_known
from ..sources.registry import definitions, find_source, is_file, is_source
from .faults import printable
from .folders import Unread, passed_over, walk
from .record import SPLITS
from .sources import FORMATS, HUB, Source, check_names, made_name
from .streams import check_encoding
from .survey import examine


def discover(
    paths: list[str],
    *,
    format: str | None = None,
    document_type: str = "",
    licence: str = "",
    commercial: bool | None = None,
    text_column: str = "text",
    encoding: str | None = None,
    out: Path | None = None,
) -> list[Source]:
    """The sources that the user's paths name; the other arguments go to each of them.

    Args:
        paths: `[NAME=]PATH` each. A file or folder is one source; a folder without documents of its own at its top is
            one source per subfolder, unless it is given a NAME or they are called after splits (train, test).
            `hub:OWNER/NAME[:CONFIG]` is a data set on the Hugging Face Hub; nothing else is looked for on the network.
        format, document_type, licence, commercial, text_column, encoding: see `Source`.
        out: the folder that will be made, which is no source.

    Raises:
        UserError: a path is missing, a folder is empty, two sources have the same name, or an option's value is none.
    """
    options: dict[str, Any] = {
        "format": format,
        "document_type": document_type,
        "licence": licence,
        "commercial": commercial,
        "text_column": text_column,
        "encoding": check_encoding(encoding) if encoding is not None else None,
    }
    if format is not None:
        options |= _of_format(format, options)
    sources = [
        Source(name, path, **options, named=bool(split_name(given)[0]))
        for given in paths
        for name, path in _named(given, options, out)
    ]
    check_names([source.name for source in sources])
    return sources


def _of_format(format: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options that follow from a format: of a registered source, the document type that the user leaves unsaid."""
    if format in FORMATS or not is_source(format):
        check_known(format, (*FORMATS, *definitions()), "format", "--format")
        return {}
    source = find_source(format)
    key = format if is_file(format) else source.key
    return {"format": key, "document_type": options["document_type"] or source.document_type}


def split_name(given: str) -> tuple[str, str]:
    """NAME and PATH of `[NAME=]PATH`: a path with an `=` in it is one where there is such a path."""
    before, equals, after = given.partition("=")
    return (before, after) if equals and "/" not in before and not exists(given) else ("", given)


def exists(path: str | Path) -> bool:
    """Whether there is something at a path, which may be any text."""
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # too long a name, or NUL
        return False


def _named(given: str, options: dict[str, Any], out: Path | None) -> list[tuple[str, Path | str]]:
    """The (name, path) pairs that one of the user's paths stands for."""
    name, target = split_name(given)
    if target.startswith(HUB):
        dataset = target.removeprefix(HUB)
        return [(name or made_name(dataset.partition(":")[0].rpartition("/")[2]), dataset)]
    path = existing(target)
    if name:
        return [(name, path)]
    if not path.is_dir():
        return [(_said(path.name.split(".")[0] or path.name, path), path)]
    registered = options["format"] not in (None, *FORMATS)
    if registered or _has_documents(path, options, out) or _is_split(path, out):
        return [(_said(path.resolve().name, path), path)]
    return _subfolders(path, out)


def existing(target: str) -> Path:
    """The absolute path of a file or folder.

    Raises:
        UserError: there is none.
    """
    if not target or not exists(target):
        near = "the Hugging Face Hub is asked only where PATH begins with hub:" if target.count("/") == 1 else ""
        raise UserError(
            f"no such file or folder: {printable(target)}",
            where="PATH",
            allowed="[NAME=]PATH of a file or folder, or hub:OWNER/NAME[:CONFIG]",
            fix=near or "check the path",
        )
    return Path(target).absolute()


def _has_documents(folder: Path, options: dict[str, Any], out: Path | None) -> bool:
    """Whether any file at the top of a folder holds documents, or is broken where it should."""
    source = Source("", folder, **options)
    for child in sorted(folder.iterdir()):
        if not child.is_file() or passed_over(child, out):
            continue
        try:
            examined = examine(child, printable(child.name), source, alone=False)
        except UserError:
            return True  # it is named when all files are looked at
        if not isinstance(examined, Unread):
            return True
    return not any(child.is_dir() and not passed_over(child, out) for child in folder.iterdir())


def _is_split(folder: Path, out: Path | None) -> bool:
    """Whether a folder's subfolders are a publisher's splits, such as train and test, and so one source."""
    names = [child.name.lower() for child in folder.iterdir() if child.is_dir() and not passed_over(child, out)]
    return all(name in SPLITS for name in names)


def _subfolders(folder: Path, out: Path | None) -> list[tuple[str, Path | str]]:
    """Each subfolder as a source. Folders whose names become the same one get a number."""
    sources: dict[str, Path | str] = {}
    for child in sorted(folder.iterdir()):
        if not child.is_dir() or passed_over(child, out):
            continue
        if next(walk(child, [], out), None) is None:
            log.info(f"the folder {printable(child.name)} is empty")
            continue
        name = base = made_name(child.name)
        number = 1
        while name in sources:
            number += 1
            name = f"{base}-{number}"
        if name != child.name:
            log.info(f"the folder {printable(child.name)} is the source {name}")
        sources[name] = child
    if not sources:
        raise UserError("the folder holds no documents", where=printable(folder), fix="check the path")
    return list(sources.items())


def _said(name: str, path: Path) -> str:
    made = made_name(name)
    if made != name:
        log.info(f"{printable(path.name)} is the source {made}")
    return made
