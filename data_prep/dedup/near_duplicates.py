"""Near-duplicates: texts that share most of their shingles, found by MinHash and then compared.

Two texts are compared if their signatures suggest it, and similar if they share at least SIMILARITY of their 5-word
shingles, counted and not estimated. They are near-duplicates if, beside, they give the same numbers and name the same:
two leaflets that differ in a dose are two documents (see `quantities.disagree`), and so are two entries that differ in
a drug's name (see `replaced_words.name_others`).
"""

import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numpy.lib.format import open_memmap

from ...core import log
from ...core.log import counted
from ..tokens.selection.scan import Scan
from ..tokens.selection.shards import read_shard
from .contents import Contents
from .minhash import BANDS, HASHES, band_keys, candidates, sign
from .parts import Part
from .shingles import Offsets, shingles_of, words_of

SIMILARITY = 0.8
"""Share of their shingles that similar texts have in common."""


@dataclass(frozen=True)
class Similar:
    """Pairs of similar texts.

    Attributes:
        pairs: the texts' numbers, the lower first, [pairs, 2].
        similarity: share of their shingles that they have in common, [pairs].
        contents: of the texts that are in pairs, for further comparisons.
        tags: of all texts, see `minhash.candidates`.
        least: similarity of a pair.
    """

    pairs: Offsets
    similarity: npt.NDArray[np.float64]
    contents: Contents
    tags: npt.NDArray[np.uint8]
    least: float

    def clusters(self, texts: int) -> npt.NDArray[np.int32]:
        """A number for each text, which those share that pairs link, [texts]."""
        from scipy.sparse import coo_array
        from scipy.sparse.csgraph import connected_components

        links = (np.ones(len(self.pairs), bool), (self.pairs[:, 0], self.pairs[:, 1]))
        return connected_components(coo_array(links, shape=(texts, texts)), directed=False)[1]


@contextmanager
def find_similar(parts: list[Part], chosen: Offsets, workers: int, similarity: float = SIMILARITY) -> Iterator[Similar]:
    """Find pairs of similar texts; what they hold can be compared within the block.

    Takes about 300 bytes of temporary files a text, and 10 bytes a word of those that are compared.

    Args:
        parts: all texts.
        chosen: numbers of those that are looked at, ascending: equal texts need to be compared once.
        workers: threads.
        similarity: share of their shingles that two texts have in common at least.
    """
    begins = np.cumsum([0, *(part.texts for part in parts)])
    with tempfile.TemporaryDirectory(prefix="pdapt-") as folder, ThreadPoolExecutor(workers) as pool:
        signed = _Signed(Path(folder), int(begins[-1]))
        list(pool.map(signed.sign_part, parts, begins))
        pairs = candidates(signed.keys, signed.tags, chosen[signed.filled[chosen]], similarity)
        contents = Contents(Path(folder), int(begins[-1]))
        wanted = np.zeros(begins[-1], bool)
        wanted[pairs.ravel()] = True
        list(pool.map(partial(_add_part, contents, wanted), parts, begins))
        contents.complete()
        values = contents.similarities(pairs)
        kept = values >= similarity
        yield Similar(pairs[kept], values[kept], contents=contents, tags=signed.tags, least=similarity)


class _Signed:
    """Signatures of all texts, in files of a folder.

    Attributes:
        keys: of the bands, [BANDS, texts].
        tags: the last byte of each hash, [texts, HASHES].
        filled: whether a text has a shingle, [texts].
    """

    def __init__(self, folder: Path, texts: int) -> None:
        self.keys: npt.NDArray[np.uint64] = np.asarray(open_memmap(folder / "keys", "w+", np.uint64, (BANDS, texts)))
        self.tags: npt.NDArray[np.uint8] = np.asarray(open_memmap(folder / "tags", "w+", np.uint8, (texts, HASHES)))
        self.filled = np.zeros(texts, bool)

    def sign_part(self, part: Part, begin: int) -> None:
        """Sign texts, whose numbers begin with `begin`."""
        for text in part.read():
            shingles, offsets = shingles_of(words_of(text))
            signatures, end = sign(shingles, offsets), begin + len(text)
            self.keys[:, begin:end] = band_keys(signatures)
            self.tags[begin:end] = signatures.astype(np.uint8)
            self.filled[begin:end] = np.diff(offsets) > 0
            begin = end


def _add_part(contents: Contents, wanted: npt.NDArray[np.bool_], part: Part, begin: int) -> None:
    """Add those texts of a part that are wanted, [all texts]; their numbers begin with `begin`."""
    if not wanted[begin : begin + part.texts].any():
        return
    for text in part.read():
        mask = wanted[begin : begin + len(text)]
        if mask.any():
            contents.add(begin + np.flatnonzero(mask), text.filter(pa.array(mask)))
        begin += len(text)


def merge_near_duplicates(scans: list[Scan], workers: int) -> list[Scan]:
    """The scans, with one hash (the lowest of theirs) as `clusters` of all documents that similar pairs link.

    Their numbers and names may differ: a text that is held out is too similar to one that is trained on either way.
    """
    log.info("tokens: looking for near-duplicates (MinHash)")
    hashes = np.concatenate([np.empty(0, np.uint64), *(scan.hashes for scan in scans)])
    first = np.unique(hashes, return_index=True)[1]
    parts = [
        Part(len(scan.hashes), lambda scan=scan: (batch.text for batch in read_shard(scan.shard))) for scan in scans
    ]
    with find_similar(parts, np.sort(first), workers) as similar:
        numbers = similar.clusters(len(hashes))
    lowest = np.full(len(hashes), np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(lowest, numbers, hashes)
    copies = np.unique(hashes, return_inverse=True)[1]
    clusters = lowest[numbers[first]][copies]  # a copy of a text is where the one is that was compared
    members = np.unique(similar.pairs)
    clusters_of_members = counted(len(np.unique(numbers[members])), "cluster")
    log.info(f"tokens: similar to another: {counted(len(members), 'text')}, in {clusters_of_members}")
    divided = np.split(clusters, np.cumsum([len(scan.hashes) for scan in scans])[:-1])
    return [replace(scan, clusters=values) for scan, values in zip(scans, divided, strict=True)]
