"""The documents between two stages: a Parquet file a source, `documents/<source>.parquet`."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from ...core.errors import UserError
from ...core.files import atomic_path, check_regular
from ...core.jsonio import JsonObject, parse_json
from .record import Rejected

pc: Any = pyarrow.compute  # which makes its functions when it is imported
FOLDER = "documents"
TEXTS = (
    "text",
    "source",
    "subset",
    "doc_id",
    "document_type",
    "licence",
    "spdx",
    "licence_url",
    "licence_evidence",
    "licence_conflict",
    "original_split",
    "language",
    "url",
    "authors",
    "title",
    "date",
    "doi",
    "origin",
    "text_sha256",
    "changes_made",
)
"""Columns of text; what is not known of a document is an empty string. `source` is the name that the corpus gives it,
`subset` what the record itself calls its source, `origin` its file and line, `text_sha256` the SHA-256 of the text in
UTF-8, `changes_made` what was done to it, and by which version."""
SCHEMA = pa.schema(
    [
        *(pa.field(name, pa.string(), nullable=False) for name in TEXTS),
        pa.field("commercial", pa.bool_()),
        pa.field("words", pa.int64(), nullable=False),
    ]
)
"""TEXTS; whether a document may be used commercially, null where nobody says; its words, between white space."""
REJECTED = "rejected.parquet"
REJECTED_SCHEMA = pa.schema([("file", pa.string()), ("line", pa.int64()), ("reason", pa.string())])
COUNTS = "pdapt.counts"
"""Key of the file's metadata that holds the counts of the source."""
ROW_GROUP_BYTES = 16_000_000
ROW_BYTES = 500
"""Bytes that a row takes in memory beside its text."""
ROWS_IN_MEMORY = 256
TOTALS = ("kept", "characters", "words")
"""Counts of a documents file that change with its documents."""

Row = dict[str, Any]


def write_documents(path: Path, rows: Iterator[Row], counts: dict[str, Any]) -> None:
    """Write rows to a Parquet file in bounded memory, all of it or nothing.

    Args:
        path: the file.
        rows: the documents, with SCHEMA's columns.
        counts: read once the rows are drained, and kept in the file's metadata.
    """
    with atomic_path(path) as partial, pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
        for group in grouped(rows, _memory, ROW_GROUP_BYTES):
            writer.write_table(pa.Table.from_pylist(group, SCHEMA))
        writer.add_key_value_metadata({COUNTS: json.dumps(counts)})


def join_documents(path: Path, parts: Sequence[Path], counts: dict[str, Any]) -> None:
    """Write the documents of several files to one, as `write_documents` would, in bounded memory, all of it or nothing.

    Args:
        path: the file.
        parts: files of documents, in order.
        counts: kept in the file's metadata.
    """
    with atomic_path(path) as partial, pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
        waiting = SCHEMA.empty_table()
        for table in _row_groups(parts):
            waiting = pa.concat_tables([waiting, table])
            taken = np.cumsum(pc.utf8_length(waiting["text"]).to_numpy() + ROW_BYTES)
            begin = 0
            while len(taken) > begin and taken[-1] - (taken[begin - 1] if begin else 0) >= ROW_GROUP_BYTES:
                end = int(np.searchsorted(taken, ROW_GROUP_BYTES + (taken[begin - 1] if begin else 0))) + 1
                writer.write_table(waiting.slice(begin, end - begin).combine_chunks())
                begin = end
            waiting = waiting.slice(begin)
        if len(waiting):
            writer.write_table(waiting.combine_chunks())
        writer.add_key_value_metadata({COUNTS: json.dumps(counts)})


def _row_groups(parts: Sequence[Path]) -> Iterator[pa.Table]:
    """The rows of files of documents, a row group at a time."""
    for path in parts:
        with parquet_errors(path), pq.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                yield file.read_row_group(group, use_threads=False)


def filter_documents(path: Path, keep: npt.NDArray[np.bool_], counts: dict[str, Any]) -> None:
    """Rewrite a documents file without some of its documents, in bounded memory, all of it or nothing.

    Args:
        path: the file.
        keep: which documents stay, [documents].
        counts: the file's, which are kept in it; `kept`, `characters` and `words` are brought up to date.
    """
    with parquet_errors(path), pq.ParquetFile(path) as file, atomic_path(path) as partial:
        totals: dict[str, Any] = dict.fromkeys(TOTALS, 0)
        begin = 0
        with pq.ParquetWriter(partial, SCHEMA, compression="zstd") as writer:
            for group in range(file.num_row_groups):
                rows = file.read_row_group(group, use_threads=False)
                begin, mask = begin + len(rows), pa.array(keep[begin : begin + len(rows)])
                rows = rows.filter(mask)
                writer.write_table(rows)
                totals["kept"] += len(rows)
                totals["characters"] += pc.sum(pc.utf8_length(rows["text"])).as_py() or 0
                totals["words"] += pc.sum(rows["words"]).as_py() or 0
            counts.update(totals)
            writer.add_key_value_metadata({COUNTS: json.dumps(counts)})


def write_rejected(path: Path, rejected: Sequence[Rejected]) -> None:
    """Write the documents that were left out, with their files, lines and reasons."""
    with atomic_path(path) as partial:
        pq.write_table(pa.Table.from_pylist([asdict(document) for document in rejected], REJECTED_SCHEMA), partial)


def read_rejected(path: Path) -> list[Rejected]:
    """The rejected documents that `write_rejected` wrote.

    Raises:
        UserError: it is damaged, or another's.
    """
    with parquet_errors(path), pq.ParquetFile(path) as file:
        if file.schema_arrow != REJECTED_SCHEMA:
            raise UserError(f"{path.name} holds no rejected documents", where=str(path))
        table = file.read(use_threads=False)
        if any(column.null_count for column in table.columns):
            raise UserError(f"{path.name} has rows without a file, a line or a reason", where=str(path))
        return [Rejected(**row) for row in table.to_pylist()]


@contextmanager
def parquet_errors(path: Path) -> Iterator[None]:
    """Turn what a damaged Parquet file raises in the block into a UserError that names it."""
    check_regular(path)
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        words = next(iter(str(error).splitlines()), "")[:200]
        raise UserError(f"{path.name} is not a complete Parquet file: {words}", where=str(path)) from None


def _memory(row: Row) -> int:
    """About the bytes that a row takes while it waits."""
    return len(row["text"]) + ROW_BYTES


def grouped[T](items: Iterable[T], size: Callable[[T], int], limit: int) -> Iterator[list[T]]:
    """Lists of consecutive items, each ended by the item that brings its sizes to `limit`."""
    group: list[T] = []
    total = 0
    for item in items:
        group.append(item)
        total += size(item)
        if total >= limit:
            yield group
            group, total = [], 0
    if group:
        yield group


def read_counts(path: Path) -> dict[str, Any]:
    """The counts kept in a documents file by `write_documents`.

    Raises:
        UserError: it is damaged, or another's.
    """
    with parquet_errors(path):
        kept = pq.read_metadata(path).metadata or {}
    return JsonObject(parse_json(kept.get(COUNTS.encode(), b""), str(path)), str(path)).values


def document_files(folder: Path) -> dict[str, Path]:
    """Source -> documents file, sorted by source.

    Raises:
        UserError: the folder holds no documents.
    """
    files = {path.stem: path for path in sorted((folder / FOLDER).glob("*.parquet"))}
    if not files:
        raise UserError(
            f"no documents in {folder}",
            where=str(folder / FOLDER),
            allowed="the output folder of a corpus stage, with documents/<source>.parquet",
        )
    return files


def row_groups(path: Path) -> int:
    """Number of a documents file's row groups.

    Raises:
        UserError: it is damaged.
    """
    with parquet_errors(path):
        return pq.read_metadata(path).num_row_groups


def read_documents(
    path: Path,
    columns: tuple[str, ...],
    group: int | None = None,
    *,
    where: tuple[str, Sequence[str]] | None = None,
) -> Iterator[tuple[Any, ...]]:
    """The documents of a file, in its order, as tuples of `columns`, in bounded memory.

    Args:
        path: the file.
        columns: of SCHEMA.
        group: number of the row group that is read; by default all are.
        where: one of the columns, and the values of it that are taken; by default all documents are.

    Raises:
        UserError: it is damaged, or lacks a column.
    """
    for rows in _read_columns(path, columns, group, where):
        yield from zip(*rows, strict=True)


def row_batches(
    file: pq.ParquetFile, rows: int, columns: Sequence[str] | None = None, groups: Iterable[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """Rows of a Parquet file, some at a time, of a row group after the other: of several at once, Arrow holds many.

    Args:
        file: opened.
        rows: of a batch, at most.
        columns: that are read; by default all.
        groups: numbers of the row groups that are read; by default all.
    """
    for group in range(file.num_row_groups) if groups is None else groups:
        names = None if columns is None else list(columns)
        yield from file.iter_batches(rows, row_groups=[group], columns=names, use_threads=False)


def _read_columns(
    path: Path, columns: tuple[str, ...], group: int | None, where: tuple[str, Sequence[str]] | None
) -> Iterator[list[list[Any]]]:
    """Rows of a file, some at a time, as a list for each of its columns that are asked for."""
    with parquet_errors(path), pq.ParquetFile(path) as file:
        types = {field.name: field.type for field in file.schema_arrow}
        for batch in row_batches(file, ROWS_IN_MEMORY, columns, None if group is None else [group]):
            for name in columns:
                field = SCHEMA.field(name)
                if types.get(name) != field.type or (batch[name].null_count and not field.nullable):
                    raise UserError(f"{path.name}: the column {name} is not that of a corpus", where=str(path))
            if where:
                name, values = where
                batch = batch.filter(pc.is_in(batch[name], pa.array(values, pa.string())))
            yield [batch[column].to_pylist() for column in columns]
