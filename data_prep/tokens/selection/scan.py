"""One pass over the documents, before the first is tokenized: hashes, words, and what each states of itself."""

import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ....core.errors import UserError
from ...documents.faults import together
from ...documents.record import Rejected
from ...screening.screen import Screening
from ...topics.assignments import Assignments, text_hashes
from .shards import SPLIT, Batch, Shard, read_shard, utf8
from .split import DEV, TEST, Bytes, Offsets, hash_texts
from .word_counts import count_words

WITHHELD = {"test": TEST, "dev": DEV}
"""Publisher's split -> side of its documents where they are left out."""
NUMBER = re.compile(r"#\d+$")
"""End of a document's key, after the file's name."""
COLUMNS = {"part": "source"}
"""Field of a key -> the column that states it, where it has another name."""


class Key(NamedTuple):
    """Properties that the documents of a data set have in common.

    `source` is the name that the user gave, and `part` what the column `source` makes of it. Without a name of the
    user's, `source` is what the column says, and the file's name where it says nothing. `topic` is what a file of
    topics gives them, and empty without one.
    """

    source: str
    part: str
    document_type: str
    commercial: bool | None
    topic: str = ""


@dataclass(frozen=True)
class Scan:
    """Properties of a shard's documents, [documents] each.

    Attributes:
        shard: where they are.
        hashes: of the texts.
        clusters: of what counts as one text for the split: `hashes`, or those that near-duplicates share.
        words: as `str.split` counts them.
        withheld: TEST or DEV of a document of that part of its publisher's; else 0.
        group: index in `keys`.
        licence: index in `licences`.
        keys: what they state of themselves.
        licences: their licences, an empty string for one that is not known.
        screening: what was found in the texts that looks personal or is not French.
        rejected: documents that cannot be read, which are not among them.
        lines: of the shard's file that it takes up.
    """

    shard: Shard
    hashes: npt.NDArray[np.uint64]
    clusters: npt.NDArray[np.uint64]
    words: npt.NDArray[np.int64]
    withheld: npt.NDArray[np.int8]
    group: npt.NDArray[np.int32]
    licence: npt.NDArray[np.int32]
    keys: list[Key]
    licences: list[str]
    screening: Screening
    rejected: list[Rejected]
    lines: int


def scan_shards(shards: list[Shard], seed: int, workers: int, topics: Assignments | None = None) -> list[Scan]:
    """Scan all shards; `topics` gives the texts theirs.

    Raises:
        UserError: files cannot be read; names all of them.
    """

    def scan_one(shard: Shard) -> Scan | UserError:
        try:
            return scan_shard(shard, seed, topics)
        except UserError as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(scan_one, shards))
    faults = [each for each in results if isinstance(each, UserError)]
    if faults:
        raise together(faults)
    return [each for each in results if isinstance(each, Scan)]


def lines_before(scans: list[Scan]) -> list[int]:
    """Lines, or rows, of the same file in the shards before each shard."""
    seen: dict[Path, int] = {}
    before = []
    for scan in scans:
        before.append(seen.get(scan.shard.file, 0))
        seen[scan.shard.file] = before[-1] + scan.lines
    return before


def scan_shard(shard: Shard, seed: int, topics: Assignments | None = None) -> Scan:
    """Read a shard's documents for their hashes, words and keys."""
    keys: dict[Key, int] = {}
    licences: dict[str, int] = {}
    screening = Screening(thorough=False)
    parts, rejected, lines = [], [], 0
    for batch in read_shard(shard):
        values, offsets = utf8(batch.text)
        words = count_words(values, offsets)
        screening.look(values, offsets, _places(batch, shard))
        hashes = hash_texts(values, offsets, seed)
        topic = None if topics is None else (topics.of(_text_hashes(values, offsets)), topics.names)
        group = _groups(batch, shard, keys, topic)
        parts.append((hashes, words, _withheld(batch), group, _licences(batch, licences)))
        rejected += batch.rejected
        lines += batch.lines
    columns = (np.concatenate(part) for part in zip(*parts, strict=True)) if parts else _nothing()
    hashes, words, withheld, group, licence = columns
    return Scan(
        shard=shard,
        hashes=hashes,
        clusters=hashes,
        words=words,
        withheld=withheld,
        group=group,
        licence=licence,
        keys=list(keys),
        licences=list(licences),
        screening=screening,
        rejected=rejected,
        lines=lines,
    )


def _nothing() -> tuple[Any, ...]:
    return tuple(np.empty(0, kind) for kind in (np.uint64, np.int64, np.int8, np.int32, np.int32))


def _places(batch: Batch, shard: Shard) -> list[str]:
    """Name of the file of each document with its source's, or of all."""
    names = [NUMBER.sub("", key) for key in batch.keys] if batch.keys else [shard.name]
    return [f"{shard.source}/{name}" for name in names]


def _text_hashes(values: Bytes, offsets: Offsets) -> npt.NDArray[np.uint64]:
    """Hash of each text as a file of topics knows it, [documents]: of all its bytes, and without a seed."""
    view = memoryview(values)
    return text_hashes(view[start:stop] for start, stop in pairwise(offsets.tolist()))


def _licences(batch: Batch, known: dict[str, int]) -> npt.NDArray[np.int32]:
    """Index in `known` of each document's licence, new ones appended."""
    if "licence" not in batch.stated:
        return np.full(len(batch), known.setdefault("", len(known)), np.int32)
    encoded = batch.stated["licence"].dictionary_encode(null_encoding="encode")
    names = [name or "" for name in encoded.dictionary.to_pylist()]
    return np.array([known.setdefault(name, len(known)) for name in names], np.int32)[encoded.indices.to_numpy()]


def _withheld(batch: Batch) -> npt.NDArray[np.int8]:
    """TEST, DEV or 0 of each document."""
    encoded = batch.stated[SPLIT].dictionary_encode()
    sides = np.array([WITHHELD.get(name, 0) for name in encoded.dictionary.to_pylist()], np.int8)
    return sides[encoded.indices.to_numpy()]


def _groups(
    batch: Batch, shard: Shard, keys: dict[Key, int], topic: tuple[npt.NDArray[np.int32], list[str]] | None
) -> npt.NDArray[np.int32]:
    """Index in `keys` of each document, new keys appended.

    Args:
        batch: the documents.
        shard: that they are of.
        keys: those that are known.
        topic: number of each document's topic, [documents], and the topics' names; None where none are given.
    """
    codes, values = np.zeros(len(batch), np.int64), [[shard.source]]
    for name, default in Key(shard.source, "", "", None)._asdict().items():
        if name in ("source", "topic"):
            continue
        column = batch.stated.get(COLUMNS.get(name, name))
        if column is None:
            values.append([default])
            continue
        encoded = column.dictionary_encode(null_encoding="encode")
        same = ("", None) if name != "part" else ("", None, shard.source)
        known = [default if value in same else value for value in encoded.dictionary.to_pylist()]
        codes = codes * len(known) + encoded.indices.to_numpy()
        values.append(known)
    if topic is not None:
        numbers, names = topic
        codes = codes * len(names) + numbers
        values.append(names)
    distinct, index = np.unique(codes, return_inverse=True)
    sizes = [len(known) for known in values]
    places = np.array([keys.setdefault(_key(values, sizes, int(code)), len(keys)) for code in distinct], np.int32)
    return places[index]


def _key(values: list[list[Any]], sizes: list[int], code: int) -> Key:
    return Key(*(known[place] for known, place in zip(values, np.unravel_index(code, sizes), strict=True)))
