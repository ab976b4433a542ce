"""The search of a corpus for texts for evaluation: a row group after the other, in threads or in tasks."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...core.files import atomic_path, write_text
from ..dedup.parts import Part, parts_of
from ..documents.store import read_documents
from .evaluation_texts import EvaluationText, EvaluationTexts

if TYPE_CHECKING:
    from ..tasks.executor import TaskRunner

TEST_PARTS = ("test", "dev")
ITEMS = "items.jsonl"
SCHEMA = pa.schema(
    [("source", pa.dictionary(pa.int32(), pa.string())), *((name, pa.int64()) for name in ("row", "item", "runs"))]
)
"""Runs that a document, by its row in its source, shares with an item, by its number. There are as many rows as such
pairs, which on text that repeats grow faster than the corpus: they are never Python's objects."""
MOST_ROWS = 2**20
"""Rows of a table: all that is in memory of the overlaps that tasks have written."""


@dataclass(frozen=True)
class _RowGroup:
    """Some documents of a source.

    Attributes:
        source: its name.
        path: its file.
        number: of the row group.
        begin: row of its first document.
        part: the texts.
    """

    source: str
    path: Path
    number: int
    begin: int
    part: Part

    def search(self, texts: EvaluationTexts) -> Iterator[pa.Table]:
        """Yield what documents outside test parts share with the items, in their order, without empty tables."""
        splits = (split for (split,) in read_documents(self.path, ("original_split",), self.number))
        trained = np.array([split not in TEST_PARTS for split in splits], bool)
        begin = 0
        for text in self.part.read():
            shared = texts.overlaps(text)
            rows = begin + shared.documents
            kept = trained[rows]
            columns = self.begin + rows[kept], shared.items[kept], shared.runs[kept]
            for at in range(0, len(columns[0]), MOST_ROWS):
                yield _table(self.source, *(column[at : at + MOST_ROWS] for column in columns))
            begin += len(text)


def _table(source: str, rows: np.ndarray, items: np.ndarray, runs: np.ndarray) -> pa.Table:
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), np.int32)), pa.array([source]))
    return pa.table([names, rows, items, runs], SCHEMA)


@dataclass(frozen=True)
class _OverlapFiles:
    """Overlaps that tasks have written: one table is in memory at a time, however many there are."""

    paths: list[Path]

    def __iter__(self) -> Iterator[pa.Table]:
        for path in self.paths:
            with pq.ParquetFile(path) as file:
                yield from map(file.read_row_group, range(file.num_row_groups))


def search(files: Mapping[str, Path], texts: EvaluationTexts, runner: "TaskRunner | None") -> Iterable[pa.Table]:
    """Find what documents outside test parts share with the items, in the corpus's order.

    Args:
        files: source -> its documents.
        texts: the items.
        runner: runs the tasks, which each take the items from a file; None for threads of this process.

    Returns:
        Tables of SCHEMA, each of one source, with a row for each document and item that share something; they can be
        iterated several times.

    Raises:
        Failed: a worker was killed, or a job failed.
    """
    groups: list[_RowGroup] = []
    for source, path in files.items():
        begin = 0
        for number, part in enumerate(parts_of(path)):
            groups.append(_RowGroup(source, path, number=number, begin=begin, part=part))
            begin += part.texts
    if runner:
        return _search_by_tasks(groups, texts.items, runner)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return [table for tables in pool.map(lambda group: [*group.search(texts)], groups) for table in tables]


def _search_by_tasks(
    groups: Sequence[_RowGroup], items: Sequence[EvaluationText], runner: "TaskRunner"
) -> _OverlapFiles:
    folder = runner.folder / "overlaps"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / ITEMS, "".join(json.dumps(asdict(item)) + "\n" for item in items))
    of_each = [*batched(groups, max(1, -(-len(groups) // runner.tasks.most)))]
    runner.run("search", partial(_search_some, folder), [*enumerate(of_each)])
    return _OverlapFiles([_file(folder, number) for number in range(len(of_each))])


def _search_some(folder: Path, numbered: tuple[int, Iterable[_RowGroup]]) -> None:
    """Search some row groups, in a task of that number."""
    number, groups = numbered
    with (folder / ITEMS).open(encoding="utf-8") as lines:
        items = [EvaluationText(**each | {"texts": tuple(each["texts"])}) for each in map(json.loads, lines)]
    texts = EvaluationTexts(items)
    with atomic_path(_file(folder, number)) as partial_path, pq.ParquetWriter(partial_path, SCHEMA) as writer:
        for group in groups:
            for table in group.search(texts):
                writer.write_table(table)


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.parquet"
