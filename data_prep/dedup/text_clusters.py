"""Clusters of the documents that tokens are made of: those that similar texts link go to one side together."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ...core import log
from ...core.log import counted
from ..tokens.selection.scan import Scan
from ..tokens.selection.shards import Shard, read_shard
from .duplicate_tasks import search_by_tasks
from .near_duplicates import Similar, find_similar
from .parts import Part
from .shingles import Offsets

if TYPE_CHECKING:
    from ..tasks.executor import TaskRunner


def merge_near_duplicates(scans: list[Scan], workers: int, runner: "TaskRunner | None" = None) -> list[Scan]:
    """The scans, with one hash (the lowest of theirs) as `clusters` of all documents that similar pairs link.

    Their numbers and names may differ: a text that is held out is too similar to one that is trained on either way.

    Args:
        scans: of all shards.
        workers: threads; with a runner none.
        runner: runs the search as tasks.
    """
    log.info("tokens: looking for near-duplicates (MinHash)")
    hashes = np.concatenate([np.empty(0, np.uint64), *(scan.hashes for scan in scans)])
    first = np.unique(hashes, return_index=True)[1]
    parts = [Part(len(scan.hashes), partial(_texts, scan.shard)) for scan in scans]
    with _similar(parts, np.sort(first), workers, runner) as similar:
        numbers = similar.clusters(len(hashes))
    lowest = np.full(len(hashes), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(lowest, numbers, hashes)
    copies = np.unique(hashes, return_inverse=True)[1]
    clusters = lowest[numbers[first]][copies]  # a copy of a text is where the one is that was compared
    members = np.unique(similar.pairs)
    clusters_of_members = counted(len(np.unique(numbers[members])), "cluster")
    log.info(f"tokens: {counted(len(members), 'similar text')}, in {clusters_of_members}")
    divided = np.split(clusters, np.cumsum([len(scan.hashes) for scan in scans])[:-1])
    return [replace(scan, clusters=values) for scan, values in zip(scans, divided, strict=True)]


def _texts(shard: Shard) -> Iterator[pa.StringArray]:
    return (batch.text for batch in read_shard(shard))


def _similar(
    parts: list[Part], chosen: Offsets, workers: int, runner: "TaskRunner | None"
) -> AbstractContextManager[Similar]:
    if runner:
        return nullcontext(search_by_tasks(parts, chosen, runner).result())
    return find_similar(parts, chosen, workers)
