"""The records of a source, whatever its files are."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

from ...core import log
from ...core.errors import UserError
from ..sources.formats.published_rows import is_published, published_record
from ..sources.grouped import GROUPED, rejecting
from ..sources.readers import NATIVE
from . import formats
from .collected import tell_unfinished
from .faults import together
from .record import LeftOut, Record, Rejected, record_of
from .registered import ONE_DOCUMENT
from .sources import Source
from .streams import SourceFile
from .survey import Survey, survey, tell_left_out, tell_unread

Item = Record | Rejected
READERS: dict[str, Callable[[SourceFile, Source], Iterator[Item | LeftOut]]] = {
    "text": formats.read_text,
    "lines": formats.read_lines,
    "jsonl": formats.read_jsonl,
    "json": formats.read_json,
    "csv": formats.read_csv,
    "parquet": formats.read_parquet,
}


def find_documents(sources: Sequence[Source], out: Path | None = None) -> list[Survey]:
    """The files of all sources; says on standard error what is left unread.

    Args:
        sources: what is to be read.
        out: the folder that will be made, which is not input.

    Raises:
        UserError: a file cannot be read, or a source has none that can. All such files are named, those too whose
            beginning looks sound: where one is found, the others are read to their ends.
    """
    surveys, faults = survey(sources, out)
    if faults:
        local = [each for each in surveys if isinstance(each.source.path, Path)]
        rest = sum(len(each.files) for each in local)
        log.info(f"files that cannot be read: {len(faults)}; reading the rest: {rest}")
        for each in local:
            for _ in read_source(each, faults):
                pass
        raise together(faults)
    for each in surveys:
        tell_unread(each)
        unfinished = tell_unfinished(each.source.path) if isinstance(each.source.path, Path) else ""
        if unfinished:
            log.warn(f"{each.source.name}: {unfinished}")
    return surveys


def units(files: Sequence[SourceFile]) -> list[tuple[SourceFile, ...]]:
    """The files that are read one by one, and those that are read together."""
    joined: dict[str, list[SourceFile]] = {}
    for file in files:
        if file.together:
            joined.setdefault(file.together, []).append(file)
    return [(file,) for file in files if not file.together] + [tuple(group) for group in joined.values()]


def read_unit(unit: Sequence[SourceFile], source: Source, left_out: Counter[str] | None = None) -> Iterator[Item]:
    """The records of one unit's files, and the documents that cannot be read.

    Args:
        unit: files that are read together, or one.
        source: theirs.
        left_out: is given what the files hold beside documents, by reason.

    Raises:
        FileError: a file cannot be read.
    """

    def is_read(item: Item | LeftOut) -> bool:
        if not isinstance(item, LeftOut):
            return True
        if left_out is not None:
            left_out[item.reason] += 1
        return False

    together = unit[0].together
    items = GROUPED[together](unit) if together else _read_file(unit[0], source)
    return cast(Iterator[Item], filter(is_read, items))  # a generator would hold a long text while its reader works


def _read_file(file: SourceFile, source: Source) -> Iterator[Item | LeftOut]:
    items = NATIVE[file.format](file) if file.format in NATIVE else READERS[file.format](file, source)
    is_document = source.definition is not None and file.format in ONE_DOCUMENT
    return rejecting(items, file) if is_document else items


def _row_of_hub(row: dict[str, Any], key: str, source: Source) -> Record:
    """The record of a row of the Hub, which may be one of a published corpus."""
    if source.text_column not in row and is_published(row):
        return published_record(row, key, "train")
    return record_of(row, key, "train", source.text_column)


def read_source(surveyed: Survey, faults: list[UserError]) -> Iterator[Item]:
    """The records of a source, in a fixed order, and the documents that cannot be read.

    Args:
        surveyed: the source and its files.
        faults: is given what keeps a file from being read; the next file follows.
    """
    yield from read_items(surveyed, faults)
    tell_left_out(surveyed.source.name, surveyed.left_out)


def read_items(surveyed: Survey, faults: list[UserError]) -> Iterator[Item]:
    """The items of `read_source`, of a source or a part of one, without messages on what is left out."""
    if isinstance(surveyed.source.path, str):
        yield from formats.read_hub(surveyed.source, _row_of_hub)
    for unit in units(surveyed.files):
        try:
            yield from read_unit(unit, surveyed.source, surveyed.left_out)
        except UserError as error:
            faults.append(error)
