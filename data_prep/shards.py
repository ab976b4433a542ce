"""Documents in Parquet and JSONL files, read in parts that any number of threads may take, in bounded memory.

A shard is a run of row groups of a Parquet file, or a range of bytes of a JSONL file: a line belongs to the shard in
which it begins. What a shard holds does not depend on who reads it, or when.
"""

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
import pyarrow.parquet as pq

from ..core.errors import UserError
from ..core.files import require_file
from .corpus import discover
from .documents import FOLDER, document_files
from .readers import files_at, format_of
from .records import SPLITS, decode, split_of

SHARD_BYTES = 16_000_000
"""Of a shard, as its file states them: bytes of JSONL, uncompressed bytes of Parquet columns."""
BATCH_BYTES = 4_000_000
"""Of the text that is in memory at once in each thread, or one document if it is longer."""
SPLIT = "original_split"
STATED = {
    "doc_id": pa.string(),
    "source": pa.string(),
    "document_type": pa.string(),
    "commercial": pa.bool_(),
    SPLIT: pa.string(),
}
"""Columns beside the text that are read where records have them."""
READABLE = ("jsonl", "parquet")
LINE_START = b"{"
"""Of a line that Arrow may parse: at a `null` it ends the process (pyarrow 26)."""

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Shard:
    """A part of an input file.

    Attributes:
        file: Parquet or JSONL, gzip or not.
        source: name of the source, for records that do not state theirs.
        text_column: the field that holds the text.
        start: first row group, or byte.
        stop: the row group, or byte, after the last.
        name: the file's, which no other file of its source has.
    """

    file: Path
    source: str
    text_column: str
    start: int
    stop: int
    name: str


@dataclass(frozen=True)
class Batch:
    """Some consecutive documents of a shard.

    Attributes:
        text: the texts, none of them null, [documents].
        stated: what records state of themselves, [documents] each: a subset of STATED. `original_split` is always
            there: the publisher's split (`train`, `dev`, `test`, or empty), the file's name's where a record has none.
    """

    text: pa.StringArray
    stated: dict[str, pa.Array]

    def __len__(self) -> int:
        return len(self.text)


def find_inputs(paths: list[str]) -> list[tuple[str, Path, list[Path]]]:
    """Name of the source, path that was given, and files, for each source.

    Args:
        paths: `[NAME=]PATH` each: a corpus stage's folder, or JSONL(.gz) or Parquet as `corpus.discover` finds it.

    Raises:
        UserError: a path is missing, holds nothing of that kind, or two sources have the same name.
    """
    found = [item for path in paths for item in _inputs_at(path)]
    names = [name for name, _, _ in found]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"two sources are called {name!r}", where="PATH", mend="name them: NAME=PATH")
    if not found:
        raise UserError("no path is given", where="PATH", allowed="a corpus stage's folder, JSONL, Parquet")
    return found


def _inputs_at(given: str) -> list[tuple[str, Path, list[Path]]]:
    if (Path(given) / FOLDER).is_dir():
        return [(name, Path(given), [file]) for name, file in document_files(Path(given)).items()]
    found = []
    for source in discover([given]):
        if isinstance(source.path, str):
            mend = f"pdapt corpus build {given} --out corpus"
            raise UserError(f"{given} is on the Hub", where="PATH", allowed="local files", mend=mend)
        files = [file for file in files_at(source.path) if format_of(file)]
        other = next((file for file in files if format_of(file) not in READABLE), None)
        if other or not files:
            raise UserError(
                f"{other.name} is neither JSONL nor Parquet" if other else f"no documents at {given}",
                where=str(other or source.path),
                allowed="a corpus stage's folder, JSONL, JSONL.gz or Parquet",
                mend="`pdapt corpus build` reads the other formats",
            )
        found.append((source.name, source.path, [require_file(file) for file in files]))
    return found


def plan_shards(
    source: str, file: Path, text_column: str, shard_bytes: int = SHARD_BYTES, *, root: Path | None = None
) -> list[Shard]:
    """The shards of a file, in its order.

    Args:
        source: name of the source.
        file: Parquet or JSONL(.gz).
        text_column: the field that holds the text.
        shard_bytes: of a shard.
        root: folder of the source, if it is not that file.

    Raises:
        UserError: it is no Parquet file, or has no such column.
    """
    name = file.name if root in (None, file) else file.relative_to(root).as_posix()
    return [Shard(file, source, text_column, *ends, name) for ends in _ranges(file, text_column, shard_bytes)]


def _ranges(file: Path, text_column: str, shard_bytes: int) -> list[tuple[int, int]]:
    """Start and stop of each shard."""
    if format_of(file) == "parquet":
        return _parquet_ranges(file, text_column, shard_bytes)
    if file.suffix.lower() == ".gz":
        return [(0, 2**62)]  # gzip has no place to start in but the first
    size = file.stat().st_size
    return [(at, min(at + shard_bytes, size)) for at in range(0, size, shard_bytes)]


def _parquet_ranges(file: Path, text_column: str, shard_bytes: int) -> list[tuple[int, int]]:
    parquet = _open_parquet(file)
    names = parquet.schema_arrow.names
    if text_column not in names:
        raise UserError(
            f"there is no text column {text_column!r}",
            where=str(file),
            allowed=", ".join(names),
            mend="--text-column names another",
        )
    for name, wanted in _kinds(text_column).items():
        if name in names and not _holds(kind := parquet.schema_arrow.field(name).type, wanted):
            mend = f"cast the column to {wanted}" + ("" if name == text_column else ", or rename it")
            raise UserError(f"the column {name!r} holds {kind}, not {wanted}", where=str(file), mend=mend)
    column = _column(parquet, text_column)
    ranges, begin, size = [], 0, 0
    groups = parquet.metadata.num_row_groups
    for group in range(groups):
        size += parquet.metadata.row_group(group).column(column).total_uncompressed_size
        if size >= shard_bytes or group == groups - 1:
            ranges.append((begin, group + 1))
            begin, size = group + 1, 0
    return ranges


def _kinds(text_column: str) -> dict[str, pa.DataType]:
    """The columns to read. A column of STATED that holds the text states nothing."""
    return {text_column: pa.string()} | {name: kind for name, kind in STATED.items() if name != text_column}


def _holds(kind: pa.DataType, wanted: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return kind == wanted or pa.types.is_null(kind) or (pa.types.is_large_string(kind) and wanted == pa.string())


def _column(parquet: pq.ParquetFile, name: str) -> int:
    """Number of a column in the file's metadata, where a nested field counts as one of its own."""
    schema = parquet.metadata.schema
    return next(number for number in range(len(schema)) if schema.column(number).path == name)


def _open_parquet(file: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(file, memory_map=True)
    except pa.ArrowInvalid as error:
        raise UserError(f"not a Parquet file: {error}", where=str(file)) from None


def read_shard(shard: Shard) -> Iterator[Batch]:
    """The documents of a shard, in order.

    Raises:
        UserError: the file is damaged or does not hold what it should; says where.
    """
    tables = _read_parquet(shard) if format_of(shard.file) == "parquet" else _read_jsonl(shard)
    for table in tables:
        text = _array(table.column(shard.text_column), pa.string())
        text = pc.fill_null(text, "") if text.null_count else text
        kinds = {name: kind for name, kind in _kinds(shard.text_column).items() if name in table.column_names}
        stated = {name: _array(table.column(name), kind) for name, kind in kinds.items() if name != shard.text_column}
        yield Batch(text, stated | {SPLIT: _splits(stated.get(SPLIT), len(text), split_of(shard.name))})


def _splits(stated: pa.StringArray | None, documents: int, default: str) -> pa.StringArray:
    """The publisher's split of each document: as records state it, else as the file's name does."""
    if stated is None:
        return pa.array([default] * documents, pa.string())
    encoded = stated.dictionary_encode(null_encoding="encode")
    known = [SPLITS.get(name.strip().lower(), name) if name else default for name in encoded.dictionary.to_pylist()]
    return pa.array(known, pa.string()).take(encoded.indices)


def require_utf8(batch: Batch, shard: Shard) -> None:
    """Check that texts, and what is stated of them, are UTF-8, which Parquet's reader does not.

    Raises:
        UserError: they are not.
    """
    try:
        for column in (batch.text, *batch.stated.values()):
            column.validate(full=True)
    except pa.ArrowInvalid as error:
        mend = "convert the file, for instance from Windows-1252: iconv -f CP1252 -t UTF-8"
        raise UserError(f"the text is not UTF-8: {error}", where=str(shard.file), mend=mend) from None


def _array(column: pa.ChunkedArray, kind: pa.DataType) -> Any:
    column = column.cast(kind)
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def _read_parquet(shard: Shard) -> Iterator[pa.Table]:
    parquet = _open_parquet(shard.file)
    metadata = parquet.metadata
    columns = [name for name in parquet.schema_arrow.names if name in (shard.text_column, *STATED)]
    index = _column(parquet, shard.text_column)
    for group in range(shard.start, shard.stop):
        rows = metadata.row_group(group).num_rows
        size = metadata.row_group(group).column(index).total_uncompressed_size
        at_once = max(1, min(rows, rows * BATCH_BYTES // max(1, size)))
        try:
            for batch in parquet.iter_batches(at_once, row_groups=[group], columns=columns, use_threads=False):
                yield pa.Table.from_batches([batch])
        except (pa.ArrowInvalid, OSError) as error:
            raise UserError(f"the Parquet file is damaged: {error}", where=f"{shard.file}, row group {group}") from None


def _read_jsonl(shard: Shard) -> Iterator[pa.Table]:
    for offset, block in _line_blocks(shard):
        yield _parse(block, shard, offset)


def _line_blocks(shard: Shard) -> Iterator[tuple[int, bytes]]:
    """Whole lines of the shard, about BATCH_BYTES at once, with the byte at which they begin (of the unpacked file)."""
    try:
        with gzip.open(shard.file) if shard.file.suffix.lower() == ".gz" else shard.file.open("rb") as stream:
            at = _first_line(stream, shard.start)
            while at < shard.stop:
                block = stream.read(min(BATCH_BYTES, shard.stop - at))
                if not block:
                    return
                if not block.endswith(b"\n"):
                    block += stream.readline()
                yield at, block
                at += len(block)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        where = str(shard.file)
        raise UserError(f"the gzip data is damaged: {error}", where=where, mend="fetch the file again") from None


def _first_line(stream: gzip.GzipFile | BufferedReader, start: int) -> int:
    """Go to the first line that begins at `start` or after it."""
    if start == 0:
        return 0
    stream.seek(start - 1)
    return start - 1 + len(stream.readline())


def _parse(block: bytes, shard: Shard, offset: int) -> pa.Table:
    lines = block.count(b"\n") + (block[-1:] != b"\n")
    if block.count(b"\n" + LINE_START) + block.startswith(LINE_START) != lines:
        return _parse_lines(block, shard, offset)
    schema = pa.schema(list(_kinds(shard.text_column).items()))
    parse = pj.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    read = pj.ReadOptions(use_threads=False, block_size=len(block) + 1)
    try:
        table = pj.read_json(io.BytesIO(block), read_options=read, parse_options=parse)
        table.validate(full=True)  # UTF-8
        if table.column(shard.text_column).null_count == 0 and len(table) == lines:
            return table.select(_present(table, shard.text_column))
    except pa.ArrowInvalid:
        pass  # said with its line below
    return _parse_lines(block, shard, offset)


def _present(table: pa.Table, text_column: str) -> list[str]:
    """The text column, and those of STATED that a record has."""
    return [name for name in _kinds(text_column) if name == text_column or table.column(name).null_count < len(table)]


def _parse_lines(block: bytes, shard: Shard, offset: int) -> pa.Table:
    """Parse line by line, which is slow and can say which line is wrong."""
    rows = []
    number = _lines_before(shard.file, offset)
    for raw in block.splitlines(keepends=True):
        number += 1
        line = decode(raw, shard.file, number)
        if line.strip():
            rows.append(_record(line, shard, f"{shard.file}:{number}"))
    kinds = _kinds(shard.text_column)
    table = pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in kinds.items()})
    return table.select(_present(table, shard.text_column))


def _record(line: str, shard: Shard, where: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f"not JSON: {error.msg} at column {error.colno}", where=where) from None
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, thousands of brackets
        raise UserError(f"JSON that cannot be read: {error}", where=where) from None
    if not isinstance(value, dict):
        raise UserError("not a JSON object", where=where, allowed="an object a line")
    name = shard.text_column
    if name not in value:
        mend = "--text-column names another"
        raise UserError(f"there is no text column {name!r}", where=where, allowed=", ".join(value), mend=mend)
    for key, kind in _kinds(name).items():
        wanted = bool if kind == pa.bool_() else str
        if not isinstance(value.get(key), wanted | None):
            mend = f"make it {wanted.__name__}" + ("" if key == name else ", or rename the field")
            raise UserError(f"{key!r} is {type(value[key]).__name__}, not {wanted.__name__}", where=where, mend=mend)
        if isinstance(value.get(key), str) and not _is_unicode(value[key]):
            raise UserError(f"{key!r} holds half of a surrogate pair, which is no text", where=where)
    return value


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _lines_before(file: Path, offset: int) -> int:
    with gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb") as stream:
        lines, left = 0, offset
        while left > 0:
            block = stream.read(min(left, 2**20))
            lines += block.count(b"\n")
            left -= len(block)
        return lines


def utf8(text: pa.StringArray) -> tuple[Bytes, Offsets]:
    """The bytes of all texts one after the other, and where each begins, [documents + 1], without copying the bytes."""
    offsets = np.frombuffer(text.buffers()[1], np.int32)[text.offset : text.offset + len(text) + 1].astype(np.int64)
    data = text.buffers()[2]
    values = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    return values[offsets[0] : offsets[-1]], offsets - offsets[0]


_WIDE_SPACES = {
    0xC2: ("\x85", "\xa0"),
    0xE1: ("\u1680",),
    0xE2: (*map(chr, range(0x2000, 0x200B)), "\u2028", "\u2029", "\u202f", "\u205f"),
    0xE3: ("\u3000",),
}
"""First byte -> white space that begins with it: as `str.split` knows it."""


def count_words(values: Bytes, offsets: Offsets) -> npt.NDArray[np.int64]:
    """Words of each text, as `len(text.split())` counts them; control characters are white space, too.

    Args:
        values: UTF-8 of all texts.
        offsets: where each begins, [documents + 1].
    """
    space, content = values <= 32, values.tobytes()
    for first, spaces in _WIDE_SPACES.items():
        if content.find(first) < 0:
            continue
        places = np.flatnonzero(values == first)  # few: quotes, dashes and « begin with these bytes, no French letter
        for wide in spaces:
            tail = wide.encode()[1:]
            at = places[places + len(tail) < len(values)]
            for number, byte in enumerate(tail, start=1):
                at = at[values[at + number] == byte]
            for number in range(len(tail) + 1):
                space[at + number] = True
    begins = ~space
    np.greater(space[:-1], space[1:], out=begins[1:])  # a space, and then none
    starts = offsets[:-1][offsets[:-1] < len(values)]
    begins[starts] = ~space[starts]  # a text does not go on with the word that ends the one before
    borders = offsets.tolist()
    counts = (np.count_nonzero(begins[a:b]) for a, b in pairwise(borders))
    return np.fromiter(counts, np.int64, len(borders) - 1)
