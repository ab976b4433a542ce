"""The sources that a user's paths name."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ...core import log
from ...core.errors import UserError, check_known
from ..sources.formats.conversations import CONVERSATIONS
from ..sources.registry import definitions, find_source, is_file, is_source
from .faults import printable
from .folders import Unread, passed_over, walk
from .recognise import check_once, is_whole, recognise
from .record import SPLITS
from .sources import FORMATS, HUB, Source, check_names, made_name
from .streams import check_encoding
from .survey import examine


class _Place(NamedTuple):
    """A source's name, its path, and the format that it is recognised as."""

    name: str
    path: Path | str
    format: str | None = None


_Recognise = Callable[[Path, str], str | None]
"""From a path and a source's name to the format that it is recognised as."""


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
    formats: Mapping[str, str] = MappingProxyType({}),
    conversations: bool = False,
) -> list[Source]:
    """The sources that the user's paths name; the other arguments go to each of them.

    Args:
        paths: `[NAME=]PATH` each. A file or folder is one source; a folder without documents of its own at its top is
            one source per subfolder, unless it is given a NAME or they are called after splits (train, test).
            Each is recognised as a registered source by what is in it (`recognise`), unless a format or a text column
            is given.
            `hub:OWNER/NAME[:CONFIG]` is a data set on the Hugging Face Hub; nothing else is looked for on the network.
        format, document_type, licence, commercial, text_column, encoding: see `Source`.
        out: the folder that will be made, which is not a source.
        formats: name of a source -> its format, for some of several.
        conversations: whether they may be read as conversations, by one of CONVERSATIONS as their format.

    Raises:
        UserError: a path is missing, a folder is empty, two sources have the same name, an option's value is none,
            files may be of several registered sources, or conversations are given where documents are read.
    """
    _check_kind(format, formats, text_column, conversations=conversations)
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
    said = {name: _of_format(each, options).get("format", each) for name, each in formats.items()}
    recognises = format is None and text_column == "text"

    def recogniser(path: Path, name: str) -> str | None:
        return recognise(path, name, out, said) if recognises else said.get(name)

    places = [
        (bool(split_name(given)[0]), place) for given in paths for place in _places(given, options, out, recogniser)
    ]
    check_names([place.name for _, place in places])
    _check_used(said, [place.name for _, place in places])
    once = [(place.name, place.format) for named, place in places if place.format and _is_folder(place) and not named]
    check_once([each for each in once if each[0] not in said])
    return [_source(place, options, named=named) for named, place in places]


def _check_kind(format: str | None, formats: Mapping[str, str], text_column: str, *, conversations: bool) -> None:
    """Check that conversations are read only where they may be, and by their own fields."""
    chats = [each for each in (format, *formats.values()) if each in CONVERSATIONS]
    if chats and not conversations:
        raise UserError(
            f"--format {chats[0]} reads conversations, which are not documents",
            where="--format",
            fix="`pdapt tokens build` reads them, and trains on their answers alone",
        )
    if chats and text_column != "text":
        raise UserError(
            f"--text-column {text_column} with --format {chats[0]}, whose fields have names of their own",
            where="--text-column",
            fix="leave it out, and rename the fields where they are called otherwise",
        )


def _source(place: _Place, options: dict[str, Any], *, named: bool) -> Source:
    """A source with the user's statements on it, and what follows from its format."""
    if place.format is not None:
        options = options | {"format": place.format} | _of_format(place.format, options)
    return Source(place.name, place.path, **options, named=named)


def _is_folder(place: _Place) -> bool:
    return isinstance(place.path, Path) and place.path.is_dir()


def _check_used(formats: Mapping[str, str], names: list[str]) -> None:
    """Check that each source whose format is given exists."""
    for name in formats:
        check_known(name, names, "source", "--format NAME=SOURCE")


def split_formats(given: list[str]) -> tuple[str | None, dict[str, str]]:
    """The format of all sources, and those of some by name, from `FORMAT` and `NAME=FORMAT`.

    Raises:
        UserError: two are given for the same.
    """
    formats: dict[str, str] = {}
    for each in given:
        name, format = split_name(each)
        if name in formats:
            fix = "NAME=SOURCE gives the format of one of several"
            raise UserError(f"two formats are given for {name or 'all sources'}", where="--format", fix=fix)
        formats[name] = format
    return formats.pop("", None), formats


def _of_format(format: str, options: dict[str, Any]) -> dict[str, Any]:
    """The options that follow from a format: of a registered source, the document type that the user leaves unsaid."""
    if format in CONVERSATIONS:
        return {}
    if format in FORMATS or not is_source(format):
        check_known(format, (*FORMATS, *CONVERSATIONS, *definitions()), "format", "--format")
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


def _places(given: str, options: dict[str, Any], out: Path | None, recogniser: _Recognise) -> list[_Place]:
    """The sources that one of the user's paths stands for."""
    name, target = split_name(given)
    if target.startswith(HUB):
        dataset = target.removeprefix(HUB)
        return [_Place(name or made_name(dataset.partition(":")[0].rpartition("/")[2]), dataset)]
    path = existing(target)
    if not name and not path.is_dir():
        name = _said(path.name.split(".")[0] or path.name, path)
    elif not name and _is_one(path, options, out):
        name = _said(path.resolve().name, path)
    subfolders = [(name, path)] if name else _subfolders(path, out)
    return [_Place(each, place, recogniser(place, each)) for each, place in subfolders]


def _is_one(folder: Path, options: dict[str, Any], out: Path | None) -> bool:
    """Whether a folder is one source, and not one for each of its subfolders."""
    if options["format"] not in (None, *FORMATS) or _has_documents(folder, options, out) or _is_split(folder, out):
        return True
    return options["format"] is None and is_whole(folder, out)


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


def _subfolders(folder: Path, out: Path | None) -> list[tuple[str, Path]]:
    """Each subfolder as a source. Folders whose names become the same one get a number."""
    sources: dict[str, Path] = {}
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
