"""Which text of several alike is kept: one that all others of its cluster were compared with."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .minhash import agreement, may_be_similar
from .near_duplicates import Similar
from .shingles import Hashes, Offsets

KEPT, EXACT, WORDS, NEAR = "kept", "exact", "words", "near"
"""How a text is like the one that stands for it: it is that one; equal; the same words in the same order, whatever
their case, spaces and punctuation; or a near-duplicate."""
MOST_COMPARED = 16
"""Texts that one is compared with at most, of those kept of its cluster: first those that give the same numbers."""


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
    clusters = similar.clusters(len(ranks))
    linked = np.unique(similar.pairs)
    kept: dict[int, list[int]] = defaultdict(list)
    copies: list[Copy] = []
    for text in linked[np.argsort(ranks[linked])].tolist():
        others = kept[int(clusters[text])]
        copy = _copy_of(text, np.array(others, np.int64), similar)
        if copy is None:
            others.append(text)
        else:
            copies.append(copy)
    return copies


def _copy_of(text: int, others: Offsets, similar: Similar) -> Copy | None:
    """The copy that a text is of one of others; None where it is of none."""
    contents, agreeing = similar.contents, agreement(similar.tags, text, others)
    others_numbers = contents.number_hashes[others] != contents.number_hashes[text]
    likely = np.lexsort((-agreeing, others_numbers))[:MOST_COMPARED]
    likely = others[likely[may_be_similar(agreeing[likely], similar.least)]]
    values = contents.similarities(np.stack([np.full(len(likely), text), likely], axis=1))
    for other, value in zip(likely.tolist(), values.tolist(), strict=True):
        if value >= similar.least and contents.say_the_same(text, other):
            return Copy(text, other, WORDS if contents.same_words(text, other) else NEAR, value)
    return None


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


def kept_mask(copies: list[Copy], texts: int) -> npt.NDArray[np.bool_]:
    """Which texts are no copies, [texts]."""
    mask = np.ones(texts, bool)
    mask[[copy.text for copy in copies]] = False
    return mask
