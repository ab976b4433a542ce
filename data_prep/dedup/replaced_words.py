"""Words that one text has where another has others: entries that differ only in a drug's name are different.

A name cannot be told from other words: it may be in capitals or not, common or rare. So every place counts where one
text has words that the other has nowhere, and the other has words there that the first has nowhere. In a short text one
such place is enough; in a long one they have to recur, as a leaflet's product does and a word that a revision replaced
does not.
"""

import numpy as np
import numpy.typing as npt

from .shingles import MULTIPLIER, Hashes, among, mixed

WordHashes = npt.NDArray[np.uint32]
AROUND = 3
"""Words before such a place, and after it, that both texts have."""
STEPS = np.array([*range(-AROUND, 0), *range(1, AROUND + 1)])
WEIGHTS = MULTIPLIER ** np.arange(len(STEPS), dtype=np.uint64)
WORDS_A_PLACE = 200
"""Texts name different things if at least one place in this many words was replaced."""


def name_others(first: WordHashes, second: WordHashes) -> bool:
    """Whether two texts name different things.

    Args:
        first, second: the words of each, in their order.
    """
    ours = _places(first, second)
    if not len(ours):
        return False
    theirs = _places(second, first)
    places = int(min(np.count_nonzero(among(ours, theirs)), np.count_nonzero(among(theirs, ours))))
    return places > 0 and places * WORDS_A_PLACE >= min(len(first), len(second))


def _places(words: WordHashes, others: WordHashes) -> Hashes:
    """Hash of what stands around each run of words that another text has nowhere, in order of size."""
    only = ~among(words, np.sort(others))
    if not only.any():
        return np.empty(0, np.uint64)
    begins = only.copy()
    begins[1:] &= ~only[:-1]
    # Each run is one word here, the same for all.
    sequence = np.where(only, np.uint64(1), words.astype(np.uint64))[begins | ~only]
    places = np.flatnonzero(begins[begins | ~only]) + AROUND
    padded = np.concatenate([np.zeros(AROUND, np.uint64), sequence, np.zeros(AROUND, np.uint64)])
    return np.sort(mixed((padded[places[:, None] + STEPS] * WEIGHTS).sum(1, dtype=np.uint64)))
