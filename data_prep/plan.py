"""What becomes of every document, decided before the first is tokenized.

One pass over the inputs takes each document's hash, its words and what it states of itself. From that follow the data
sets (one for each source, or for each document type and edition of a source that has several) and the sides.
"""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain, count, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .shards import Batch, Shard, count_words, read_shard, require_utf8, utf8
from .split import split, text_hasher

EMPTY = 3
"""Side of a document without a word, beside those of `split`."""
SIDES = 4
UNSAFE = re.compile(r"[^\w.-]+")


class Key(NamedTuple):
    """What the documents of a data set have in common."""

    source: str
    document_type: str
    commercial: bool | None


@dataclass(frozen=True)
class Scan:
    """What is known of a shard's documents, [documents] each.

    Attributes:
        shard: where they are.
        hashes: of the texts; 0 of one without a word.
        words: as `str.split` counts them.
        group: index in `keys`.
        keys: what they state of themselves.
    """

    shard: Shard
    hashes: npt.NDArray[np.uint64]
    words: npt.NDArray[np.int64]
    group: npt.NDArray[np.int32]
    keys: list[Key]

    @property
    def empty(self) -> npt.NDArray[np.bool_]:
        """Which of the texts have no word."""
        return self.hashes == 0


@dataclass(frozen=True)
class Plan:
    """What becomes of the documents.

    Attributes:
        scans: of the shards, in order; `group` is an index in the plan's `keys`.
        keys: of the data sets.
        names: of the data sets, and of their files.
        sides: TRAIN, VALID, DROPPED or EMPTY for each document of each shard.
    """

    scans: list[Scan]
    keys: list[Key]
    names: list[str]
    sides: list[npt.NDArray[np.int8]]

    def words(self, group: int, side: int) -> int:
        """Words of a data set's documents on one side."""
        return int(self._words[group, side])

    def count(self, group: int, side: int) -> int:
        """Documents of a data set that are on one side."""
        return int(self._counts[group, side])

    @cached_property
    def before(self) -> list[int]:
        """Documents of the same file in the shards before each shard."""
        seen: dict[Path, int] = {}
        found = []
        for scan in self.scans:
            found.append(seen.get(scan.shard.file, 0))
            seen[scan.shard.file] = found[-1] + len(scan.hashes)
        return found

    @cached_property
    def _counts(self) -> npt.NDArray[np.int64]:
        return self._table([np.ones(len(scan.hashes)) for scan in self.scans])

    @cached_property
    def _words(self) -> npt.NDArray[np.int64]:
        return self._table([scan.words for scan in self.scans])

    def _table(self, values: list[Any]) -> npt.NDArray[np.int64]:
        """Sum of each shard's values by data set and side, [data sets, SIDES]."""
        table = np.zeros(len(self.keys) * SIDES)
        for scan, sides, weights in zip(self.scans, self.sides, values, strict=True):
            table += np.bincount(scan.group * SIDES + sides, weights, minlength=len(table))
        return table.reshape(-1, SIDES).astype(np.int64)


def make_plan(
    shards: list[Shard],
    fraction: float,
    seed: int,
    workers: int,
    *,
    merge: Callable[[list[Scan]], list[Scan]] = lambda scans: scans,
) -> Plan:
    """Scan the shards and decide.

    Args:
        shards: in order.
        fraction: part of each data set's distinct texts that is held out for validation.
        seed: of the draw.
        workers: threads.
        merge: gives documents that count as duplicates the same hash; by default only equal texts have one.

    Raises:
        UserError: a file does not hold what it should.
    """
    with ThreadPoolExecutor(workers) as pool:
        scans = list(pool.map(lambda shard: scan_shard(shard, seed), shards))
    scans, keys = _common_keys(merge(scans))
    return Plan(scans, keys, _names(keys), _decide(scans, len(keys), fraction))


def scan_shard(shard: Shard, seed: int) -> Scan:
    """Read a shard's documents for their hashes, words and keys."""
    keys: dict[Key, int] = {}
    parts = [_scan_batch(batch, shard, seed, keys) for batch in read_shard(shard)]
    hashes, words, group = (np.concatenate(part) for part in zip(*parts, strict=True)) if parts else _nothing()
    return Scan(shard, hashes, words, group, list(keys))


def _nothing() -> tuple[Any, Any, Any]:
    return np.empty(0, np.uint64), np.empty(0, np.int64), np.empty(0, np.int32)


def _scan_batch(batch: Batch, shard: Shard, seed: int, keys: dict[Key, int]) -> tuple[Any, Any, Any]:
    require_utf8(batch, shard)
    values, offsets = utf8(batch.text)
    hash_text, view, borders = text_hasher(seed), memoryview(values), offsets.tolist()
    words = count_words(values, offsets)
    ranks = (hash_text(view[a:b]) if some else 0 for (a, b), some in zip(pairwise(borders), words, strict=True))
    return np.fromiter(ranks, np.uint64, len(batch)), words, _groups(batch, shard, keys)


def _groups(batch: Batch, shard: Shard, keys: dict[Key, int]) -> npt.NDArray[np.int32]:
    """Index in `keys` of each document, new keys appended."""
    defaults = Key(shard.source, "", None)
    codes, values = np.zeros(len(batch), np.int64), []
    for name, default in defaults._asdict().items():
        column = batch.stated.get(name)
        if column is None:
            values.append([default])
            continue
        encoded = column.dictionary_encode(null_encoding="encode")
        known = [default if value in (None, "") else value for value in encoded.dictionary.to_pylist()]
        codes = codes * len(known) + encoded.indices.to_numpy()
        values.append(known)
    distinct, index = np.unique(codes, return_inverse=True)
    sizes = [len(known) for known in values]
    places = np.array([keys.setdefault(_key(values, sizes, int(code)), len(keys)) for code in distinct], np.int32)
    return places[index]


def _key(values: list[list[Any]], sizes: list[int], code: int) -> Key:
    return Key(*(known[place] for known, place in zip(values, np.unravel_index(code, sizes), strict=True)))


def _common_keys(scans: list[Scan]) -> tuple[list[Scan], list[Key]]:
    """The scans with `group` an index in one list of all keys, sorted."""
    keys = sorted({key for scan in scans for key in scan.keys}, key=lambda key: (*key[:2], str(key.commercial)))
    place = {key: number for number, key in enumerate(keys)}
    maps = [np.array([place[key] for key in scan.keys], np.int32) for scan in scans]
    return [
        replace(scan, group=to[scan.group] if len(to) else scan.group, keys=keys)
        for scan, to in zip(scans, maps, strict=True)
    ], keys


def _names(keys: list[Key]) -> list[str]:
    """A file name for each data set: its source, and where a source has several, what tells them apart."""
    names: list[str] = []
    for key in keys:
        alike = [other for other in keys if other.source == key.source]
        parts = [key.source]
        if len({other.document_type for other in alike}) > 1:
            parts.append(key.document_type or "untyped")
        if len({other.commercial for other in alike}) > 1:
            parts.append({True: "commercial", False: "research", None: "unstated"}[key.commercial])
        name = UNSAFE.sub("-", ".".join(parts)).lstrip(".-") or "unnamed"
        # Names that differ only in what no file name may hold get a number.
        numbered = chain([name], (f"{name}-{number}" for number in count(len(names))))
        names.append(next(one for one in numbered if one not in names))
    return names


def _decide(scans: list[Scan], groups: int, fraction: float) -> list[npt.NDArray[np.int8]]:
    """Sides of each shard's documents."""
    if not scans:
        return []
    hashes, empty = (np.concatenate([getattr(scan, name) for scan in scans]) for name in ("hashes", "empty"))
    group = np.where(empty, groups, np.concatenate([scan.group for scan in scans]))  # the empty ones come last
    order = np.argsort(group, kind="stable")
    borders = np.searchsorted(group[order], np.arange(groups + 1)).tolist()
    members = {str(number): hashes[order[a:b]] for number, (a, b) in enumerate(pairwise(borders))}
    sides = np.full(len(group), EMPTY, np.int8)
    if members:
        sides[order[: borders[-1]]] = np.concatenate(list(split(members, fraction).values()))
    return np.split(sides, np.cumsum([len(scan.hashes) for scan in scans])[:-1])


def chosen(batch: Batch, mask: npt.NDArray[np.bool_]) -> pa.StringArray:
    """The texts of a batch that a mask marks, without copying where it marks all."""
    return batch.text if mask.all() else batch.text.filter(pa.array(mask))
