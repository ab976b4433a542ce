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
SCHEMA = pa.schema([("source", pa.string()), *((name, pa.int64()) for name in ("row", "item", "runs"))])


@dataclass(frozen=True)
class Overlap:
    """Runs that a document, by its row in its source, shares with an item, by its number."""

    source: str
    row: int
    item: int
    runs: int


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

    def search(self, texts: EvaluationTexts) -> list[Overlap]:
        """Find what documents that are of no test part share with the items, in their order."""
        splits = [split for (split,) in read_documents(self.path, ("original_split",), self.number)]
        overlaps, begin = [], 0
        for text in self.part.read():
            shared = texts.overlaps(text)
            pairs = zip(shared.documents.tolist(), shared.items.tolist(), shared.runs.tolist(), strict=True)
            for document, item, runs in pairs:
                if splits[begin + document] not in TEST_PARTS:
                    overlaps.append(Overlap(self.source, self.begin + begin + document, item, runs))
            begin += len(text)
        return overlaps


def search(files: Mapping[str, Path], texts: EvaluationTexts, runner: "TaskRunner | None") -> list[Overlap]:
    """Find what documents that are of no test part share with the items, in the corpus's order.

    Args:
        files: source -> its documents.
        texts: the items.
        runner: runs the tasks, which each take the items from a file; None for threads of this process.

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
        return [overlap for each in pool.map(lambda group: group.search(texts), groups) for overlap in each]


def _search_by_tasks(
    groups: Sequence[_RowGroup], items: Sequence[EvaluationText], runner: "TaskRunner"
) -> list[Overlap]:
    folder = runner.folder / "overlaps"
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / ITEMS, "".join(json.dumps(asdict(item)) + "\n" for item in items))
    of_each = [*batched(groups, max(1, -(-len(groups) // runner.tasks.most)))]
    runner.run("search", partial(_search_some, folder), [*enumerate(of_each)])
    tables = (pq.read_table(_file(folder, number)) for number in range(len(of_each)))
    return [Overlap(**row) for table in tables for row in table.to_pylist()]


def _search_some(folder: Path, numbered: tuple[int, Iterable[_RowGroup]]) -> None:
    """Search some row groups, in a task of that number."""
    number, groups = numbered
    with (folder / ITEMS).open(encoding="utf-8") as lines:
        items = [EvaluationText(**each | {"texts": tuple(each["texts"])}) for each in map(json.loads, lines)]
    texts = EvaluationTexts(items)
    rows = [asdict(overlap) for group in groups for overlap in group.search(texts)]
    with atomic_path(_file(folder, number)) as partial_path:
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), partial_path)


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.parquet"
