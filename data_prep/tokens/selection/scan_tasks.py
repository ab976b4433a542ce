"""The pass over the documents in tasks: each scans some shards, and what it finds of one is in a file."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import batched
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....core.errors import UserError
from ....core.files import atomic_path, remove
from ...documents.faults import read_faults, together, write_faults
from ...documents.record import Rejected
from ...screening.screen import Screening
from ...topics.assignments import Assignments
from .scan import Key, Scan, scan_shard
from .shards import Shard

if TYPE_CHECKING:
    from ...tasks.executor import TaskRunner

FOLDER = "scans"
STEP = "scan"
TOPICS = "topics.npz"
COLUMNS = ("hashes", "words", "withheld", "group", "licence")


@dataclass(frozen=True)
class NumberedShard:
    """A shard, and its number among all."""

    number: int
    shard: Shard


def numbered(shards: Sequence[Shard], most: int) -> list[tuple[NumberedShard, ...]]:
    """The shards of each task, for a number of tasks at most."""
    every = [NumberedShard(*each) for each in enumerate(shards)]
    return [*batched(every, max(1, -(-len(every) // most)))]


def scan_by_tasks(shards: list[Shard], seed: int, runner: "TaskRunner", topics: Assignments | None) -> list[Scan]:
    """Scan all shards, in tasks; the same as `scan_shards`.

    Raises:
        UserError: files cannot be read; names all of them.
        Failed: a worker was killed, or a job failed.
    """
    folder = runner.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    if topics is not None:
        np.savez(folder / TOPICS, names=np.array(topics.names), hashes=topics.hashes, topics=topics.topics)
    work = partial(_scan_some, folder, seed, with_topics=topics is not None)
    tasks = numbered(shards, runner.tasks.most)
    runner.run(STEP, work, tasks)
    faults = {
        rank: [fault for each in task for fault in read_faults(_faults(folder, each))]
        for rank, task in enumerate(tasks)
    }
    faulty = [rank for rank, each in faults.items() if each]
    if faulty:
        for rank in faulty:  # its files may be corrected later
            runner.forget(STEP, rank)
        raise together([fault for rank in faulty for fault in faults[rank]])
    return [read_scan(_file(folder, number), shard) for number, shard in enumerate(shards)]


def _scan_some(folder: Path, seed: int, shards: Sequence[NumberedShard], *, with_topics: bool) -> None:
    """Scan the shards of a task; of one that cannot be read, the fault is written."""
    topics = _read_topics(folder / TOPICS) if with_topics else None
    for each in shards:
        remove(_faults(folder, each))
        try:
            scan = scan_shard(each.shard, seed, topics)
        except UserError as fault:
            write_faults(_faults(folder, each), [fault])
        else:
            write_scan(_file(folder, each.number), scan)


def _read_topics(path: Path) -> Assignments:
    with np.load(path) as columns:
        return Assignments(columns["names"].tolist(), columns["hashes"], columns["topics"])


def write_scan(path: Path, scan: Scan) -> None:
    """Write what was found in a shard, all of it or nothing: columns of the documents, and JSON beside them."""
    assert scan.clusters is scan.hashes, "texts that count as one are found in all shards together"
    facts = {
        "keys": scan.keys,
        "licences": scan.licences,
        "screened": scan.screening.counts,
        "rejected": [asdict(document) for document in scan.rejected],
        "lines": scan.lines,
    }
    as_bytes = np.frombuffer(json.dumps(facts).encode(), np.uint8)
    with atomic_path(path) as partial_path, partial_path.open("wb") as file:
        np.savez(file, facts=as_bytes, **{name: getattr(scan, name) for name in COLUMNS})


def read_scan(path: Path, shard: Shard) -> Scan:
    """Read what `write_scan` has written of a shard."""
    with np.load(path) as file:
        columns: dict[str, Any] = {name: file[name] for name in COLUMNS}
        facts = json.loads(file["facts"].tobytes())
    return Scan(
        shard=shard,
        **columns,
        clusters=columns["hashes"],
        keys=[Key(*values) for values in facts["keys"]],
        licences=facts["licences"],
        screening=Screening.of_counts(facts["screened"], thorough=False),
        rejected=[Rejected(**each) for each in facts["rejected"]],
        lines=facts["lines"],
    )


def _file(folder: Path, number: int) -> Path:
    return folder / f"{number:05d}.npz"


def _faults(folder: Path, each: NumberedShard) -> Path:
    return folder / f"{each.number:05d}.faults"
