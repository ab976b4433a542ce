"""The data set and side of every document, decided before the first is tokenized.

One pass over the inputs takes each document's hash, its words and what it states of itself. From that follow the data
sets (one for each source, or for each part, document type and edition of a source that has several) and the sides.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from itertools import chain, count
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ....core import log
from ....core.errors import UserError
from ...documents.record import Rejected
from ...screening.screen import Counts, Screening
from ...topics.assignments import Assignments
from .scan import Key, Scan, lines_before, scan_shards
from .scan_tasks import scan_by_tasks
from .shards import Batch, Shard
from .split import SIDES, mark_duplicates, split

if TYPE_CHECKING:
    from ...tasks.executor import TaskRunner

MOST_PARTS = 1000
"""Number of values of a source's column `source` beyond which it does not name parts of the source."""
NAME_BYTES = 180
UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True)
class ShardPlan:
    """The data set and side of every document of a shard.

    Attributes:
        shard: where they are.
        before: lines, or rows, of the same file in the shards before it.
        hashes: of the texts, [documents].
        group: index in `keys`, [documents].
        sides: see `split`, [documents].
        keys: of all data sets.
    """

    shard: Shard
    before: int
    hashes: npt.NDArray[np.uint64]
    group: npt.NDArray[np.int32]
    sides: npt.NDArray[np.int8]
    keys: list[Key]


@dataclass(frozen=True)
class Plan:
    """The data set and side of every document.

    Attributes:
        scans: of the shards, in order; `group` is an index in the plan's `keys`.
        keys: of the data sets.
        names: of the data sets, and of their files.
        sides: for each document of each shard; see `split`.
        domains: number of the domain of each data set.
    """

    scans: list[Scan]
    keys: list[Key]
    names: list[str]
    sides: list[npt.NDArray[np.int8]]
    domains: list[int]

    def of_shard(self, number: int) -> ShardPlan:
        """The part of the plan that is about a shard."""
        scan, sides = self.scans[number], self.sides[number]
        return ShardPlan(
            scan.shard, self.before[number], hashes=scan.hashes, group=scan.group, sides=sides, keys=self.keys
        )

    def words(self, group: int, side: int) -> int:
        """Words of a data set's documents on one side."""
        return int(self._words[group, side])

    def count(self, group: int, side: int) -> int:
        """Documents of a data set that are on one side."""
        return int(self._counts[group, side])

    def licences(self, group: int, side: int) -> dict[str, int]:
        """Documents of a data set on one side by licence, most frequent first; an empty string: not known."""
        return dict(sorted(self._licences[group, side].items(), key=lambda each: (-each[1], each[0])))

    @property
    def screened(self) -> Counts:
        """Counts of personal data and other languages in the texts; see `Screening.counts`."""
        screening = Screening(thorough=False)
        for scan in self.scans:
            screening.add(scan.screening)
        return screening.counts

    @cached_property
    def before(self) -> list[int]:
        """Lines, or rows, of the same file in the shards before each shard."""
        return lines_before(self.scans)

    @cached_property
    def rejected(self) -> list[Rejected]:
        """The documents that cannot be read, with their lines in their files."""
        return [
            document if scan.shard.whole else replace(document, line=document.line + before)
            for scan, before in zip(self.scans, self.before, strict=True)
            for document in scan.rejected
        ]

    @cached_property
    def _counts(self) -> npt.NDArray[np.int64]:
        return self._table([np.ones(len(scan.hashes)) for scan in self.scans])

    @cached_property
    def _words(self) -> npt.NDArray[np.int64]:
        return self._table([scan.words for scan in self.scans])

    @cached_property
    def _licences(self) -> dict[tuple[int, int], Counter[str]]:
        """Documents by licence, of each data set and side."""
        counts: dict[tuple[int, int], Counter[str]] = defaultdict(Counter)
        for scan, sides in zip(self.scans, self.sides, strict=True):
            cells = np.ravel_multi_index(
                (scan.group, sides, scan.licence), (len(self.keys), SIDES, max(1, len(scan.licences)))
            )
            documents = np.bincount(cells)
            for cell in np.flatnonzero(documents).tolist():
                rest, licence = divmod(cell, len(scan.licences))
                counts[divmod(rest, SIDES)][scan.licences[licence]] += int(documents[cell])
        return counts

    def _table(self, values: list[Any]) -> npt.NDArray[np.int64]:
        """Sum of each shard's values by data set and side, [data sets, SIDES]."""
        table = np.zeros(len(self.keys) * SIDES)
        for scan, sides, weights in zip(self.scans, self.sides, values, strict=True):
            table += np.bincount(scan.group * SIDES + sides, weights, minlength=len(table))
        return table.reshape(-1, SIDES).astype(np.int64)


@dataclass(frozen=True)
class Choice:
    """How the sides are decided.

    Attributes:
        fraction: part of each domain's distinct texts that is held out for validation.
        seed: of the draw.
        withhold: whether the test and validation parts of publishers are left out.
        deduplicate: whether a training text is kept once.
        domains: patterns of sources' names. Those that match one are a domain; so are those that match none.
    """

    fraction: float = 0.02
    seed: int = 0
    withhold: bool = True
    deduplicate: bool = True
    domains: tuple[str, ...] = ()

    def domain(self, key: Key) -> int:
        """Number of the domain of a data set: of the first pattern that matches, or the number of patterns."""
        matching = (number for number, pattern in enumerate(self.domains) if fnmatchcase(key.source, pattern))
        return next(matching, len(self.domains))


def make_plan(
    shards: list[Shard],
    choice: Choice,
    workers: int,
    *,
    named: Collection[str] = (),
    merge: Callable[[list[Scan]], list[Scan]] = lambda scans: scans,
    topics: Assignments | None = None,
    runner: "TaskRunner | None" = None,
) -> Plan:
    """Scan the shards and decide.

    Args:
        shards: in order.
        choice: how it is decided.
        workers: threads; with a runner none.
        named: the shards' sources whose names the user gave.
        merge: gives documents that count as one text for the split the same cluster; by default equal texts have one.
        topics: of the texts, each of which is a data set of its source's then.
        runner: runs the scan as tasks; None for threads of this process.

    Raises:
        Failed: a worker was killed, or a job failed.
        UserError: a file does not hold what it should, no source is of a domain, or no text has a topic.
    """
    if runner:
        scans = scan_by_tasks(shards, choice.seed, runner, topics)
    else:
        scans = scan_shards(shards, choice.seed, workers, topics)
    scans, keys = _common_keys(merge(scans), choice, named)
    if topics is not None and not any(key.topic for key in keys):
        fix = "make it of the same texts: `pdapt corpus topics CORPUS --out FILE`, and give CORPUS here"
        raise UserError("none of the texts is in the file of topics", where="--topics", fix=fix)
    domains = [choice.domain(key) for key in keys]
    for number, pattern in enumerate(choice.domains):
        if number not in domains:
            known = ", ".join(sorted({key.source for key in keys}))
            raise UserError(f"no source belongs to the domain {pattern!r}", where="--domain", allowed=known)
    sides = _decide(scans, keys, domains, choice)
    return Plan(scans=scans, keys=keys, names=_names(keys), sides=sides, domains=domains)


def _common_keys(scans: list[Scan], choice: Choice, named: Collection[str]) -> tuple[list[Scan], list[Key]]:
    """The scans with `group` an index in one list of all keys, sorted by domain, source and what is stated."""
    given = {key for scan in scans for key in scan.keys}
    whole = _undivided(given)
    meant = {key: _meant(key, whole, named) for key in given}
    keys = sorted(set(meant.values()), key=lambda key: (choice.domain(key), *key[:3], str(key.commercial), key.topic))
    place = {key: number for number, key in enumerate(keys)}
    maps = [np.array([place[meant[key]] for key in scan.keys], np.int32) for scan in scans]
    return [
        replace(scan, group=to[scan.group] if len(to) else scan.group, keys=keys)
        for scan, to in zip(scans, maps, strict=True)
    ], keys


def _meant(key: Key, whole: set[str], named: Collection[str]) -> Key:
    """The key of the data set of documents that were read as `key`."""
    if key.source in whole:
        return key._replace(part="")
    return key if key.source in named or not key.part else key._replace(source=key.part, part="")


def _undivided(keys: set[Key]) -> set[str]:
    """The sources whose column `source` has too many values to be parts."""
    parts: dict[str, set[str]] = defaultdict(set)
    for key in keys:
        parts[key.source].add(key.part)
    undivided = {source for source, values in parts.items() if len(values) > MOST_PARTS}
    for source in sorted(undivided):
        log.warn(f"{source}: the column `source` has {len(parts[source]):,} values, so it does not divide the source")
    return undivided


def _names(keys: list[Key]) -> list[str]:
    """A file name for each data set: its source, and where a source has several, what tells them apart."""
    parts, types, editions = defaultdict(set), defaultdict(set), defaultdict(set)
    for key in keys:
        parts[key.source].add(key.part)
        types[key[:2]].add(key.document_type)
        editions[key[:2]].add(key.commercial)
    names: dict[str, None] = {}
    for key in keys:
        words = [key.source]
        if len(parts[key.source]) > 1 and key.part:
            words.append(key.part)
        if len(types[key[:2]]) > 1:
            words.append(key.document_type or "untyped")
        if len(editions[key[:2]]) > 1:
            words.append({True: "commercial", False: "research", None: "unstated"}[key.commercial])
        if key.topic:
            words.append(key.topic)
        name = _cut(UNSAFE.sub("-", ".".join(words)).lstrip(".-")) or "unnamed"
        # Names that differ only in what no file name may hold, or in their ends, get a number.
        numbered = chain([name], (f"{name}-{number}" for number in count(len(names))))
        names[next(candidate for candidate in numbered if candidate not in names)] = None
    return list(names)


def _cut(name: str) -> str:
    """As much of a name as a file system takes, with room for a number and an ending."""
    return name.encode()[:NAME_BYTES].decode(errors="ignore")


def _decide(scans: list[Scan], keys: list[Key], domains: list[int], choice: Choice) -> list[npt.NDArray[np.int8]]:
    """Sides of each shard's documents."""
    if not keys:
        return [np.empty(0, np.int8) for _ in scans]
    hashes, clusters, group, withheld = (
        np.concatenate([getattr(scan, name) for scan in scans]) for name in ("hashes", "clusters", "group", "withheld")
    )
    withheld = withheld * np.int8(choice.withhold)
    # A text that several data sets have stays in the one that may be used for most, and else in the first given.
    edition = np.array([{True: 0, None: 1, False: 2}[key.commercial] for key in keys])
    order = np.argsort(edition[group], kind="stable")
    decided = split(
        clusters[order],
        group[order].astype(np.int64),
        np.array(domains),
        fraction=choice.fraction,
        withheld=withheld[order] != 0,
    )
    if choice.deduplicate:
        mark_duplicates(decided, hashes[order])
    sides = np.empty(len(hashes), np.int8)
    sides[order] = np.where(withheld[order] != 0, withheld[order], decided)
    return np.split(sides, np.cumsum([len(scan.hashes) for scan in scans])[:-1])


def chosen(batch: Batch, mask: npt.NDArray[np.bool_]) -> pa.StringArray:
    """The texts of a batch that a mask marks, without copying where it marks all."""
    return batch.text if mask.all() else batch.text.filter(pa.array(mask))
