"""Encoding a long text a piece at a time, so that the pieces' ids, one after the other, are its own.

Qwen3's tokenizer composes characters (NFC), then cuts text into words with WORD_PATTERN, and makes tokens within words
alone. A match that ends with a letter or a digit ends before what is neither: a run of letters ends there, and a digit
is a word by itself. So a word ends between a letter and an ASCII character that is no letter, mark or digit, and
between a digit and any ASCII character. What comes before the cut is matched alike without what follows, since the
pattern looks ahead only past white space, and what follows is matched alike without what came before, since it never
looks back. ASCII characters are not composed with what precedes them.

A word that is longer than a piece is cut between two of its tokens. BPE merges the pair of lowest rank first, and of
those the leftmost. A merge across the border of two tokens would be made when the two are encoded by themselves, too,
since the merges within them come in the same order whatever stands around them. So tokens are the encoding of their
text if each two neighbours are, and neighbours in any encoding are. Of a piece that ends within a word, the tokens up
to one near its end are kept; the next piece begins with that token's text, and if it begins with the same token, all
neighbours have been seen in one of the two encodings. If it does not, both are encoded as one piece.
"""

import re
from collections.abc import Buffer, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core import log
from .tokenizer import WORD_PATTERN

PIECE_BYTES = 2**20
"""Bytes of UTF-8 in a piece; a longer text is cut."""
OVERLAP_BYTES = 2**12
"""Bytes that two pieces share where a word is cut: what follows hardly changes tokens that far before it."""
LETTERS = "A-Za-zÀ-ÖØ-öø-ʯЀ-ҁ一-龥"
"""Letters in every version of Unicode that a tokenizer may have, which compose with no ASCII character."""
LONG_BYTES = 16 * PIECE_BYTES
"""Bytes without a place to cut them, from which on there is a warning: a back end takes up to 60 times as many."""
CUT = re.compile(f"(?<=[{LETTERS}])(?=[\\x00-/:-@\\[-`{{-\\x7f])|(?<=[0-9])(?=[\\x00-\\x7f])")
WITHIN_WORD = re.compile(f"[{LETTERS}]+|[!-/:-@\\[-`{{-~]+")
"""Text within which no word ends or begins: letters, or signs. NFC leaves these characters as they are."""

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class _Held:
    """Tokens of a piece that ends within a word.

    Attributes:
        begin: byte of the text where the piece begins.
        ids: its tokens up to where the next piece begins.
        following: the token that the next piece should begin with.
    """

    begin: int
    ids: Ids
    following: int


def encode_pieces(
    text: Buffer, encode: Callable[[str], Ids], token_bytes: npt.NDArray[np.int32], size: int = PIECE_BYTES
) -> Iterator[Ids]:
    """The ids of a text, in parts; a piece is longer than `size` where there is no place to cut it.

    Args:
        text: UTF-8.
        encode: gives the ids of a piece.
        token_bytes: bytes of each token.
        size: bytes of a piece.
    """
    whole = memoryview(text)
    begin, length, held = 0, size, None
    while begin < len(whole):
        last = begin + length >= len(whole)
        piece = bytes(whole[begin : begin + length]).decode("utf-8", "ignore")  # but for a character that goes on
        cut = len(piece) if last else _last_cut(piece)
        tail = b"" if cut else _tail_within_word(piece, min(OVERLAP_BYTES, size // 2))
        if not cut and not tail:
            _say_uncut(len(whole), length)
            length *= 2
            continue
        ids = encode(piece[:cut] if cut else piece)
        if held is not None and ids[0] != held.following:
            begin, length, held = held.begin, 2 * (begin + length - held.begin), None
            continue
        kept, behind = (len(ids), 0) if cut else _kept_tokens(ids, token_bytes, tail)
        if not kept:
            length *= 2
            continue
        if held is not None:
            yield held.ids
        held = None if cut else _Held(begin, ids[:kept], int(ids[kept]))
        if cut:
            yield ids
        begin += len((piece[:cut] if cut else piece).encode()) - behind
        length = size


def _tail_within_word(piece: str, overlap: int) -> bytes:
    """The end of a piece, of about `overlap` bytes, where it lies within one word; else nothing."""
    tail = piece[-overlap:]
    return tail.encode()[-overlap:] if len(piece) > overlap and WITHIN_WORD.fullmatch(tail) else b""


def _kept_tokens(ids: Ids, token_bytes: npt.NDArray[np.int32], tail: bytes) -> tuple[int, int]:
    """Number of a piece's tokens up to a character in its tail, and the bytes after them; 0 where there is none.

    Args:
        ids: of the piece.
        token_bytes: bytes of each token.
        tail: the end of its text.
    """
    behind = np.cumsum(token_bytes[ids[: -len(tail) - 1 : -1]])
    for number in range(int(np.searchsorted(behind, len(tail), side="left")), 0, -1):
        if tail[-int(behind[number - 1])] & 0xC0 != 0x80:
            return len(ids) - number, int(behind[number - 1])
    return 0, 0


def _say_uncut(size: int, length: int) -> None:
    if length < LONG_BYTES <= 2 * length:
        log.warn(
            f"a text of {size / 1e6:.0f} MB has no place to cut it in {LONG_BYTES / 1e6:.0f} MB: "
            "it is tokenized whole there, which takes up to 60 times as much memory"
        )


def _last_cut(piece: str) -> int:
    """The last place in a text to cut it, near its end if there is one; 0 where there is none."""
    for start in (max(1, len(piece) - 1000), 1):
        places = [match.start() for match in CUT.finditer(piece, start)]
        if places and places[-1] < len(piece):
            return places[-1]
    return 0


def cuts_alike(definition: dict[str, Any]) -> bool:
    """Whether a tokenizer composes, cuts and merges text as Qwen3's does, by its `tokenizer.json`."""
    normalizer, pre = definition.get("normalizer"), definition.get("pre_tokenizer")
    steps = pre.get("pretokenizers", []) if isinstance(pre, dict) else []
    model = definition["model"]
    return (
        isinstance(normalizer, dict)
        and normalizer.get("type") == "NFC"
        and [step.get("type") for step in steps] == ["Split", "ByteLevel"]
        and steps[0].get("pattern") == {"Regex": WORD_PATTERN}
        and steps[0].get("behavior") == "Isolated"
        and not steps[1].get("use_regex")
        and not steps[1].get("add_prefix_space")
        and not any(model.get(name) for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"))
    )
