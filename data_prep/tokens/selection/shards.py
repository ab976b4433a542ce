"""Documents in files, read in parts that any number of threads may take, in bounded memory.

A shard is a run of row groups of a Parquet file, some rows of a large one, a range of bytes of JSON lines (a line
belongs to the shard in which it begins), or some whole files of any format. What a shard holds does not depend on who
reads it, or when. Parquet and JSON lines are read by columns; what Arrow refuses, or reads otherwise, is read record by
record, as all other formats.
"""

import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from ...documents.faults import FileError
from ...documents.formats import json_record, require_utf8, table_names
from ...documents.reading import read_unit, units
from ...documents.record import NAMES, BadDocumentError, Record, Rejected, record_of
from ...documents.sources import Source
from ...documents.streams import SourceFile, open_bytes, undecodable
from ...documents.survey import Survey, tell_left_out
from .batches import SPLIT, Batch, as_stated, complete, first_stated, is_visible, of_records, one_chunk
from .split import Bytes, Offsets

SHARD_BYTES = 16_000_000
"""Size of a shard as its file states it: bytes of JSONL, uncompressed bytes of Parquet columns."""
BATCH_BYTES = 4_000_000
"""Bytes of text in memory at once in each thread, or one document if it is longer."""
GROUP_PARTS = 8
"""Shards that one row group is cut into at most: each decodes the rows before its own, too."""
SMALL = 16
"""Files so small that this many fit in a shard are put together in one."""
LINE_START = b"{"
"""First byte of a line that Arrow may parse: at a `null` it ends the process (pyarrow 26)."""

__all__ = ["SPLIT", "Batch", "Shard", "plan_shards", "read_shard", "utf8"]


@dataclass(frozen=True)
class Shard:
    """A part of a source.

    Attributes:
        files: one, or several that are read whole.
        given: the source, and what the user says of it.
        start: first row group, or byte, of the one file.
        stop: the row group, or byte, after the last; -1 where the files are read whole, record by record.
        rows: of the one row group, the first and the one after the last that are the shard's; None for all.
    """

    files: tuple[SourceFile, ...]
    given: Source
    start: int = 0
    stop: int = -1
    rows: tuple[int, int] | None = None

    @property
    def source(self) -> str:
        """Name of the source."""
        return self.given.name

    @property
    def file(self) -> Path:
        """The first file."""
        return self.files[0].path

    @property
    def name(self) -> str:
        """The first file's name, which no other file of its source has."""
        return self.files[0].name

    @property
    def whole(self) -> bool:
        """Whether its files are read whole, record by record."""
        return self.stop < 0


def plan_shards(survey: Survey, shard_bytes: int = SHARD_BYTES) -> list[Shard]:
    """The shards of a source, in the order of its files.

    Raises:
        FileError: a Parquet file is damaged.
    """
    shards: list[Shard] = []
    waiting: list[SourceFile] = []

    def flush() -> None:
        if waiting:
            shards.append(Shard(tuple(waiting), survey.source))
            waiting.clear()

    for unit in units(survey.files):
        parts = _parts(unit, survey.source, shard_bytes)
        if parts is None:
            if unit[0].together or sum(file.size for file in waiting) >= shard_bytes:
                flush()
            waiting.extend(unit)
            if unit[0].together:
                flush()
        else:
            flush()
            shards += parts
    flush()
    return shards


def _parts(unit: tuple[SourceFile, ...], source: Source, shard_bytes: int) -> list[Shard] | None:
    """The shards of a file; None where it is read whole, record by record."""
    file = unit[0]
    if file.format == "parquet":
        return list(_parquet_parts(unit, source, shard_bytes))
    if file.format != "jsonl" or not file.is_utf8 or file.size * SMALL <= shard_bytes:
        return None
    if file.packing:
        return [Shard(unit, source, 0, 2**62)]  # packed data has no place to start in but the first
    starts = range(0, file.size, shard_bytes)
    return [Shard(unit, source, at, min(at + shard_bytes, file.size)) for at in starts]


def _parquet_parts(unit: tuple[SourceFile, ...], source: Source, shard_bytes: int) -> Iterator[Shard]:
    metadata = open_parquet(unit[0]).metadata
    column = _column(metadata, source.text_column)
    begin = size = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        group_bytes = group.column(column).total_uncompressed_size
        parts = min(group_bytes // shard_bytes, GROUP_PARTS, group.num_rows)
        if parts > 1:  # many writers put a whole file into one group, which one thread would have alone
            if begin < number:
                yield Shard(unit, source, begin, number)
            for rows in pairwise(group.num_rows * part // parts for part in range(parts + 1)):
                yield Shard(unit, source, number, number + 1, rows=rows)
            begin, size = number + 1, 0
            continue
        size += group_bytes
        if size >= shard_bytes or number == metadata.num_row_groups - 1:
            yield Shard(unit, source, begin, number + 1)
            begin, size = number + 1, 0


def _column(metadata: pq.FileMetaData, name: str) -> int:
    """Number of a column in the file's metadata, where a nested field counts as one of its own."""
    schema = metadata.schema
    return next(number for number in range(len(schema)) if schema.column(number).path == name)


def open_parquet(file: SourceFile) -> pq.ParquetFile:
    """A Parquet file.

    Raises:
        FileError: it is none, or damaged.
    """
    try:
        return pq.ParquetFile(file.path, memory_map=True)
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise FileError(f"not a Parquet file, or a damaged one: {error}", where=file.where) from None


def read_shard(shard: Shard, *, checked: bool = False) -> Iterator[Batch]:
    """The documents of a shard, in order.

    Args:
        shard: where they are.
        checked: whether it has been read before, so that its text is known to be UTF-8.

    Raises:
        UserError: a file cannot be read; says where.
    """
    if shard.whole:
        return _read_whole(shard, quiet=checked)
    return _read_parquet(shard, checked) if shard.files[0].format == "parquet" else _read_jsonl(shard)


def _read_whole(shard: Shard, *, quiet: bool) -> Iterator[Batch]:
    """The documents of whole files, read record by record; says what else they hold, unless `quiet`."""
    left_out: Counter[str] = Counter()
    records: list[tuple[int, Record]] = []
    rejected: list[Rejected] = []
    size = 0

    def batch() -> Batch:
        made = of_records(records, shard.given, rejected=rejected.copy(), keyed=True)
        records.clear()
        rejected.clear()
        return made

    items = chain.from_iterable(read_unit(unit, shard.given, left_out) for unit in units(shard.files))
    while (item := next(items, None)) is not None:  # a `for` would hold the last document, which may be long
        if isinstance(item, Rejected):
            rejected.append(item)
            continue
        if records and size + len(item.text) > BATCH_BYTES:
            yield batch()
            size = 0
        records.append((0, item))
        size += len(item.text)
    if records or rejected:
        yield batch()
    if not quiet:
        tell_left_out(shard.given.name, left_out)


def _read_parquet(shard: Shard, checked: bool) -> Iterator[Batch]:
    file, source = shard.files[0], shard.given
    parquet = open_parquet(file)
    names = {name: what for name, what in table_names(file).items() if name != source.text_column}
    columns = [source.text_column, *names]
    schema = parquet.schema_arrow
    easy = all(_is_easy(schema.field(name).type, what) for name, what in names.items())
    index, row = _column(parquet.metadata, source.text_column), 0
    for group in range(shard.start, shard.stop):
        stated = parquet.metadata.row_group(group)
        begin, end = shard.rows or (0, stated.num_rows)
        rows_at_once, at = _rows_at_once(stated, index), 0
        try:
            for rows in parquet.iter_batches(rows_at_once, row_groups=[group], columns=columns, use_threads=False):
                mine = rows[max(0, begin - at) : max(0, end - at)]
                at += len(rows)
                if len(mine):
                    if not checked:
                        require_utf8(mine, file)
                    yield _of_columns(mine, row, shard, names) if easy else _of_rows(mine, row, shard, names)
                    row += len(mine)
                if at >= end < stated.num_rows:
                    break  # what follows is for the group's other shards, and its end for the last to check
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise FileError(f"the Parquet file is damaged in row group {group}: {error}", where=file.where) from None
        if at < end or (end == stated.num_rows and at > end):
            what = f"row group {group} has {at} rows, not {stated.num_rows}"
            raise FileError(f"the Parquet file is damaged: {what}", where=file.where)


def _rows_at_once(group: pq.RowGroupMetaData, column: int) -> int:
    """Rows of a row group whose text is about BATCH_BYTES."""
    rows, size = group.num_rows, group.column(column).total_uncompressed_size
    return max(1, min(rows, rows * BATCH_BYTES // max(1, size)))


def _is_easy(kind: pa.DataType, what: str) -> bool:
    """Whether a column states something in one of the types that nearly all files have."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if what == "commercial":
        return pa.types.is_boolean(kind)
    types = pa.types
    text = types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)
    return text or types.is_null(kind) or types.is_integer(kind)


def _of_columns(rows: pa.RecordBatch, before: int, shard: Shard, names: dict[str, str]) -> Batch:
    """A batch of rows whose columns are of the usual types."""
    numbers = np.arange(before + 1, before + len(rows) + 1)
    text = one_chunk(rows.column(shard.given.text_column).cast(pa.string()))
    mask = is_visible(text)
    rejected = []
    if not mask.all():
        reason = f"the text {shard.given.text_column!r} is empty"
        rejected = [Rejected(shard.files[0].where, int(number), reason) for number in numbers[~mask]]
        rows, text, numbers = rows.filter(pa.array(mask)), text.filter(pa.array(mask)), numbers[mask]
    columns = {
        name: rows.column(name) if what == "commercial" else as_stated(rows.column(name))
        for name, what in names.items()
    }
    stated = complete(first_stated(columns, names), shard.files[0].split, shard.given, len(text))
    return Batch(text, stated, numbers, rejected=rejected, lines=len(numbers) + len(rejected))


def _of_rows(rows: pa.RecordBatch, before: int, shard: Shard, names: dict[str, str]) -> Batch:
    """A batch of rows that are read one by one."""
    file, records, rejected = shard.files[0], [], []
    for number, row in enumerate(rows.to_pylist(), before + 1):
        try:
            record = record_of(row, "", file.split, shard.given.text_column, aliases=names)
            records.append((number, record))
        except BadDocumentError as error:
            rejected.append(Rejected(file.where, number, str(error)))
    return of_records(records, shard.given, rejected=rejected, lines=len(rows))


def _read_jsonl(shard: Shard) -> Iterator[Batch]:
    lines = 0
    for block in _line_blocks(shard):
        batch = _parse(block, shard, lines)
        lines += batch.lines
        yield batch


def _line_blocks(shard: Shard) -> Iterator[bytes]:
    """Whole lines of the shard, about BATCH_BYTES at once."""
    file = shard.files[0]
    with open_bytes(file.path, file.packing) as stream:
        at = _first_line(stream, shard.start)
        while at < shard.stop:
            block = stream.read(min(BATCH_BYTES, shard.stop - at))
            if not block:
                return
            if not block.endswith(b"\n"):
                block += stream.readline()
            yield block
            at += len(block)


def _first_line(stream: IO[bytes], start: int) -> int:
    """Go to the first line that begins at `start` or after it."""
    if start == 0:
        return 0
    stream.seek(start - 1)
    return start - 1 + len(stream.readline())


def _parse(block: bytes, shard: Shard, before: int) -> Batch:
    """The documents of some lines; `before` of the shard's lines come before them."""
    schema = shard.files[0].schema
    lines = block.count(b"\n") + (block[-1:] != b"\n")
    if schema is not None and block.count(b"\n" + LINE_START) + block.startswith(LINE_START) == lines:
        table = _parse_block(block, schema, shard)
        if table is not None and len(table) == lines:
            return _of_table(table, before, shard)
    return _parse_lines(block, shard, before)


def _parse_block(block: bytes, schema: pa.Schema, shard: Shard) -> pa.Table | None:
    """The fields of the lines' objects that are read; None where not all of them are as they should be."""
    parse = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    read = pj.ReadOptions(use_threads=False, block_size=len(block) + 1)
    try:
        str(block, "utf-8")
        table = pj.read_json(io.BytesIO(block), read_options=read, parse_options=parse)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None  # the line-by-line reader reports it, with its line
    return table if is_visible(one_chunk(table.column(shard.given.text_column))).all() else None


def _of_table(table: pa.Table, before: int, shard: Shard) -> Batch:
    text = one_chunk(table.column(shard.given.text_column))
    names = {name: what for name, what in NAMES.items() if name != shard.given.text_column}
    columns = {
        name: one_chunk(table.column(name)) if what == "commercial" else as_stated(table.column(name))
        for name, what in names.items()
        if table.column(name).null_count < len(table)
    }
    stated = complete(first_stated(columns, names), shard.files[0].split, shard.given, len(text))
    return Batch(text, stated, np.arange(before + 1, before + len(table) + 1), lines=len(table))


def _parse_lines(block: bytes, shard: Shard, before: int) -> Batch:
    """Parse line by line, which is slow, and can say which line is wrong."""
    file = shard.files[0]
    try:
        text = str(block, "utf-8")
    except UnicodeDecodeError as error:
        raise undecodable(file, error) from None
    records: list[tuple[int, Record]] = []
    rejected: list[Rejected] = []
    lines = io.StringIO(text, newline=None).readlines()
    for number, line in enumerate(lines, before + 1):
        if line.strip():
            item = json_record(line, number, file, shard.given)
            if isinstance(item, Rejected):
                rejected.append(item)
            else:
                records.append((number, item))
    return of_records(records, shard.given, rejected=rejected, lines=len(lines))


def utf8(text: pa.StringArray) -> tuple[Bytes, Offsets]:
    """The bytes of all texts one after the other, and where each begins, [documents + 1], without copying the bytes."""
    offsets = np.frombuffer(text.buffers()[1], np.int32)[text.offset : text.offset + len(text) + 1].astype(np.int64)
    data = text.buffers()[2]
    values = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return values[offsets[0] : offsets[-1]], offsets - offsets[0]
