"""Choice of the text to keep among similar ones."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt

from .minhash import agreement, may_be_similar
from .near_duplicates import Similar
from .shingles import Hashes, Offsets

KEPT, EXACT, WORDS, NEAR = "kept", "exact", "words", "near"
"""How a text is like the one that is kept of its cluster: it is that text; equal to it; has the same words in the same
order, whatever their case, spaces and punctuation; or is a near-duplicate."""
MOST_COMPARED = 16
"""Most texts that a text is compared with, of those kept of its cluster: first those that give the same numbers."""


@dataclass(frozen=True)
class Copy:
    """A text that another stands for.

    Attributes:
        text: its number.
        kept: the other's.
        kind: EXACT, WORDS or NEAR.
        similarity: share of their shingles that they have in common.
    """

    text: int
    kept: int
    kind: str
    similarity: float


def first_of_equal(hashes: Hashes, ranks: Offsets) -> Offsets:
    """The text of lowest rank of those that are equal to each, [texts].

    Args:
        hashes: of the texts, [texts].
        ranks: order of preference, lowest first, no two alike, [texts].
    """
    order = np.argsort(ranks)
    _, first, place = np.unique(hashes[order], return_index=True, return_inverse=True)
    kept = np.empty(len(hashes), np.int64)
    kept[order] = order[first[place]]
    return kept


def near_copies(similar: Similar, ranks: Offsets) -> list[Copy]:
    """The near-duplicates that need not be kept.

    In order of preference, each text is compared with those kept before: it is a copy of one that it is similar to and
    agrees with in its numbers and names. So no text is dropped because it is like one that was dropped.

    Args:
        similar: pairs of similar texts.
        ranks: order of preference, lowest first, no two alike, [texts].
    """
    clusters, pairs = similar.clusters(len(ranks)), _Pairs(similar, len(ranks))
    linked = np.unique(similar.pairs)
    is_kept = np.zeros(len(ranks), bool)
    kept: dict[int, list[int]] = defaultdict(list)
    copies: list[Copy] = []
    for text in linked[np.argsort(ranks[linked])].tolist():
        others = kept[int(clusters[text])]
        copy = _copy_of(text, pairs.kept_of(text, is_kept), others, similar) if others else None
        if copy is None:
            others.append(text)
            is_kept[text] = True
        else:
            copies.append(copy)
    return copies


class _Pairs:
    """The pairs of similar texts, by text."""

    def __init__(self, similar: Similar, number: int) -> None:
        first, second = similar.pairs.T
        texts = np.concatenate([first, second])
        order = np.argsort(texts, kind="stable")
        self._begins = np.searchsorted(texts[order], np.arange(number + 1))
        self._others = np.concatenate([second, first])[order]
        self._values = np.concatenate([similar.similarity, similar.similarity])[order]

    def kept_of(self, text: int, is_kept: npt.NDArray[np.bool_]) -> tuple[Offsets, npt.NDArray[np.float64]]:
        """The texts that a text is paired with and that are kept, and their similarity."""
        begin, end = self._begins[text], self._begins[text + 1]
        others, values = self._others[begin:end], self._values[begin:end]
        return others[is_kept[others]], values[is_kept[others]]


def _copy_of(
    text: int, paired: tuple[Offsets, npt.NDArray[np.float64]], others: list[int], similar: Similar
) -> Copy | None:
    """The copy that a text is of one of those that are kept; None where it is of none.

    Args:
        text: its number.
        paired: those that it is paired with, and their similarity.
        others: all of its cluster: of many that are alike, not every two were paired.
        similar: pairs of similar texts.
    """
    contents = similar.contents
    for other, value in chain(_most_likely(text, *paired, similar), _unpaired(text, paired[0], others, similar)):
        if contents.say_the_same(text, other):
            return Copy(text, other, WORDS if contents.same_words(text, other) else NEAR, value)
    return None


def _most_likely(text: int, others: Offsets, alike: npt.NDArray[Any], similar: Similar) -> Iterator[tuple[int, Any]]:
    """MOST_COMPARED of others, and how they are alike: first those that give the same numbers, then the most alike."""
    hashes = similar.contents.number_hashes
    order = np.lexsort((-alike, hashes[others] != hashes[text]))[:MOST_COMPARED]
    return zip(others[order].tolist(), alike[order].tolist(), strict=True)


def _unpaired(text: int, paired: Offsets, others: list[int], similar: Similar) -> Iterator[tuple[int, float]]:
    """Others that a text was not paired with although it is similar, and their similarity."""
    if len(others) == len(paired):
        return
    rest = np.setdiff1d(others, paired)
    likely = _most_likely(text, rest, agreement(similar.tags, text, rest), similar)
    chosen = [other for other, agreeing in likely if may_be_similar(agreeing, similar.least)]
    values = similar.contents.similarities(np.array([(text, other) for other in chosen], np.int64).reshape(-1, 2))
    yield from ((other, value) for other, value in zip(chosen, values.tolist(), strict=True) if value >= similar.least)


def with_equal(copies: list[Copy], equal: Offsets) -> list[Copy]:
    """All copies, equal texts among them.

    Args:
        copies: of `near_copies`.
        equal: of `first_of_equal`.
    """
    by_text = {copy.text: copy for copy in copies}
    every = list(copies)
    for text in np.flatnonzero(equal != np.arange(len(equal))).tolist():
        first = int(equal[text])
        near = by_text.get(first)
        every.append(Copy(text, near.kept, near.kind, near.similarity) if near else Copy(text, first, EXACT, 1.0))
    return every
