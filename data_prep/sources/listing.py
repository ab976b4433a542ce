"""Listing of what the registered sources state, and what of them is at hand."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ..documents.recognise import recognise
from ..documents.sources import Source
from ..documents.survey import survey
from .definition import Definition
from .registry import definitions, key_of, read_definition


@dataclass(frozen=True)
class AtHand:
    """Contents of a source's folder.

    Attributes:
        path: the folder.
        formats: format -> files that are read in it.
        files, bytes: number and size of the files that are read.
        unread: number of those that are not.
        faults: sentences on what is wrong with files.
    """

    path: str
    formats: dict[str, int]
    files: int
    bytes: int
    unread: int
    faults: list[str]


@dataclass(frozen=True)
class ListedSource:
    """A source as its definition states it, and its files that are there; None if there are none."""

    definition: Definition
    at_hand: AtHand | None

    def to_json(self) -> dict[str, Any]:
        """As JSON values: the definition's, and `at_hand`."""
        stated = asdict(self.definition)
        stated["files"] = [{name: value for name, value in rule.items() if value} for rule in stated["files"]]
        return stated | {"at_hand": self.at_hand and asdict(self.at_hand)}


def list_sources(folder: Path | None = None, further: Sequence[Path] = ()) -> list[ListedSource]:
    """List the registered sources, with what a folder has of each.

    Args:
        folder: holds a folder for each source, which is recognised by what is in it, or called by its key.
        further: files that define sources beside those of the project; one of the same key takes the other's place.

    Raises:
        UserError: a file defines no source, or there is no such folder.
    """
    if folder is not None and not folder.is_dir():
        raise UserError(f"no such folder: {folder}", where="FOLDER", fix="check the path")
    own = [(read_definition(path), str(path)) for path in further]
    sources = {key: (each, key) for key, each in definitions().items()} | {each.key: (each, path) for each, path in own}
    places = _places(folder)
    return [
        ListedSource(each, None if (place := places.get(each.key)) is None else _at_hand(format, place))
        for each, format in sources.values()
    ]


def _places(folder: Path | None) -> dict[str, Path]:
    """Key -> the folder that is recognised as that source, or that is called so."""
    folders = [each for each in sorted(folder.iterdir()) if each.is_dir()] if folder else []
    called = {key_of(each.name): each for each in folders}
    return called | {key: each for each in reversed(folders) if (key := _recognised(each))}


def _recognised(folder: Path) -> str | None:
    """Key of the source that a folder is recognised as; None where there is none, or a doubt."""
    try:
        return recognise(folder, folder.name)
    except UserError:
        return None


def _at_hand(format: str, place: Path) -> AtHand:
    surveys, faults = survey([Source(place.name, place, format)])
    files = [file for each in surveys for file in each.files]
    return AtHand(
        path=str(place),
        formats=surveys[0].formats() if surveys else {},
        files=len(files),
        bytes=sum(file.size for file in files),
        unread=sum(len(each.unread) for each in surveys),
        faults=[f"{fault.where}: {fault.what}" for fault in faults],
    )
