"""Words and shingles of texts as hashes, by which texts are compared regardless of spaces and punctuation.

A word is a run of letters, in lower case, or of digits. So a text that was cut into tokens, and put together again with
a blank between them, has the words of the original.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from ..tokens.selection.shards import utf8

pc: Any = pyarrow.compute  # which makes its functions when it is imported
SHINGLE = 5
"""Words of a shingle. A text of fewer words is one shingle."""

Hashes = npt.NDArray[np.uint64]
Shingles = npt.NDArray[np.uint32]
Offsets = npt.NDArray[np.int64]

MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
KINDS = bytes(2 * (48 <= byte < 58) or byte > 127 or chr(byte).isalpha() for byte in range(256))
"""1 for a byte of a letter, 2 for a digit, 0 for a blank or sign; all that is not ASCII counts as a letter first."""

FIRST_OF_SEVERAL = 0xC2
"""Lowest byte that a character of several bytes of UTF-8 begins with."""


def _among_bytes(chosen: Iterable[int]) -> npt.NDArray[np.bool_]:
    return np.isin(np.arange(256), [*chosen])


OTHER_SIGNS = (
    (0xC2, ~_among_bytes([0xAA, 0xB2, 0xB3, 0xB5, 0xB9, 0xBA]), 2),  # all but ª ² ³ µ ¹ º
    (0xC3, _among_bytes([0x97, 0xB7]), 2),  # × ÷
    # Between them are raised and lowered digits.
    (0xE2, _among_bytes([0x80, 0x83, *range(0x86, 0xB0), 0xB8, 0xB9, 0xBA]), 3),
    (0xE3, _among_bytes([0x80]), 3),
)
"""Signs and blanks beyond ASCII: their first byte, which second bytes they have, and their length."""
KEPT_BYTES = np.array([2 ** (8 * count) - 1 for count in range(9)], np.uint64)
"""Mask of the first bytes of eight, by their number."""


class Words(NamedTuple):
    """The words of some texts.

    Attributes:
        hashes: of each word, [words].
        offsets: where each text's words begin, [texts + 1].
        borders: where each text's bytes begin, [texts + 1].
        values: the texts' bytes, in lower case.
        starts: of each word in them, [words].
        ends: byte after each word, [words].
    """

    hashes: Hashes
    offsets: Offsets
    borders: Offsets
    values: npt.NDArray[np.uint8]
    starts: Offsets
    ends: Offsets


def words_of(text: pa.StringArray) -> Words:
    """The words of texts, [texts]."""
    values, offsets = utf8(pc.utf8_lower(text))
    kinds = _kinds(values)
    changes = np.ones(len(kinds) + 1, bool)
    np.not_equal(kinds[1:], kinds[:-1], out=changes[1:-1])
    changes[offsets] = True  # no word goes on in the next text
    edges = np.flatnonzero(changes)
    in_word = kinds[edges[:-1]] > 0
    starts, ends = edges[:-1][in_word], edges[1:][in_word]
    return Words(
        hashes=_hash_words(values, starts, ends),
        offsets=np.searchsorted(starts, offsets),
        borders=offsets,
        values=values,
        starts=starts,
        ends=ends,
    )


def _kinds(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """1 for a byte of a letter, 2 for a digit, 0 for any other, [bytes]."""
    kinds = np.frombuffer(bytearray(values).translate(KINDS), np.uint8)
    following = np.append(values[1:], np.zeros(2, np.uint8))
    beyond_ascii = np.flatnonzero(values >= FIRST_OF_SEVERAL)
    for first, signs, length in OTHER_SIGNS:
        places = beyond_ascii[values[beyond_ascii] == first]
        places = places[signs[following[places]]]
        for byte in range(length):
            kinds[places + byte] = 0
    return kinds


def _hash_words(values: npt.NDArray[np.uint8], starts: Offsets, ends: Offsets) -> Hashes:
    """Hash of each word, from eight of its bytes at a time, [words]."""
    padded = np.concatenate([values, np.zeros(8, np.uint8)])
    eights = np.ndarray((len(values) + 1,), "<u8", padded, strides=(1,))
    lengths = ends - starts
    hashes = mixed(eights[starts] & KEPT_BYTES[np.minimum(lengths, 8)])
    at, place = 8, np.flatnonzero(lengths > 8)
    while len(place):
        rest = eights[starts[place] + at] & KEPT_BYTES[np.minimum(lengths[place] - at, 8)]
        hashes[place] = mixed(hashes[place] ^ rest)
        at += 8
        place = place[lengths[place] > at]
    return hashes


def mixed(values: Hashes) -> Hashes:
    """Numbers, spread over 64 bits."""
    values = values * MULTIPLIER
    return (values ^ (values >> np.uint64(29))) * MULTIPLIER


def runs_of(words: Words, length: int) -> tuple[Hashes, Offsets]:
    """Hash of every `length` words in a row of each text, and where each text's begin, [texts + 1]."""
    counts = np.maximum(np.diff(words.offsets) - length + 1, 0)
    runs = mixed(_runs(words.hashes, length)[_begins_run(words.offsets, length)])
    return runs, np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def shingles_of(words: Words) -> tuple[Shingles, Offsets]:
    """The shingles of each text, as often as they are in it, and where each text's begin, [texts + 1]."""
    runs, begins_shingle = _runs(words.hashes, SHINGLE), _begins_run(words.offsets, SHINGLE)
    begins, ends = words.offsets[:-1], words.offsets[1:]
    short = np.flatnonzero((ends > begins) & (ends - begins < SHINGLE))
    runs[begins[short]] = _short_runs(words.hashes, begins[short], ends[short])
    begins_shingle[begins[short]] = True
    counts = np.where(ends > begins, np.maximum(ends - begins - SHINGLE + 1, 1), 0)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    return (mixed(runs[begins_shingle]) >> np.uint64(32)).astype(np.uint32), offsets


def _runs(hashes: Hashes, length: int) -> Hashes:
    """Hash of the `length` words that begin with each word, whatever text they are of, [words]."""
    runs = hashes.copy()
    for further in range(1, length):
        runs[:-further] = runs[:-further] * MULTIPLIER + hashes[further:]
    return runs


def _begins_run(offsets: Offsets, length: int) -> npt.NDArray[np.bool_]:
    """Whether `length` words of one text begin with each word, [words]."""
    begins_run = np.ones(offsets[-1], bool)
    for before in range(1, length):
        places = offsets[1:] - before
        begins_run[places[places >= offsets[:-1]]] = False
    return begins_run


def _short_runs(hashes: Hashes, begins: Offsets, ends: Offsets) -> Hashes:
    """Hash of all words of texts that have fewer than a shingle."""
    runs = hashes[begins]
    for further in range(1, SHINGLE):
        places = np.minimum(begins + further, len(hashes) - 1)
        runs = runs * MULTIPLIER + np.where(begins + further < ends, hashes[places], np.uint64(0))
    return runs


def distinct(shingles: Shingles, offsets: Offsets) -> tuple[Shingles, Offsets]:
    """The shingles of each text, each once and in order, and where each text's begin, [texts + 1]."""
    texts = np.repeat(np.arange(len(offsets) - 1, dtype=np.uint64) << np.uint64(32), np.diff(offsets))
    each = sorted_distinct(texts | shingles)
    begins = np.searchsorted(each, np.arange(len(offsets), dtype=np.uint64) << np.uint64(32))
    return each.astype(np.uint32), begins


def sorted_distinct[T: np.generic](values: npt.NDArray[T]) -> npt.NDArray[T]:
    """Each value once, in order; of numbers that hardly repeat, five times as fast as `np.unique`."""
    values = np.sort(values)
    new = np.ones(len(values), bool)
    np.not_equal(values[1:], values[:-1], out=new[1:])
    return values[new]


def among[T: np.generic](values: npt.NDArray[T], others: npt.NDArray[T]) -> npt.NDArray[np.bool_]:
    """Which values are among others, which are in order."""
    if not len(others):
        return np.zeros(len(values), bool)
    return others[np.minimum(np.searchsorted(others, values), len(others) - 1)] == values
