"""The search of a corpus for texts for evaluation: a row group after the other, in threads or in tasks."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
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

    def search(self, texts: EvaluationTexts) -> pa.Table:
        """Find what documents that are of no test part share with the items, in their order."""
        splits = (split for (split,) in read_documents(self.path, ("original_split",), self.number))
        trained = np.array([split not in TEST_PARTS for split in splits], bool)
        tables, begin = [], 0
        for text in self.part.read():
            shared = texts.overlaps(text)
            rows = begin + shared.documents
            kept = trained[rows]
            tables.append(_table(self.source, self.begin + rows[kept], shared.items[kept], shared.runs[kept]))
            begin += len(text)
        return pa.concat_tables([SCHEMA.empty_table(), *tables])


def _table(source: str, rows: np.ndarray, items: np.ndarray, runs: np.ndarray) -> pa.Table:
    names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows), np.int32)), pa.array([source]))
    return pa.table([names, rows, items, runs], SCHEMA)


def search(files: Mapping[str, Path], texts: EvaluationTexts, runner: "TaskRunner | None") -> pa.Table:
    """Find what documents that are of no test part share with the items, in the corpus's order.

    Args:
        files: source -> its documents.
        texts: the items.
        runner: runs the tasks, which each take the items from a file; None for threads of this process.

    Returns:
        A row for each document and item that share something, of SCHEMA.

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
        tables = pool.map(lambda group: group.search(texts), groups)
        return pa.concat_tables([SCHEMA.empty_table(), *tables])


def _search_by_tasks(groups: Sequence[_RowGroup], items: Sequence[EvaluationText], runner: "TaskRunner") -> pa.Table:
    folder = runner.folder / "overlaps"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / ITEMS, "".join(json.dumps(asdict(item)) + "\n" for item in items))
    of_each = [*batched(groups, max(1, -(-len(groups) // runner.tasks.most)))]
    runner.run("search", partial(_search_some, folder), [*enumerate(of_each)])
    tables = (pq.read_table(_file(folder, number), schema=SCHEMA) for number in range(len(of_each)))
    return pa.concat_tables([SCHEMA.empty_table(), *tables])


def _search_some(folder: Path, numbered: tuple[int, Iterable[_RowGroup]]) -> None:
    """Search some row groups, in a task of that number."""
    number, groups = numbered
    with (folder / ITEMS).open(encoding="utf-8") as lines:
        items = [EvaluationText(**each | {"texts": tuple(each["texts"])}) for each in map(json.loads, lines)]
    texts = EvaluationTexts(items)
    overlaps = pa.concat_tables([SCHEMA.empty_table(), *(group.search(texts) for group in groups)])
    with atomic_path(_file(folder, number)) as partial_path:
        pq.write_table(overlaps, partial_path)


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.parquet"
