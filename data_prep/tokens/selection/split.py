"""Training or validation, decided by the hash of a text: no text is on both sides, and every run decides alike."""

import hashlib
from collections.abc import Buffer, Callable
from fractions import Fraction
from itertools import pairwise

import numpy as np
import numpy.typing as npt

TRAIN, VALID, DROPPED, DUPLICATE, TEST, DEV = range(6)
"""Decisions on a document.

DROPPED: another copy of a text that is held out or withheld. DUPLICATE: another copy of a training text. TEST and DEV:
of a publisher's test or validation part, and withheld.
"""
SIDES = 6
BLOCK_BYTES = 2**23
"""Bytes of texts that are looked at together: more than a batch has, except one with a long text."""
BLANK = ord(" ")

Hashes = npt.NDArray[np.uint64]
Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]


def text_hasher(seed: int) -> Callable[[Buffer], int]:
    """A function from a text's UTF-8 to the first 64 bits of SHA-256(seed, text): its rank in the draw; never 0.

    Two texts that share them count as one text, which is safe; of corpora of a million texts, 1 in 4e7 has such a pair.
    """
    begun = _begun(seed)

    def rank(text: Buffer) -> int:
        digest = begun.copy()
        digest.update(text)
        return int.from_bytes(digest.digest()[:8]) or 1

    return rank


def _begun(seed: int) -> "hashlib._Hash":
    return hashlib.sha256(f"{seed}\n".encode())


def hash_texts(values: Bytes, offsets: Offsets, seed: int) -> Hashes:
    """The hash of each text, [documents]; texts that differ only in how many blanks stand in a row have the same.

    Args:
        values: UTF-8 of all texts.
        offsets: where each begins, [documents + 1].
        seed: see `text_hasher`.
    """
    begun = _begun(seed)
    if len(values) > BLOCK_BYTES:
        digests = b"".join(_long_digest(values[start:stop], begun) for start, stop in pairwise(offsets.tolist()))
    else:
        digests = _digests(*_fold_blanks(values, offsets), begun)
    ranks = np.frombuffer(digests, ">u8").reshape(-1, begun.digest_size // 8)[:, 0]
    return np.maximum(ranks.astype(np.uint64), 1)


def _digests(values: Bytes, offsets: Offsets, begun: "hashlib._Hash") -> bytearray:
    begin, view, digests = begun.copy, memoryview(values), bytearray()
    for start, stop in pairwise(offsets.tolist()):  # one text at a time is what costs: as little as can be
        digest = begin()
        digest.update(view[start:stop])
        digests += digest.digest()
    return digests


def _long_digest(text: Bytes, begun: "hashlib._Hash") -> bytes:
    """The digest of one text of any length, of which a block is held at once."""
    digest = begun.copy()
    for begin in range(0, len(text), BLOCK_BYTES):
        before = min(begin, 1)  # the byte before a block tells whether its first blank is another's
        block = text[begin - before : begin + BLOCK_BYTES]
        digest.update(block[~_again(block)][before:])  # the byte before is never left out: it is the block's first
    return digest.digest()


def _again(values: Bytes) -> npt.NDArray[np.bool_]:
    """Which bytes are blanks after a blank, [bytes]."""
    blank, again = values == BLANK, np.zeros(len(values), bool)
    np.logical_and(blank[1:], blank[:-1], out=again[1:])
    return again


def _fold_blanks(values: Bytes, offsets: Offsets) -> tuple[Bytes, Offsets]:
    """Texts with one blank for each run of them, and where each begins."""
    again = _again(values)
    again[offsets[:-1][offsets[:-1] < len(values)]] = False  # a text may begin with one
    if not again.any():
        return values, offsets
    return values[~again], offsets - np.searchsorted(np.flatnonzero(again), offsets)


def split(
    clusters: Hashes,
    strata: npt.NDArray[np.int64],
    domains: npt.NDArray[np.int64],
    fraction: float,
    withheld: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int8]:
    """Decide for each document whether it is trained on or held out.

    Of each domain's distinct texts `fraction` is held out, rounded, at least one and never all; they are shared among
    the domain's strata by size (see `quotas`). In each stratum those with the lowest hashes are drawn. A text belongs
    to the stratum of its first document, which is the one that is held out; its other documents are dropped, wherever
    they are. So are the copies of withheld texts.

    Args:
        clusters: hash of what counts as one text, [documents], in order of preference.
        strata: number of each document's stratum, [documents].
        domains: number of each stratum's domain, [strata]; those of a domain are neighbours.
        fraction: part of each domain's distinct texts, between 0 and 1.
        withheld: which documents are on neither side, [documents].

    Returns:
        TRAIN, VALID or DROPPED for each document; DROPPED for those withheld.
    """
    sides = np.full(len(clusters), TRAIN, np.int8)
    if withheld is not None and withheld.any():
        sides[np.isin(clusters, clusters[withheld])] = DROPPED
    left = np.flatnonzero(sides == TRAIN)
    distinct, first = np.unique(clusters[left], return_index=True)  # by rising hash
    home = strata[left[first]]
    sizes = np.bincount(home, minlength=len(domains))
    order = np.argsort(home, kind="stable")
    rank = np.arange(len(home)) - (np.cumsum(sizes) - sizes)[home[order]]
    drawn = order[rank < np.concatenate([np.zeros(0, np.int64), *_by_domain(sizes, domains, fraction)])[home[order]]]
    sides[left[np.isin(clusters[left], distinct[drawn])]] = DROPPED
    sides[left[first[drawn]]] = VALID
    return sides


def _by_domain(
    sizes: npt.NDArray[np.int64], domains: npt.NDArray[np.int64], fraction: float
) -> list[npt.NDArray[np.int64]]:
    borders = np.flatnonzero(np.diff(domains)) + 1
    return [quotas(part, fraction) for part in np.split(sizes, borders)]


def quotas(sizes: npt.NDArray[np.int64], fraction: float) -> npt.NDArray[np.int64]:
    """How many of each stratum's texts are held out.

    The strata lie one after the other, and each gives what its stretch adds to the domain's rounded share: one of 50
    texts gives 1 of 2 %, and 25 of two texts together give 1. No run of neighbouring strata gives a whole text more or
    less than its share, but where the share of all is less than half a text: then the largest gives one.

    Args:
        sizes: texts of each, [strata].
        fraction: of all of them.
    """
    part = Fraction(str(fraction))
    most = max(0, int(sizes.sum()) - 1)
    reached = [min(round(part * int(size)), most) for size in np.cumsum(sizes)]
    held_out = np.diff(np.array([0, *reached], np.int64))
    if most and not reached[-1]:
        held_out[np.argmax(sizes)] = 1
    return held_out


def mark_duplicates(sides: npt.NDArray[np.int8], texts: Hashes) -> None:
    """Make DUPLICATE of every training document whose text an earlier one has.

    Args:
        sides: changed in place, [documents].
        texts: hash of each document's text, [documents], in order of preference.
    """
    trained = np.flatnonzero(sides == TRAIN)
    again = np.ones(len(trained), bool)
    again[np.unique(texts[trained], return_index=True)[1]] = False
    sides[trained[again]] = DUPLICATE
