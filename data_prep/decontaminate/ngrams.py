"""Runs of 13 words that texts share with documents; shorter texts as a whole.

Words are those of `dedup.shingles`: case, blanks and punctuation make no difference, numbers do.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..dedup.shingles import Hashes, Offsets, Words, among, runs_of

LONGEST = 13
"""Words of a run."""
BITS = 22
"""Bits of a run's hash by which most runs of a document are passed over."""
AT_ONCE = 2**20
"""Texts that have a run of a document, added up at once: where many repeat, all would be more than fit into memory."""


@dataclass(frozen=True)
class Overlaps:
    """Runs that documents share with the texts that are looked for, [pairs] each.

    Attributes:
        documents: number of the document.
        items: number of what is looked for.
        runs: different runs that both have.
    """

    documents: Offsets
    items: Offsets
    runs: Offsets


@dataclass(frozen=True)
class _Runs:
    """Runs of one length, in order, [runs] each; `first` says which hashes there are by their first BITS."""

    length: int
    hashes: Hashes
    items: Offsets
    first: npt.NDArray[np.bool_]


class Index:
    """The runs of texts.

    Args:
        words: of the texts.
        least: words that each text has at least if it is looked for, [texts].

    Attributes:
        runs: different runs of each text, [texts]; 0 for one that is not looked for.
    """

    def __init__(self, words: Words, least: Offsets) -> None:
        lengths = np.diff(words.offsets)
        sizes = np.where(lengths >= least, np.minimum(lengths, LONGEST), 0)
        self.runs = np.zeros(len(lengths), np.int64)
        self._by_length = [self._indexed(words, length, sizes == length) for length in np.unique(sizes[sizes > 0])]

    def _indexed(self, words: Words, length: int, chosen: npt.NDArray[np.bool_]) -> _Runs:
        """The runs of the texts that are chosen, [texts]."""
        hashes, offsets = runs_of(words, length)
        items = np.repeat(np.arange(len(chosen)), np.diff(offsets))
        hashes, items = hashes[chosen[items]], items[chosen[items]]
        order = np.lexsort((items, hashes))
        hashes, items = hashes[order], items[order]
        new = np.ones(len(hashes), bool)
        new[1:] = (hashes[1:] != hashes[:-1]) | (items[1:] != items[:-1])
        hashes, items = hashes[new], items[new]
        self.runs += np.bincount(items, minlength=len(chosen))
        first = np.zeros(2**BITS, bool)
        first[hashes >> np.uint64(64 - BITS)] = True
        return _Runs(length, hashes, items, first)

    def overlaps(self, words: Words) -> Overlaps:
        """Find what documents, of which these are the words, share with the texts; documents are numbered from 0."""
        nothing = (np.empty(0, np.int64),) * 3  # where no text is looked for
        shared = [nothing, *(part for each in self._by_length for part in self._shared(words, each))]
        documents, items, runs = (np.concatenate(part) for part in zip(*shared, strict=True))
        order = np.lexsort((items, documents))
        return Overlaps(documents[order], items[order], runs[order])

    def _shared(self, words: Words, known: _Runs) -> Iterator[tuple[Offsets, Offsets, Offsets]]:
        """Documents, texts and the number of runs that both have, of some documents after the other."""
        documents, hashes = _runs_in(words, known)
        begins, ends = (np.searchsorted(known.hashes, hashes, side=side) for side in ("left", "right"))
        counts = ends - begins
        for some in _whole_documents(documents, counts):
            within = np.arange(counts[some].sum()) - np.repeat(np.cumsum(counts[some]) - counts[some], counts[some])
            items = known.items[np.repeat(begins[some], counts[some]) + within]
            pairs, runs = np.unique(
                np.repeat(documents[some], counts[some]) * len(self.runs) + items, return_counts=True
            )
            yield *np.divmod(pairs, len(self.runs)), runs


def _runs_in(words: Words, known: _Runs) -> tuple[Offsets, Hashes]:
    """Document and hash of each run of the documents that is looked for, once for each document, in order."""
    hashes, offsets = runs_of(words, known.length)
    places = np.flatnonzero(known.first[hashes >> np.uint64(64 - BITS)])
    places = places[among(hashes[places], known.hashes)]
    documents = np.searchsorted(offsets, places, side="right") - 1
    order = np.lexsort((hashes[places], documents))
    documents, hashes = documents[order], hashes[places][order]
    new = np.ones(len(hashes), bool)
    new[1:] = (hashes[1:] != hashes[:-1]) | (documents[1:] != documents[:-1])
    return documents[new], hashes[new]


def _whole_documents(documents: Offsets, counts: Offsets) -> Iterator[slice]:
    """Divide runs of documents, which are in order, at the ends of documents: AT_ONCE texts, or a document's."""
    ends, first = np.cumsum(counts), 0
    while first < len(documents):
        until = int(np.searchsorted(ends, ends[first] - counts[first] + AT_ONCE, side="right"))
        if until < len(documents):
            until = int(np.searchsorted(documents, documents[until]))
        last = max(until, int(np.searchsorted(documents, documents[first], side="right")))
        yield slice(first, last)
        first = last
