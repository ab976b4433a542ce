"""Parts of a corpus's texts, for any number of threads or tasks."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...core.errors import UserError
from ..documents.store import parquet_errors

BATCH_BYTES = 1_000_000
"""Bytes of text in a thread at once, or one text if it is longer; to be compared they take some 40 times as much."""


@dataclass(frozen=True)
class Part:
    """Consecutive texts.

    Attributes:
        texts: how many.
        read: gives them, as often as it is called.
    """

    texts: int
    read: Callable[[], Iterator[pa.StringArray]]


def joined_parts(parts: Sequence[Part], most: int) -> list[Part]:
    """The texts of parts, regrouped into a number of parts at most, with about equally many texts each."""
    ends = np.cumsum([part.texts for part in parts])
    places = (ends - 1) * most // max(1, ends[-1]) if len(ends) else ends
    groups = [[part for part, at in zip(parts, places, strict=True) if at == place] for place in np.unique(places)]
    return [Part(sum(part.texts for part in group), partial(_one_by_one, group)) for group in groups]


def _one_by_one(parts: Sequence[Part]) -> Iterator[pa.StringArray]:
    for part in parts:
        yield from part.read()


def parts_of(path: Path) -> list[Part]:
    """The texts of a documents file, a part for each row group.

    Raises:
        UserError: it is damaged, or another's.
    """
    with parquet_errors(path):
        metadata = pq.read_metadata(path)
    if "text" not in metadata.schema.names:
        raise UserError(f"{path.name}: there is no column text", where=str(path), allowed="the documents of a corpus")
    groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
    column = metadata.schema.names.index("text")
    sizes = [max(1, group.column(column).total_uncompressed_size) for group in groups]
    return [
        Part(group.num_rows, partial(_texts, path, number, max(1, group.num_rows * BATCH_BYTES // size)))
        for number, (group, size) in enumerate(zip(groups, sizes, strict=True))
    ]


def _texts(path: Path, group: int, rows: int) -> Iterator[pa.StringArray]:
    with parquet_errors(path), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(rows, row_groups=[group], columns=["text"], use_threads=False):
            yield batch.column(0)
