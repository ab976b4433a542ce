"""Words of many texts, counted in their bytes."""

import numpy as np
import numpy.typing as npt

from .split import BLOCK_BYTES, Bytes, Offsets

_WIDE_SPACES = {
    0xC2: ("\x85", "\xa0"),
    0xE1: ("\u1680",),
    0xE2: (*map(chr, range(0x2000, 0x200B)), "\u2028", "\u2029", "\u202f", "\u205f"),
    0xE3: ("\u3000",),
}
"""First byte -> white space that begins with it: as `str.split` knows it."""
_WIDEST = 3
"""Bytes of the longest white space."""


def count_words(values: Bytes, offsets: Offsets) -> npt.NDArray[np.int64]:
    """Words of each text, as `len(text.split())` counts them; control characters are white space, too.

    Args:
        values: UTF-8 of all texts.
        offsets: where each begins, [documents + 1].
    """
    counts = np.zeros(len(offsets) - 1, np.int64)
    for begin in range(0, len(values), BLOCK_BYTES):  # places take eight bytes each
        end, first = min(begin + BLOCK_BYTES, len(values)), max(0, begin - _WIDEST)
        space = _white_space(values[first : end + _WIDEST])[: end - first]
        begins = ~space
        np.greater(space[:-1], space[1:], out=begins[1:])  # a space, and then none
        starts = offsets[:-1][(offsets[:-1] >= begin) & (offsets[:-1] < end)] - first
        begins[starts] = ~space[starts]  # a text does not go on with the word that ends the one before
        counts += np.diff(_marked_before(begins[begin - first :], offsets.clip(begin, end) - begin))
    return counts


def _white_space(values: Bytes) -> npt.NDArray[np.bool_]:
    """Which bytes are white space or control characters, [bytes]."""
    space = values <= 32
    rare = np.flatnonzero((values == 0xC2) | (values > 0xE0))  # quotes, dashes and «; no French letter
    firsts = values[rare]
    for first, spaces in _WIDE_SPACES.items():
        places = rare[firsts == first]
        for wide in spaces:
            tail = wide.encode()[1:]
            at = places[places + len(tail) < len(values)]
            for number, byte in enumerate(tail, start=1):
                at = at[values[at + number] == byte]
            for number in range(len(tail) + 1):
                space[at + number] = True
    return space


def _marked_before(marks: npt.NDArray[np.bool_], places: Offsets) -> npt.NDArray[np.int64]:
    """How many marks there are before each place: bits are counted 64 at once, which is quicker than text by text."""
    packed, bits = np.packbits(marks, bitorder="little"), np.zeros(len(marks) // 64 + 1, np.uint64)
    bits.view(np.uint8)[: len(packed)] = packed
    before = np.cumsum(np.bitwise_count(bits), dtype=np.int64) - np.bitwise_count(bits)
    block, rest = places >> 6, (places & 63).astype(np.uint64)
    return before[block] + np.bitwise_count(bits[block] & ((np.uint64(1) << rest) - np.uint64(1)))
