"""Rows of translations: a `translation` of a text for each language; JSON lines, CSV or Parquet."""

import ast
import csv
import json
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ....documents.faults import FileError
from ....documents.formats import json_items
from ....documents.record import BadDocumentError, LeftOut, Record, Rejected, is_blank, require_unicode
from ....documents.store import row_batches
from ....documents.streams import SourceFile, open_text
from ....documents.values import parse_line
from ...entry import filled

TRANSLATION = "translation"
IDENTIFIER = "doc_id"


def read_translations(file: SourceFile) -> Iterator[Record | Rejected | LeftOut]:
    """The text of each row in the language that `options` names, by the row's number.

    Raises:
        FileError: the file is damaged, or none of the three.
    """
    rows = _parquet_rows(file) if file.path.suffix == ".parquet" else _text_rows(file)
    for number, row in rows:
        try:
            yield row if isinstance(row, Rejected) else _record(row, number, file)
        except BadDocumentError as error:
            yield Rejected(file.where, number, str(error))


def _record(row: Any, number: int, file: SourceFile) -> Record | LeftOut:
    language = file.options.language
    if not isinstance(row, dict):
        raise BadDocumentError("a row that is not an object")
    text = _translations(row).get(language)
    if text is None:
        return LeftOut(f"rows without a translation in {language}")
    if not isinstance(text, str) or is_blank(text):
        raise BadDocumentError(f"the translation in {language} is empty, or not text")
    identifier = row.get(IDENTIFIER)
    stated = filled(doc_id="" if identifier is None else str(identifier), language=language)
    return Record(f"{file.name}#{number}", require_unicode(text, language), stated, file.split)


def _translations(row: dict[str, Any]) -> dict[str, Any]:
    """Language -> text: an object, in CSV written as JSON or as Python does; or columns `translation.fr`, `fr`."""
    value = row.get(TRANSLATION)
    if isinstance(value, str):
        value = _parsed(value)
    if isinstance(value, dict):
        return value
    flat = {name.removeprefix(f"{TRANSLATION}."): text for name, text in row.items() if isinstance(name, str)}
    if TRANSLATION in row or not any(len(name) == 2 for name in flat):
        raise BadDocumentError("the row has no translation, an object of a text for each language")
    return flat


def _parsed(value: str) -> Any:
    for parse in (json.loads, ast.literal_eval):
        try:
            return parse(value)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _text_rows(file: SourceFile) -> Iterator[tuple[int, Any]]:
    with open_text(file) as stream:
        start = next((line for line in stream if not is_blank(line)), "")
    if _is_object(start):
        yield from _json_lines(file)
    elif start.startswith(("{", "[")):
        yield from enumerate(json_items(file, lambda value, _: value), 1)
    else:
        yield from _table_rows(file)


def _is_object(line: str) -> bool:
    """Whether a file's first line holds an object, so that each line is one and a damaged one is damaged alone."""
    try:
        return isinstance(parse_line(line), dict)
    except ValueError:
        return False


def _json_lines(file: SourceFile) -> Iterator[tuple[int, Any]]:
    with open_text(file) as stream:
        for number, line in enumerate(stream, 1):
            if is_blank(line):
                continue
            try:
                yield number, parse_line(line)
            except ValueError as error:
                yield number, Rejected(file.where, number, str(error))


def _table_rows(file: SourceFile) -> Iterator[tuple[int, Any]]:
    with open_text(file, newline="") as stream:
        rows = csv.DictReader(stream, strict=True)
        number = 1
        while True:
            number += 1
            try:
                yield number, next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield number, Rejected(file.where, number, f"not a row of the table: {error}")


def _parquet_rows(file: SourceFile) -> Iterator[tuple[int, Any]]:
    try:
        number = 0
        for batch in row_batches(pq.ParquetFile(file.path, memory_map=True), 1024):
            batch.validate(full=True)
            for row in batch.to_pylist():
                number += 1
                yield number, row
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise FileError(f"the Parquet file is damaged: {error}", where=file.where) from None
