"""Listing of what the registered sources state, and what of them is at hand."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ..documents.recognise import recognise
from ..documents.sources import Source
from ..documents.survey import survey
from .definition import Definition
from .registry import definitions, key_of, read_definition


def list_sources(folder: Path | None = None, further: Sequence[Path] = ()) -> list[dict[str, Any]]:
    """Facts that each source states, as JSON holds it, and under `at_hand` what a folder has of it.

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
    return [_described(each, format, places.get(each.key)) for each, format in sources.values()]


def _described(source: Definition, format: str, place: Path | None) -> dict[str, Any]:
    stated = asdict(source)
    stated["files"] = [{name: value for name, value in rule.items() if value} for rule in stated["files"]]
    return stated | {"at_hand": None if place is None else _at_hand(format, place)}


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


def _at_hand(format: str, place: Path) -> dict[str, Any]:
    """Contents of a source's folder: files that are read, by format; their size in bytes; files that are not."""
    surveys, faults = survey([Source(place.name, place, format)])
    files = [file for each in surveys for file in each.files]
    return {
        "path": str(place),
        "formats": surveys[0].formats() if surveys else {},
        "files": len(files),
        "bytes": sum(file.size for file in files),
        "unread": sum(len(each.unread) for each in surveys),
        "faults": [f"{fault.where}: {fault.what}" for fault in faults],
    }
