"""Rejoining of words that are hyphenated at the end of a line."""

import re
from collections import Counter
from collections.abc import Iterator

from .characters import LOWER, NO_BREAK, SOFT_HYPHEN

BLANKS = rf"[ \t{NO_BREAK}]*"
CUT = re.compile(rf"(?<![\w'’\-])([{LOWER}]{{2,}})([-\u2010{SOFT_HYPHEN}])\n{BLANKS}([{LOWER}]{{2,}})(?![\w'’\-])")
"""The two parts of a word in lower case, and the hyphen between them. A part that is joined to another by a hyphen or
an apostrophe (`c'est-à-dire`) is left alone."""
SOFT = re.compile(rf"{SOFT_HYPHEN}(?=\n)")


def joined_words(text: str) -> Iterator[str]:
    """The words that line ends cut, put together."""
    if _has_cuts(text):
        for match in CUT.finditer(text):
            yield match[1] + match[3]


def join_hyphenated(text: str, changes: Counter[str], words: frozenset[str]) -> str:
    """Join the words that line ends cut, where the word also occurs whole; soft hyphens at line ends go anyhow.

    Args:
        text: after `normalise` and `trim_lines`.
        changes: counts, added to: words joined, and soft hyphens.
        words: those that occur whole in the source.
    """
    if not _has_cuts(text):
        return text

    def join(match: re.Match[str]) -> str:
        word = match[1] + match[3]
        if word not in words:
            return match.group()
        changes["hyphenation"] += 1
        return word

    text = CUT.sub(join, text)
    text, soft = SOFT.subn("", text)
    if soft:
        changes["soft_hyphens_removed"] += soft
    return text


def _has_cuts(text: str) -> bool:
    return "-\n" in text or "\u2010\n" in text or SOFT_HYPHEN in text
