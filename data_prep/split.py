"""Training or validation, decided by what a text is: no text is on both sides, and no run decides otherwise."""

import hashlib
from collections.abc import Buffer, Callable

import numpy as np
import numpy.typing as npt

TRAIN, VALID, DROPPED = 0, 1, 2
"""What becomes of a document. DROPPED: a second copy of a validation text."""


def text_hasher(seed: int) -> Callable[[Buffer], int]:
    """A function from a text's UTF-8 to the first 64 bits of SHA-256(seed, text): its rank in the draw; never 0.

    Two texts that share them count as one text, which is safe; of corpora of a million texts, 1 in 4e7 has such a pair.
    """
    begun = hashlib.sha256(f"{seed}\n".encode())

    def rank(text: Buffer) -> int:
        digest = begun.copy()
        digest.update(text)
        return int.from_bytes(digest.digest()[:8]) or 1

    return rank


def split(hashes: dict[str, npt.NDArray[np.uint64]], fraction: float) -> dict[str, npt.NDArray[np.int8]]:
    """Decide for each document of each source.

    In each source, the `fraction` of the distinct texts with the lowest hashes is drawn for validation: at least one,
    and none where there is only one text. A text that is drawn in any source is validation everywhere; its first
    document, in the order of the sources and of their documents, is VALID, the others DROPPED.

    Args:
        hashes: source -> hash of each document's text, in order.
        fraction: part of each source's distinct texts, between 0 and 1.

    Returns:
        source -> TRAIN, VALID or DROPPED for each document.
    """
    drawn = np.unique(np.concatenate([_draw(np.unique(values), fraction) for values in hashes.values()]))
    taken = np.array([], dtype=np.uint64)
    decisions = {}
    for source, values in hashes.items():
        decision = np.where(np.isin(values, drawn), DROPPED, TRAIN).astype(np.int8)
        distinct, first = np.unique(values, return_index=True)
        kept = np.isin(distinct, drawn) & ~np.isin(distinct, taken)
        decision[first[kept]] = VALID
        taken = np.concatenate([taken, distinct[kept]])
        decisions[source] = decision
    return decisions


def _draw(distinct: npt.NDArray[np.uint64], fraction: float) -> npt.NDArray[np.uint64]:
    """The lowest of the sorted hashes of a source's distinct texts."""
    count = min(max(1, round(fraction * len(distinct))), len(distinct) - 1)
    return distinct[:count]
