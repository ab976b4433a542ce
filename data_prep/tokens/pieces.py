"""Encoding a long text a piece at a time, so that the pieces' ids, one after the other, are its own.

Qwen3's tokenizer composes characters (NFC), then cuts text into words, and makes tokens within words alone. So a piece
ends where a word does (`words.py`). Where no word certainly ends within a piece, it is a word or two that are longer:
they are found one by one, and encoded by the model itself, which knows no words.

A word that is longer than a piece is cut between two of its tokens. BPE merges the pair of lowest rank first, and of
those the leftmost. A merge across the border of two tokens would be made when the two are encoded by themselves, too,
since the merges within them come in the same order whatever stands around them. So tokens are the encoding of their
text if each two neighbours are, and neighbours in any encoding are. Of a piece that ends within a word, the tokens up
to one near its end are kept; the next piece begins with that token's text, and if it begins with the same token, all
neighbours have been seen in one of the two encodings. If it does not, both are encoded as one piece.
"""

from collections.abc import Buffer, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...core import log
from .tokenizer import WORD_PATTERN
from .words import compose, decode, holds_unknown, last_border, word_end

PIECE_BYTES = 2**18
"""Bytes of UTF-8 in a piece; a longer text is cut. The reference takes up to 500 bytes for each."""
WORD_BYTES = 2**16
"""Bytes in a piece of a word: the model gives tokens as objects of 100 bytes, and is slower the more there are."""
OVERLAP_BYTES = 2**12
"""Bytes that two pieces share where a word is cut: what follows hardly changes tokens that far before it."""
LONG_BYTES = 64 * PIECE_BYTES
"""Bytes without a place to cut them, from which on there is a warning: a back end takes up to 60 times as many."""

Ids = npt.NDArray[np.int32]


@dataclass(frozen=True)
class PieceEncoder:
    """Encoding of what a long text is cut into.

    Attributes:
        text: gives the ids of a text that is cut where words end.
        word: gives the ids of UTF-8 that is a part of one word, and may begin or end within a character.
        token_bytes: bytes of each token.
    """

    text: Callable[[str], Ids]
    word: Callable[[bytes], Ids]
    token_bytes: npt.NDArray[np.int32]


def encode_pieces(text: Buffer, encoder: PieceEncoder, size: int = PIECE_BYTES) -> Iterator[Ids]:
    """The ids of a text, in parts.

    A piece is longer than `size` only where no word ends in it and the text holds characters that Python does not know.

    Args:
        text: UTF-8.
        encoder: encodes the pieces.
        size: bytes of a piece.
    """
    whole = compose(memoryview(text))
    begin, length, unknown = 0, size, None
    while begin < len(whole):
        piece = decode(whole, begin, length)
        cut = len(piece) if begin + length >= len(whole) else last_border(piece)
        if cut:
            yield encoder.text(piece[:cut])
            begin, length = begin + len(piece[:cut].encode()), size
            continue
        if unknown is None:
            unknown = holds_unknown(whole)
        if unknown:
            _say_uncut(len(whole), length)
            length *= 2
            continue
        end = word_end(whole, begin)
        yield from _encode_word(whole[begin:end], encoder, min(size, WORD_BYTES))
        begin = end


@dataclass(frozen=True)
class _Held:
    """Tokens of a piece that ends within a word.

    Attributes:
        begin: byte of the word where the piece begins.
        ids: its tokens up to where the next piece begins.
        following: the token that the next piece should begin with.
    """

    begin: int
    ids: Ids
    following: int


def _encode_word(word: memoryview, encoder: PieceEncoder, size: int) -> Iterator[Ids]:
    """The ids of a word, in parts. A piece is longer than `size` only where a token is, or tokens depend on more."""
    begin, length, held = 0, size, None
    while True:
        ids = encoder.word(bytes(word[begin : begin + length]))
        if held is not None and ids[0] != held.following:
            begin, length, held = held.begin, 2 * (begin + length - held.begin), None
            continue
        last = begin + length >= len(word)
        kept, behind = (len(ids), 0) if last else _kept_tokens(ids, encoder.token_bytes, min(OVERLAP_BYTES, size // 2))
        if not kept:
            length *= 2
            continue
        if held is not None:
            yield held.ids
        if last:
            yield ids
            return
        held = _Held(begin, ids[:kept], int(ids[kept]))
        begin, length = begin + length - behind, size


def _kept_tokens(ids: Ids, token_bytes: npt.NDArray[np.int32], overlap: int) -> tuple[int, int]:
    """Number of a piece's tokens that end so many bytes before its end or nearer to it, and the bytes after them.

    The number is 0 where the last token alone is longer.
    """
    behind = np.cumsum(token_bytes[ids[: -overlap - 1 : -1]])
    number = int(np.searchsorted(behind, overlap, side="right"))
    return (len(ids) - number, int(behind[number - 1])) if number else (0, 0)


def _say_uncut(size: int, length: int) -> None:
    if length < LONG_BYTES <= 2 * length:
        log.warn(
            f"a text of {size / 1e6:.0f} MB cannot be cut anywhere within {LONG_BYTES / 1e6:.0f} MB: "
            "that part is tokenized as a whole, which takes up to 60 times as much memory"
        )


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
