"""Rows of a published corpus: `input` is the text; `instruction` and `output` stand around it where there are any."""

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...documents.faults import FileError
from ...documents.formats import json_items
from ...documents.record import BadDocumentError, Record, Rejected, is_blank, require_unicode, stated_of
from ...documents.store import row_batches
from ...documents.streams import SourceFile

INPUT, INSTRUCTION, OUTPUT = "input", "instruction", "output"
ROWS = 256


def read_instructions(file: SourceFile) -> Iterator[Record | Rejected]:
    """A row a document, by its number.

    Raises:
        FileError: the file is damaged, or neither Parquet nor JSON.
    """
    if is_parquet(file):
        for number, row in enumerate(parquet_rows(file), 1):
            try:
                yield published_record(row, f"{file.name}#{number}", file.split)
            except BadDocumentError as error:
                yield Rejected(file.where, number, str(error))
    else:
        yield from json_items(file, lambda row, number: published_record(row, f"{file.name}#{number}", file.split))


def is_parquet(file: SourceFile) -> bool:
    """Whether a file is Parquet, by its first bytes; else its rows are JSON."""
    with file.path.open("rb") as stream:
        return stream.read(4) == b"PAR1"


def is_published(row: Mapping[str, Any]) -> bool:
    """Whether a row has the columns of PARCOMED."""
    return {INPUT, "source", "document_type"} <= row.keys()


def published_record(row: Any, key: str, split: str) -> Record:
    """The document of a row.

    Raises:
        BadDocumentError: it is not an object, or its parts are not text.
    """
    if not isinstance(row, Mapping) or INPUT not in row:
        raise BadDocumentError(f"a row without the column {INPUT!r}")
    if OUTPUT in row and is_blank(text_part(row, OUTPUT)):
        raise BadDocumentError("the output is empty")
    parts = [text_part(row, name) for name in (INSTRUCTION, INPUT, OUTPUT)]
    text = "\n".join(part for part in parts if not is_blank(part))
    if is_blank(text):
        raise BadDocumentError("the row has no text")
    return Record(key, text, stated_of(row, INPUT), split)


def text_part(row: Mapping[str, Any], name: str) -> str:
    """The text in a column of a row; empty where there is none.

    Raises:
        BadDocumentError: what is there is not text.
    """
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadDocumentError(f"{name!r} is {type(value).__name__}, not text")
    return require_unicode(value, name)


def parquet_rows(file: SourceFile) -> Iterator[dict[str, Any]]:
    """The rows of a Parquet file.

    Raises:
        FileError: it is damaged.
    """
    try:
        for batch in row_batches(pq.ParquetFile(file.path, memory_map=True), ROWS):
            batch.validate(full=True)
            yield from batch.to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise FileError(f"the Parquet file is damaged: {error}", where=file.where) from None
