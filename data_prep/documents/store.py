"""The documents between two stages: a Parquet file a source, `documents/<source>.parquet`."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ...core.errors import UserError
from ...core.files import atomic_path
from ...core.jsonio import JsonObject, parse_json
from .record import Rejected

FOLDER = "documents"
TEXTS = (
    "text",
    "source",
    "subset",
    "doc_id",
    "document_type",
    "licence",
    "original_split",
    "language",
    "url",
    "authors",
    "title",
    "date",
    "doi",
    "origin",
)
"""Columns of text; what is not known of a document is an empty string. `source` is the name that the corpus gives it,
`subset` what the record itself calls its source, `origin` its file and line."""
SCHEMA = pa.schema(
    [*(pa.field(name, pa.string(), nullable=False) for name in TEXTS), pa.field("commercial", pa.bool_())]
)
REJECTED = "rejected.parquet"
REJECTED_SCHEMA = pa.schema([("file", pa.string()), ("line", pa.int64()), ("reason", pa.string())])
COUNTS = "pdapt.counts"
"""Key of the file's metadata that holds the counts of the source."""
ROW_GROUP_BYTES = 16_000_000
ROW_BYTES = 500
"""What a row takes in memory beside its text."""
ROWS_IN_MEMORY = 256

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


def write_rejected(path: Path, rejected: Sequence[Rejected]) -> None:
    """Write the documents that were left out, with their files, lines and reasons."""
    with atomic_path(path) as partial:
        pq.write_table(pa.Table.from_pylist([asdict(one) for one in rejected], REJECTED_SCHEMA), partial)


def read_rejected(path: Path) -> list[Rejected]:
    """What `write_rejected` wrote."""
    return [Rejected(**row) for row in pq.read_table(path).to_pylist()]


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
    try:
        kept = pq.read_metadata(path).metadata or {}
    except (pa.ArrowException, OSError) as error:
        raise UserError(f"{path.name} is not a whole Parquet file: {error}", where=str(path)) from None
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


def read_documents(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The documents of a file, in its order, as tuples of `columns`, in bounded memory."""
    for batch in pq.ParquetFile(path).iter_batches(ROWS_IN_MEMORY, columns=list(columns)):
        yield from zip(*(batch[column].to_pylist() for column in columns), strict=True)
