"""Duplicates within a corpus: found across its sources, listed in `duplicates.parquet`, and dropped on demand.

Of documents that are alike, one is kept: first of all one of a publisher's test or validation part, so that what is
withheld from training stays withheld; then one of the source that others copy (BDPM before E3C); then one under the
stricter licence; then the one that is read first.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

from ...core import log
from ...core.errors import check_known
from ...core.files import atomic_path
from ..documents.store import FOLDER, TOTALS, filter_documents, parquet_errors, read_counts, read_documents
from ..documents.survey import Survey
from .duplicate_tasks import near_copies_by_tasks
from .near_duplicates import find_similar
from .parts import parts_of
from .representatives import KEPT, Copy, first_of_equal, near_copies, with_equal

if TYPE_CHECKING:
    from ..tasks.executor import TaskRunner

pc: Any = pyarrow.compute  # which makes its functions when it is imported
DUPLICATES = "duplicates.parquet"
FACTS = ("source", "doc_id", "origin", "original_split", "licence", "commercial", "words", "text_sha256")
SCHEMA = pa.schema(
    [
        pa.field("cluster", pa.int64(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("similarity", pa.float64(), nullable=False),
        pa.field("row", pa.int64(), nullable=False),
        *(pa.field(name, pa.string(), nullable=False) for name in FACTS[:5]),
        pa.field("commercial", pa.bool_()),
        pa.field("words", pa.int64(), nullable=False),
        pa.field("text_sha256", pa.string(), nullable=False),
    ]
)
"""Number of the cluster; how the document is like the one that is kept of it, `kept` for that one itself; share of the
shingles that both have; its place among its source's documents before any was dropped; facts as in the corpus."""
WITHHELD_FIRST = {"test": 0, "dev": 1}
STRICTER_FIRST = {False: 0, None: 1, True: 2}


class Treatment(StrEnum):
    """A treatment of documents that are alike.

    Attributes:
        KEEP: nothing; they are not looked for.
        FLAG: exact and near duplicates are listed.
        EXACT: of equal texts one is kept, and the others are listed.
        NEAR: of near-duplicates, too.
    """

    KEEP = "keep"
    FLAG = "flag"
    EXACT = "exact"
    NEAR = "near"


def treatment_of(name: str) -> Treatment:
    """The treatment of a name.

    Raises:
        UserError: there is none; the nearest name is given.
    """
    check_known(name, [str(each) for each in Treatment], "treatment of duplicates", "--duplicates")
    return Treatment(name)


def treat_duplicates(
    surveys: Sequence[Survey],
    work: Path,
    counts: dict[str, dict[str, Any]],
    treatment: Treatment,
    runner: "TaskRunner | None" = None,
) -> None:
    """Find the duplicates in a corpus that is written, list them, and drop those that are to be dropped.

    An interrupted run continues: the documents to drop are chosen once.

    Args:
        surveys: the sources, in order.
        work: the corpus's folder.
        counts: of each source; `duplicates` is added: source of the document that is kept -> kind -> documents and
            words of those that it stands for.
        treatment: what is done.
        runner: runs the tasks of the search for near-duplicates, and of dropping; None for this process alone.
    """
    if treatment is Treatment.KEEP:
        return
    listed = work / DUPLICATES
    if not listed.exists():
        log.info("corpus: looking for duplicates")
        files = [_File(survey, work / FOLDER / f"{survey.source.name}.parquet") for survey in surveys]
        _write(listed, files, _find(files, runner, near=treatment is not Treatment.EXACT))
    copies = _count(listed, counts)
    if treatment is Treatment.FLAG:
        return
    drops = [_Drop(work / FOLDER / f"{name}.parquet", copies.get(name, []), each) for name, each in counts.items()]
    if runner:
        runner.run("drop", _Drop.from_file, drops)
    else:
        for drop in drops:
            drop.from_file()
    for drop in drops:
        drop.counts.update({name: read_counts(drop.path)[name] for name in TOTALS})


@dataclass(frozen=True)
class _Drop:
    """Rows of a source that are to be dropped from its file, and its counts, which go into the file."""

    path: Path
    rows: list[int]
    counts: dict[str, Any]

    def from_file(self) -> None:
        """Drop them, unless an earlier run did."""
        before = read_counts(self.path)
        if self.rows and "duplicates" not in before:
            keep = np.ones(before["kept"], bool)
            keep[self.rows] = False
            filter_documents(self.path, keep, self.counts)


@dataclass(frozen=True)
class _File:
    """The documents of a source."""

    survey: Survey
    path: Path

    @property
    def copied(self) -> tuple[str, ...]:
        """Keys of the sources whose texts it holds too."""
        definition = self.survey.source.definition
        return definition.copies if definition else ()

    @property
    def key(self) -> str:
        """Its key in the registry; empty where it is not registered."""
        definition = self.survey.source.definition
        return definition.key if definition else ""


def _find(files: list[_File], runner: "TaskRunner | None", *, near: bool) -> list[Copy]:
    """The documents that another stands for, numbered through all files."""
    hashes, ranks = _facts(files)
    equal = first_of_equal(hashes, ranks)
    if not near:
        return with_equal([], equal)
    parts = [part for file in files for part in parts_of(file.path)]
    chosen = np.flatnonzero(equal == np.arange(len(equal)))
    if runner:
        return with_equal(near_copies_by_tasks(parts, chosen, ranks, runner), equal)
    with find_similar(parts, chosen, len(os.sched_getaffinity(0))) as similar:
        return with_equal(near_copies(similar, ranks), equal)


def _facts(files: list[_File]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Hash and place in the order of preference of each document, [documents]."""
    keys = {file.key for file in files}
    facts = (
        (int(sha[:16], 16), WITHHELD_FIRST.get(split, 2), not keys.isdisjoint(file.copied), STRICTER_FIRST[commercial])
        for file in files
        for sha, split, commercial in read_documents(file.path, ("text_sha256", "original_split", "commercial"))
    )
    columns = np.fromiter(facts, np.dtype((np.uint64, 4))).T
    order = np.lexsort(columns[:0:-1])  # stable: then as they are read
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return columns[0], ranks


def _write(path: Path, files: list[_File], copies: list[Copy]) -> None:
    """List the clusters: of each, the kept document first, then its copies."""
    kept = {copy.kept: Copy(copy.kept, copy.kept, KEPT, 1.0) for copy in copies}
    by_text = {copy.text: copy for copy in [*copies, *kept.values()]}
    numbers = {text: number for number, text in enumerate(sorted(kept))}
    tables, begin = [SCHEMA.empty_table()], 0
    for file in files:
        with parquet_errors(file.path), pq.ParquetFile(file.path) as documents:
            first = begin
            for group in range(documents.num_row_groups):
                rows = documents.metadata.row_group(group).num_rows
                members = [by_text[text] for text in range(begin, begin + rows) if text in by_text]
                if members:
                    facts = documents.read_row_group(group, columns=list(FACTS), use_threads=False)
                    facts = facts.take([copy.text - begin for copy in members])
                    tables.append(_rows(members, numbers, facts, first))
                begin += rows
    order = [("cluster", "ascending"), ("rank", "ascending")]
    table = pa.concat_tables(tables)
    table = table.append_column("rank", pc.not_equal(table["kind"], KEPT).cast(pa.int8())).sort_by(order)
    with atomic_path(path) as partial_path:
        pq.write_table(table.select(SCHEMA.names), partial_path, compression="zstd")


def _rows(members: list[Copy], numbers: dict[int, int], facts: pa.Table, first: int) -> pa.Table:
    """Rows of the list: of some documents of a source whose first document has the number `first`."""
    known = {
        "cluster": [numbers[copy.kept] for copy in members],
        "kind": [copy.kind for copy in members],
        "similarity": [copy.similarity for copy in members],
        "row": [copy.text - first for copy in members],
    }
    return pa.table(known | {name: facts[name] for name in FACTS}, SCHEMA)


def _count(path: Path, counts: dict[str, dict[str, Any]]) -> dict[str, list[int]]:
    """Add the copies to the sources' counts; returns the rows of the copies, by source."""
    with parquet_errors(path):
        rows = pq.read_table(path, columns=["cluster", "kind", "row", "source", "words"]).to_pylist()
    kept = {row["cluster"]: row["source"] for row in rows if row["kind"] == KEPT}
    pairs: dict[str, dict[str, dict[str, Counter[str]]]] = defaultdict(lambda: defaultdict(dict))
    copies: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        if row["kind"] != KEPT:
            copies[row["source"]].append(row["row"])
            of_kind = pairs[row["source"]][kept[row["cluster"]]].setdefault(row["kind"], Counter())
            of_kind.update(documents=1, words=row["words"])
    for name, each in counts.items():
        each["duplicates"] = {
            other: {kind: dict(number) for kind, number in kinds.items()}
            for other, kinds in sorted(pairs[name].items())
        }
        for other, kinds in each["duplicates"].items():
            kinds_told = ", ".join(f"{number['documents']:,} {kind}" for kind, number in sorted(kinds.items()))
            log.info(f"corpus: {name}: duplicates of documents of {other}: {kinds_told}")
    return copies
