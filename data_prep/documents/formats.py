"""One reader for each format: the records of a file, in its order."""

import csv
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...core.errors import UserError
from ...core.log import counted
from . import content, streams
from .faults import FileError
from .record import BLANK_LINES, FIELDS, NAMES, BadDocumentError, LeftOut, Record, Rejected, is_blank, record_of
from .sources import Source
from .store import row_batches
from .streams import SourceFile, Span, open_text
from .values import Repeated, parse_line, read_values

Item = Record | Rejected
ROWS_IN_MEMORY = 64
csv.field_size_limit(sys.maxsize)  # size alone rejects nothing


@dataclass(frozen=True)
class TableRow:
    """A row of a table, and the number of its first line in the file."""

    line: int
    cells: list[str]


def read_text(file: SourceFile, source: Source) -> Iterator[Item]:
    """A document a file."""
    del source
    yield _whole_text(file)


def _whole_text(file: SourceFile) -> Item:
    with open_text(file, newline="") as stream:
        text = stream.read(streams.LINE_BYTES) if file.packing else stream.read()
        if file.packing and stream.read(1):
            raise streams.too_long("a text", file.where)
    if is_blank(text):
        return Rejected(file.where, 0, "the text is empty")
    return Record(file.name, text, split=file.split)


def read_lines(file: SourceFile, source: Source) -> Iterator[Item | LeftOut]:
    """A document a line; a line without text is not a document, and is counted."""
    del source
    with open_text(file) as stream:
        for number, line in enumerate(stream, file.first_number):
            if is_blank(line):
                yield LeftOut(BLANK_LINES)
            else:
                yield Record(f"{file.name}#{number}", line.rstrip("\n"), split=file.split)


def read_jsonl(file: SourceFile, source: Source) -> Iterator[Item]:
    """An object a line; a line of white space is none."""
    with open_text(file) as stream:
        for number, line in enumerate(stream, file.first_number):
            if line.strip():
                yield json_record(line, number, file, source)


def json_record(line: str, number: int, file: SourceFile, source: Source) -> Item:
    """The record of one line."""
    try:
        return of_object(parse_line(line), number, file, text_column=source.text_column, names=NAMES)
    except ValueError as error:
        return Rejected(file.where, number, str(error))


def of_object(value: Any, number: int, file: SourceFile, *, text_column: str, names: Mapping[str, str]) -> Record:
    """The record of a JSON object.

    Raises:
        BadDocumentError: it is none.
    """
    if not isinstance(value, dict):
        raise BadDocumentError(f"{content.describe_json(value)}, not a JSON object")
    if isinstance(value, Repeated) and (twice := value.repeated & {text_column, *names}):
        raise BadDocumentError(f"the object names {', '.join(sorted(twice))} more than once")
    return record_of(value, f"{file.name}#{number}", file.split, text_column=text_column, aliases=names)


def read_json(file: SourceFile, source: Source) -> Iterator[Item]:
    """The objects of an array, or objects one after the other, over as many lines as they like."""
    return json_items(
        file, lambda value, number: of_object(value, number, file, text_column=source.text_column, names=NAMES)
    )


def json_items[T](file: SourceFile, record: Callable[[Any, int], T]) -> Iterator[T | Rejected]:
    """Results of a function for each of the objects of a JSON file."""
    values = 0
    with open_text(file) as stream:
        try:
            for line, value in read_values(stream):
                values += 1
                try:
                    yield record(value, values)
                except BadDocumentError as error:
                    yield Rejected(file.where, line, str(error))
        except (UnicodeError, UserError):
            raise
        except ValueError as error:
            what, line = error.args
            raise FileError(what, where=f"{file.where}:{line}") from None


def read_csv(file: SourceFile, source: Source) -> Iterator[Item]:
    """A row a document, under a header that names the columns."""
    names = table_names(file)
    with open_text(file, newline="") as stream:
        header = True
        for row in table_rows(stream, file.delimiter, file.where):
            if isinstance(row, Rejected):
                yield row
            elif header:
                header = "".join(row.cells[:1]).startswith("sep=")
            elif any(row.cells):
                yield _of_row(row.cells, row.line, file, source, names=names)


def table_rows(
    stream: Iterable[str], delimiter: str, where: str, *, lines_before: int = 0
) -> Iterator[TableRow | Rejected]:
    """The rows of a table, those of empty cells too.

    Args:
        stream: its lines.
        delimiter: between two cells.
        where: the file, for messages.
        lines_before: lines of the file that were taken from the stream before.
    """
    rows = csv.reader(stream, delimiter=delimiter, strict=True)
    while True:
        line = lines_before + rows.line_num + 1
        try:
            yield TableRow(line, next(rows))
        except StopIteration:
            return
        except csv.Error as error:
            yield Rejected(where, line, f"not a row of the table: {error}")


def table_names(file: SourceFile) -> dict[str, str]:
    """Name of each column of a table that states something of a record -> what it states, first what counts first.

    In a corpus that pdapt built, `source` is the name of the corpus's part, and `subset` what the record calls its own.
    """
    stated = NAMES if not {"subset", "origin"} <= set(file.columns) else NAMES | {"subset": "source", "source": "name"}
    names = {column: stated[column.lower()] for column in file.columns if column.lower() in stated}
    order = list(NAMES)
    return {
        name: names[name] for name in sorted(names, key=lambda name: order.index(name.lower())) if names[name] in FIELDS
    }


def _of_row(row: list[str], line: int, file: SourceFile, source: Source, *, names: Mapping[str, str]) -> Item:
    if len(row) != len(file.columns):
        return Rejected(file.where, line, f"{counted(len(row), 'field')}, and the header has {len(file.columns)}")
    try:
        fields = dict(zip(file.columns, row, strict=True))
        return record_of(fields, f"{file.name}#{line}", file.split, text_column=source.text_column, aliases=names)
    except BadDocumentError as error:
        return Rejected(file.where, line, str(error))


def read_parquet(file: SourceFile, source: Source) -> Iterator[Item]:
    """A row a document."""
    names = table_names(file)
    number = file.first_number - 1
    for batch in parquet_batches(file, [source.text_column, *names]):
        for row in batch.to_pylist():
            number += 1
            try:
                yield record_of(row, f"{file.name}#{number}", file.split, text_column=source.text_column, aliases=names)
            except BadDocumentError as error:
                yield Rejected(file.where, number, str(error))


def parquet_batches(file: SourceFile, columns: list[str]) -> Iterator[pa.RecordBatch]:
    """Batches of some columns of a Parquet file.

    Raises:
        FileError: it is damaged, or text in it is not UTF-8.
    """
    try:
        parquet, rows = pq.ParquetFile(file.path, memory_map=True), 0
        span = file.span or Span(0, parquet.num_row_groups, 0)
        groups = [*range(span.start, span.stop)]
        for batch in row_batches(parquet, ROWS_IN_MEMORY, columns, groups):
            require_utf8(batch, file)
            rows += len(batch)
            yield batch
        stated = sum(parquet.metadata.row_group(group).num_rows for group in groups)
        if rows != stated:
            what = f"it has {counted(rows, 'row')}, not {stated}"
            what += f", in row groups {span.start} to {span.stop - 1}" if file.span else ""
            raise FileError(f"the Parquet file is damaged: {what}", where=file.where)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise FileError(f"the Parquet file is damaged: {error}", where=file.where) from None


def require_utf8(batch: pa.RecordBatch | pa.Table, file: SourceFile) -> None:
    """Check that text is UTF-8, which Parquet's reader does not.

    Raises:
        FileError: it is not.
    """
    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        fix = "write the file again from text that is decoded; its bytes may be Windows-1252"
        raise FileError(f"the text is not UTF-8: {error}", where=file.where, fix=fix) from None


def read_hub(source: Source, record: Callable[[dict[str, Any], str, Source], Record]) -> Iterator[Item]:
    """The split `train` of `OWNER/NAME[:CONFIG]` on the Hugging Face Hub, or of a folder laid out like that.

    Args:
        source: the data set.
        record: makes a row, with its key, a record.
    """
    from datasets import load_dataset

    name, _, config = str(source.path).partition(":")
    try:
        rows = load_dataset(name, config or None, split="train", streaming=True)
        for number, row in enumerate(rows, 1):
            try:
                yield record(row, f"train#{number}", source)
            except BadDocumentError as error:
                yield Rejected(f"hub:{source.path}", number, str(error))
    except (OSError, ValueError) as error:
        raise UserError(
            f"the data set {source.path} cannot be loaded: {error}",
            where=str(source.path),
            allowed="a local path, or hub:OWNER/NAME[:CONFIG], a data set on the Hugging Face Hub with a split 'train'",
        ) from None
