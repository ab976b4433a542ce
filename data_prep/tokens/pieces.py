"""Cutting a long text where no token spans, so that its pieces' ids, one after the other, are its own.

Qwen3's tokenizer composes characters (NFC), then cuts text into words with WORD_PATTERN, and makes tokens within words
alone. A match that ends with a letter or a digit ends before what is neither: a run of letters ends there, and a digit
is a word by itself. So a word ends between a letter and an ASCII character that is no letter, mark or digit, and
between a digit and any ASCII character. What comes before the cut is matched alike without what follows, since the
pattern looks ahead only past white space, and what follows is matched alike without what came before, since it never
looks back. ASCII characters are not composed with what precedes them.
"""

import re
from collections.abc import Buffer, Iterator
from typing import Any

from ...core import log
from .tokenizer import WORD_PATTERN

PIECE_BYTES = 2**20
"""Of UTF-8; a longer text is cut."""
LETTERS = "A-Za-zÀ-ÖØ-öø-ʯЀ-ҁ一-龥"
"""Letters in every version of Unicode that a tokenizer may have, which compose with no ASCII character."""
LONG_BYTES = 16 * PIECE_BYTES
"""Of a text without a place to cut it, from which on it is said: a back end takes up to 60 times its bytes."""
CUT = re.compile(f"(?<=[{LETTERS}])(?=[\\x00-/:-@\\[-`{{-\\x7f])|(?<=[0-9])(?=[\\x00-\\x7f])")


def pieces(text: Buffer, size: int = PIECE_BYTES) -> Iterator[str]:
    """The pieces of a text, each up to `size` bytes where there is a place to cut, and longer where there is none.

    Args:
        text: UTF-8.
        size: bytes of a piece.
    """
    whole = memoryview(text)
    start, end = 0, size
    while end < len(whole):
        piece = bytes(whole[start:end]).decode("utf-8", "ignore")  # but for a character that goes on
        cut = _last_cut(piece)
        if cut:
            yield piece[:cut]
            start += len(piece[:cut].encode())
            end = start + size
        else:
            if end - start < LONG_BYTES <= 2 * (end - start):
                log.warn(
                    f"a text of {len(whole) / 1e6:.0f} MB has no place to cut it in {LONG_BYTES / 1e6:.0f} MB: "
                    "it is tokenized whole there, which takes up to 60 times as much memory"
                )
            end += end - start
    if start < len(whole):
        yield bytes(whole[start:]).decode()


def _last_cut(piece: str) -> int:
    """The last place in a text to cut it, near its end if there is one; 0 where there is none."""
    for start in (max(1, len(piece) - 1000), 1):
        places = [match.start() for match in CUT.finditer(piece, start)]
        if places and places[-1] < len(piece):
            return places[-1]
    return 0


def cuts_alike(definition: dict[str, Any]) -> bool:
    """Whether a tokenizer composes and cuts text as Qwen3's does, by its `tokenizer.json`."""
    normalizer, pre = definition.get("normalizer"), definition.get("pre_tokenizer")
    steps = pre.get("pretokenizers", []) if isinstance(pre, dict) else []
    return (
        isinstance(normalizer, dict)
        and normalizer.get("type") == "NFC"
        and [step.get("type") for step in steps] == ["Split", "ByteLevel"]
        and steps[0].get("pattern") == {"Regex": WORD_PATTERN}
        and steps[0].get("behavior") == "Isolated"
        and not steps[1].get("use_regex")
        and not steps[1].get("add_prefix_space")
    )
