"""The records of a source, whatever its files are."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import UserError
from . import formats
from .faults import together
from .native import read_bdpm, read_mqc
from .record import FIELDS, Record, Rejected, allows_commercial
from .sources import Source
from .streams import SourceFile
from .survey import Survey, survey, tell_unread

Item = Record | Rejected
READERS: dict[str, Callable[[SourceFile, Source], Iterator[Item]]] = {
    "text": formats.read_text,
    "lines": formats.read_lines,
    "jsonl": formats.read_jsonl,
    "json": formats.read_json,
    "csv": formats.read_csv,
    "parquet": formats.read_parquet,
    "e3c": formats.read_e3c,
    "frenchmedmcqa": formats.read_frenchmedmcqa,
    "mqc": read_mqc,
}
BDPM = "bdpm"
"""The format whose files are read together."""


def find_documents(sources: Sequence[Source], out: Path | None = None) -> list[Survey]:
    """The files of all sources; says on standard error what is left unread.

    Args:
        sources: what is to be read.
        out: the folder that will be made, which is not input.

    Raises:
        UserError: a file cannot be read, or a source has none that can. All such files are named, those too whose
            beginning looks sound: where one is found, the others are read to their ends.
    """
    found, faults = survey(sources, out)
    if faults:
        local = [each for each in found if isinstance(each.source.path, Path)]
        rest = sum(len(each.files) for each in local)
        log.info(f"files that cannot be read: {len(faults)}; reading the rest: {rest}")
        for each in local:
            for _ in read_source(each, faults):
                pass
        raise together(faults)
    for each in found:
        tell_unread(each)
    return found


def units(files: Sequence[SourceFile]) -> list[tuple[SourceFile, ...]]:
    """The files that are read one by one, and those that are read together."""
    joined = tuple(file for file in files if file.format == BDPM)
    return [(file,) for file in files if file.format != BDPM] + ([joined] if joined else [])


def read_unit(unit: Sequence[SourceFile], source: Source) -> Iterator[Item]:
    """The records of one unit's files, and the documents that cannot be read.

    Raises:
        FileError: a file cannot be read.
    """
    if unit[0].format == BDPM:
        return read_bdpm(unit, source)
    return READERS[unit[0].format](unit[0], source)


def read_source(found: Survey, faults: list[UserError]) -> Iterator[Item]:
    """The records of a source, in an order that does not change, and the documents that cannot be read.

    Args:
        found: the source and its files.
        faults: is given what keeps a file from being read; the next file follows.
    """
    if isinstance(found.source.path, str):
        yield from formats.read_hub(found.source)
    for unit in units(found.files):
        try:
            yield from read_unit(unit, found.source)
        except UserError as error:
            faults.append(error)


def describe(record: Record, source: Source) -> dict[str, Any]:
    """What is known of a record: what it states itself, and of the rest what the user says of its source.

    Returns:
        A value for each of record.FIELDS; an empty string for what is not known, None for `commercial`. `source` is
        what the record states, or the source's name.
    """
    stated = record.stated
    licence = stated.get("licence") or source.licence
    commercial = allows_commercial(stated.get("commercial"), stated.get("licence"))
    defaults = {
        "doc_id": f"{source.name}/{record.key}",
        "source": source.name,
        "document_type": source.document_type,
        "original_split": record.split,
        "origin": record.key,
    }
    known = {name: stated.get(name) or defaults.get(name, "") for name in FIELDS}
    return known | {"licence": licence, "commercial": source.commercial if commercial is None else commercial}
