"""MinHash: signatures that agree about as often as texts share shingles, and the candidate pairs."""

from typing import Protocol

import numpy as np
import numpy.typing as npt

from .shingles import MULTIPLIER, Hashes, Offsets, Shingles, among, mixed, sorted_distinct

BANDS, ROWS = 20, 6
"""Two texts are compared if all ROWS hashes of one of BANDS agree: 92 % of those that share 70 % of their shingles,
99.8 % of those that share 80 %."""
HASHES = BANDS * ROWS
WINDOW = 16
"""A text that agrees in a band with more others than this is compared with this many of them, the most similar."""
MARGIN = 0.17
"""How far a signature's estimate of what two texts share is below the truth once in 10,000 times, at most."""
BLOCK = 32_768
"""Shingles that are hashed at once: they stay in a core's cache."""
MIXERS = mixed(np.arange(1, 2 * HASHES + 1, dtype=np.uint64)) >> np.uint64(32)
XORS, FACTORS = MIXERS[:HASHES].astype(np.uint32), MIXERS[HASHES:].astype(np.uint32) | np.uint32(1)


class Bands(Protocol):
    """Keys of the bands of texts, [BANDS, texts]."""

    def __getitem__(self, band: int, /) -> Hashes:
        """Keys of a band, [texts]."""
        ...


Signatures = npt.NDArray[np.uint32]


def sign(shingles: Shingles, offsets: Offsets) -> Signatures:
    """The signature of each text, [texts, HASHES]; of a text without a shingle, zeros.

    Args:
        shingles: of all texts.
        offsets: where each text's begin, [texts + 1].
    """
    signatures = np.zeros((len(offsets) - 1, HASHES), np.uint32)
    filled = np.flatnonzero(np.diff(offsets))
    begins = offsets[filled]
    first = 0
    while first < len(filled):
        last = max(first + 1, int(np.searchsorted(begins, begins[first] + BLOCK)))
        block = shingles[begins[first] : offsets[filled[last - 1] + 1]]
        signatures[filled[first:last]] = _least(block, begins[first:last] - begins[first]).T
        first = last
    return signatures


def _least(shingles: Shingles, begins: Offsets) -> Signatures:
    """The least of each hash over the shingles of each text, [HASHES, texts]."""
    least = np.empty((HASHES, len(begins)), np.uint32)
    hashes = np.empty_like(shingles)
    for number in range(HASHES):
        np.bitwise_xor(shingles, XORS[number], out=hashes)
        np.multiply(hashes, FACTORS[number], out=hashes)
        np.minimum.reduceat(hashes, begins, out=least[number])
    return least


def band_keys(signatures: Signatures) -> Hashes:
    """A number for each band, which texts share that agree in it, [BANDS, texts]."""
    rows = signatures.reshape(-1, BANDS, ROWS).astype(np.uint64)
    keys = rows[:, :, 0]
    for row in range(1, ROWS):
        keys = mixed(keys * MULTIPLIER + rows[:, :, row])
    return keys.T


def candidates(keys: Bands, tags: npt.NDArray[np.uint8], chosen: Offsets, similarity: float) -> Offsets:
    """Pairs of texts that may share `similarity` of their shingles, [pairs, 2]; the lower number first.

    Args:
        keys: of `band_keys`, a band at a time.
        tags: the last byte of each hash of each signature, [texts, HASHES].
        chosen: texts that are compared.
        similarity: see `find_similar`.
    """
    suggested = np.empty(0, np.int64)
    for band in range(BANDS):
        pairs = _neighbours(keys[band][chosen], keys[(band + 1) % BANDS][chosen], chosen)
        pairs = pairs[~among(pairs, suggested)]
        likely = [may_be_similar(agreement(tags, *_unpacked(part)), similarity) for part in _blocks(pairs)]
        suggested = np.sort(np.concatenate([suggested, pairs[np.concatenate(likely)]]))
    return np.stack(_unpacked(suggested), axis=1)


def _neighbours(key: Hashes, tie: Hashes, texts: Offsets) -> Offsets:
    """Pairs of texts with the same key, near each other by the next, as the first's number << 32 | the second's."""
    order = np.argsort(key)
    equal = key[order[1:]] == key[order[:-1]]
    alike = sorted_distinct(np.concatenate([order[1:][equal], order[:-1][equal]]))  # few of them, as a rule
    alike = alike[np.lexsort((texts[alike], tie[alike], key[alike]))]
    texts, key, pairs = texts[alike], key[alike], [np.empty(0, np.int64)]
    for apart in range(1, WINDOW + 1):
        same = np.flatnonzero(key[apart:] == key[:-apart])
        first, second = texts[same], texts[same + apart]
        pairs.append(np.minimum(first, second) << 32 | np.maximum(first, second))
    return sorted_distinct(np.concatenate(pairs))


def _unpacked(pairs: Offsets) -> tuple[Offsets, Offsets]:
    return pairs >> 32, pairs & 0xFFFFFFFF


def _blocks(pairs: Offsets) -> list[Offsets]:
    """Pairs, a part at a time."""
    return np.array_split(pairs, len(pairs) // BLOCK + 1)


def agreement(tags: npt.NDArray[np.uint8], first: Offsets | int, second: Offsets) -> npt.NDArray[np.int64]:
    """How many hashes of the signatures of two texts agree, [pairs].

    Args:
        tags: see `candidates`.
        first, second: numbers of the texts of each pair; the first may be the same in all.
    """
    return np.count_nonzero(tags[first] == tags[second], axis=1)


def may_be_similar(agreeing: npt.NDArray[np.int64], similarity: float) -> npt.NDArray[np.bool_]:
    """Whether texts whose signatures agree so often may share `similarity` of their shingles, [pairs]."""
    return agreeing >= HASHES * (similarity - MARGIN)
