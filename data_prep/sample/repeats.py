"""Bounds how often any long string occurs in the sample."""

import re
from collections import Counter
from itertools import pairwise

WINDOW = 100
"""Length of the strings that are bounded, in characters."""
LIMIT = 5
"""How often such a string may occur in the whole corpus."""

_WIDEST_STEP = 30
_WORD_START = re.compile(r"\b\w")


class RepeatGuard:
    """Admits texts so that no string of `WINDOW` characters occurs more than `LIMIT` times in all of them.

    Counting every window would be slow. It is enough to count the strings of `WINDOW - _WIDEST_STEP` characters that
    begin with a word: every window holds one at an offset that its own characters decide, so a window occurs at most
    as often as the string it holds.
    """

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._texts: set[str] = set()

    def admit(self, text: str) -> bool:
        """Count `text` and return True, or return False if it would exceed the limit or was admitted before."""
        pieces = Counter(_pieces(text))
        if text in self._texts or any(self._counts[piece] + count > LIMIT for piece, count in pieces.items()):
            return False
        self._counts.update(pieces)
        self._texts.add(text)
        return True


def _pieces(text: str) -> list[str]:
    """The strings to count. None is missed, for two words never begin more than `_WIDEST_STEP` characters apart."""
    starts = [match.start() for match in _WORD_START.finditer(text)]
    assert all(after - before <= _WIDEST_STEP for before, after in pairwise(starts)), "a word longer than expected"
    length = WINDOW - _WIDEST_STEP
    return [text[start : start + length] for start in starts if start + length <= len(text)]
