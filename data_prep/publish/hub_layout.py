"""The layout of a data set on the Hugging Face Hub: shards of bounded size, with PARCOMED's columns and more."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from ..documents.store import SCHEMA, read_documents

CONFIG, SPLIT = "finetuning", "train"
"""PARCOMED's default configuration, and its only split."""
TEXT = "input"
"""PARCOMED's column of the text."""
FIRST = (TEXT, "source", "document_type")
"""All columns of PARCOMED; ours follow."""
COLUMNS = tuple(SCHEMA.names)
GROUP_BYTES = 16_000_000
"""Bytes of text in a row group."""


def published_schema() -> pa.Schema:
    """Schema of a shard: PARCOMED's columns, and then what the corpus knows of each document beside them."""
    named = [SCHEMA.field("text").with_name(TEXT), *(SCHEMA.field(name) for name in FIRST[1:])]
    return pa.schema([*named, *(each for each in SCHEMA if each.name not in ("text", *FIRST))])


def shard_name(number: int, count: int) -> str:
    """A shard's path below the data set's folder; `number` counts from 0."""
    return f"{CONFIG}/{SPLIT}-{number:05}-of-{count:05}.parquet"


def rows_of(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a documents file, in bounded memory.

    Raises:
        UserError: it is damaged, or another's.
    """
    for values in read_documents(path, COLUMNS):
        yield dict(zip(COLUMNS, values, strict=True))


def write_shards(rows: Iterator[dict[str, Any]], folder: Path, shard_bytes: int) -> list[str]:
    """Write shards of rows, each ended by the row that brings its texts to `shard_bytes`; their names.

    Args:
        rows: of a corpus, with SCHEMA's columns.
        folder: the data set's.
        shard_bytes: bytes of text in UTF-8 of a shard, before compression.
    """
    (folder / CONFIG).mkdir(parents=True, exist_ok=True)
    partials: list[Path] = []

    def next_path() -> Path:
        partials.append(folder / CONFIG / f".{len(partials)}.partial")
        return partials[-1]

    _write(rows, next_path, shard_bytes)
    names = [shard_name(number, len(partials)) for number in range(len(partials))]
    for path, name in zip(partials, names, strict=True):
        path.replace(folder / name)
    return names


def _write(rows: Iterator[dict[str, Any]], next_path: Callable[[], Path], shard_bytes: int) -> None:
    schema = published_schema()
    group: list[dict[str, Any]] = []
    in_group = in_shard = 0
    writer: pq.ParquetWriter | None = None
    with ExitStack() as open_shard:
        for row in rows:
            if writer is None:
                writer = open_shard.enter_context(pq.ParquetWriter(next_path(), schema, compression="zstd"))
            size = len(row["text"].encode())
            in_group, in_shard = in_group + size, in_shard + size
            group.append({TEXT: row["text"]} | row)
            if in_group >= GROUP_BYTES or in_shard >= shard_bytes:
                writer.write_table(pa.Table.from_pylist(group, schema))
                group, in_group = [], 0
            if in_shard >= shard_bytes:
                open_shard.close()
                writer, in_shard = None, 0
        if group and writer:
            writer.write_table(pa.Table.from_pylist(group, schema))
