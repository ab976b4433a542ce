"""The search for near-duplicates in tasks, and the choice between them, which is one."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ...core.files import atomic_path
from .near_duplicates import Search
from .parts import Part, joined_parts
from .representatives import Copy, near_copies
from .shingles import Offsets

if TYPE_CHECKING:
    from ..tasks.executor import TaskRunner

FOLDER = "duplicates"
RANKS, COPIES = "ranks.npy", "copies.parquet"
SCHEMA = pa.schema([("text", pa.int64()), ("kept", pa.int64()), ("kind", pa.string()), ("similarity", pa.float64())])


def near_copies_by_tasks(parts: Sequence[Part], chosen: Offsets, ranks: Offsets, runner: "TaskRunner") -> list[Copy]:
    """The near-duplicates that need not be kept; the same as `near_copies` of `find_similar`.

    Args:
        parts: all texts, in parts of which each task takes several.
        chosen: numbers of the texts that are looked at, ascending.
        ranks: order of preference, lowest first, no two alike, [texts].
        runner: runs the tasks.

    Raises:
        Failed: a worker was killed, or a job failed.
    """
    search = search_by_tasks(parts, chosen, runner)
    np.save(search.folder / RANKS, ranks)
    runner.run("choose", _choose, [search])
    return [Copy(**row) for row in pq.read_table(search.folder / COPIES).to_pylist()]


def search_by_tasks(parts: Sequence[Part], chosen: Offsets, runner: "TaskRunner") -> Search:
    """The search of `near_copies_by_tasks`, done."""
    folder = runner.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    search = Search(folder, joined_parts(parts, runner.tasks.most))
    search.run(chosen, runner.run)
    return search


def _choose(search: Search) -> None:
    copies = near_copies(search.result(), np.load(search.folder / RANKS))
    with atomic_path(search.folder / COPIES) as partial:
        pq.write_table(pa.Table.from_pylist([asdict(copy) for copy in copies], SCHEMA), partial)
