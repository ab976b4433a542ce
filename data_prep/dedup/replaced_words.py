"""Words that one text has where another has others: two entries that differ in a drug's name alone are two texts.

A name cannot be told from other words: it may be in capitals or not, common or rare. So every word counts that one text
has and the other has nowhere, where words stand in its place that the first has nowhere. In a short text one such place
is enough; in a long one they have to recur, as a leaflet's product does and a word that a revision replaced does not.
"""

import numpy as np
import numpy.typing as npt

from .shingles import MULTIPLIER, Hashes, Offsets, among, mixed, sorted_distinct

WordHashes = npt.NDArray[np.uint32]
AROUND = 3
"""Words before such a place, and after it, that both texts have."""
WORDS_A_PLACE = 200
"""Texts name different things if one place in so many words, or more, was replaced."""


def name_others(first: WordHashes, second: WordHashes) -> bool:
    """Whether two texts name different things.

    Args:
        first, second: the words of each, in their order.
    """
    ours, theirs = _places(first, second), _places(second, first)
    places = min(np.count_nonzero(among(ours, theirs)), np.count_nonzero(among(theirs, ours)))
    return places > 0 and places * WORDS_A_PLACE >= min(len(first), len(second))


def _places(words: WordHashes, others: WordHashes) -> Hashes:
    """Hash of what stands around each run of words that another text has nowhere, in order of size."""
    only = ~among(words, sorted_distinct(others))
    begins = only.copy()
    begins[1:] &= ~only[:-1]
    # Each run is one word here, the same for all.
    sequence = np.where(only, np.uint64(1), words.astype(np.uint64))[begins | ~only]
    places = np.flatnonzero(begins[begins | ~only]) + AROUND
    padded = np.concatenate([np.zeros(AROUND, np.uint64), sequence, np.zeros(AROUND, np.uint64)])
    return np.sort(_contexts(padded, places))


def _contexts(words: Hashes, places: Offsets) -> Hashes:
    contexts = np.zeros(len(places), np.uint64)
    for step in (*range(-AROUND, 0), *range(1, AROUND + 1)):
        contexts = contexts * MULTIPLIER + words[places + step]
    return mixed(contexts)
