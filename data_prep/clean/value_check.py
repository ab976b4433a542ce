"""Comparison of a text's values before and after cleaning.

The comparison covers all visible characters, words and columns, except those that a profile which keeps values may
remove: addresses, tags, boilerplate, the hyphen of a word that the end of a line cuts. So no quantity, unit,
comparison, range, formula, table, drug's name, gene, code or letter can change unseen.
"""

import re
from collections import Counter

from .boilerplate import Boilerplate
from .characters import LOWER, RARE, WINDOWS_1252, normalise, restore_characters
from .markup import remove_addresses, remove_tags

CUT = re.compile(rf"(?<=[{LOWER}])[-\u2010\xad][^\S\n]*\n\s*(?=[{LOWER}])")
COLUMN = re.compile(r"(?<=\S)[^\S\n\t]{2,}(?=\S)")
C1_MEANT = {ord(raw): meant for raw, meant in WINDOWS_1252.items() if meant}
LOST_IN_MARKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\xad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\-…]")
"""Characters that `restore_characters` may replace or remove; U+0085 may be an ellipsis."""
SIGNS = "<>=≤≥±+−×÷%‰°µμ²³⁰¹⁴⁵⁶⁷⁸⁹⁺⁻₀₁₂₃₄₅₆₇₈₉½¼¾→←↑↓·^~/"
COLUMN_MARK = "⇥"
NO_LINES = Boilerplate()


def changed_values(before: str, after: str, boilerplate: Boilerplate = NO_LINES) -> Counter[str]:
    """The values of a text that are not the same after cleaning, by kind; none where all are.

    Kinds are `numbers`, `signs`, `columns`; `codes`, which have two capitals, as genes do; `letters`, which are words
    with an accent or of another alphabet; other `words`; `order` where the same values stand in another order; and
    `characters` where setting a wrong encoding right has lost one.

    Args:
        before: the text as its source gives it.
        after: the text as cleaned.
        boilerplate: lines that may be gone.
    """
    if before == after:
        return Counter()
    meant = before
    if RARE.search(before):
        meant = restore_characters(before, Counter())
        if _visible(before) != _visible(meant):
            return Counter(characters=1)
    first, second = _values(meant, boilerplate), _values(after, boilerplate)
    if first == second:
        return Counter()
    lost, new = Counter(first) - Counter(second), Counter(second) - Counter(first)
    differing = Counter(map(_kind, [*lost.elements(), *new.elements()]))
    return differing or Counter(order=1)


def _visible(text: str) -> str:
    """The visible characters of a text, and what Windows-1252 means by those that are not."""
    return LOST_IN_MARKS.sub("", text.translate(C1_MEANT))


def _values(text: str, boilerplate: Boilerplate) -> list[str]:
    """The words between white space, with a mark for each column, of the lines that are not boilerplate."""
    for step in (normalise, remove_tags, remove_addresses):
        text = step(text, Counter())
    text = CUT.sub("", text)
    if boilerplate:
        gone = boilerplate.furniture.keys() | boilerplate.edges.keys()
        text = "\n".join(line for line in text.split("\n") if line not in gone)
    return COLUMN.sub("\t", text).replace("\t", f" {COLUMN_MARK} ").split()


def _kind(value: str) -> str:
    """The kind of a value."""
    if value == COLUMN_MARK:
        return "columns"
    if any(character.isnumeric() for character in value):
        return "numbers"
    if any(sign in value for sign in SIGNS):
        return "signs"
    if sum(map(str.isupper, value)) > 1:
        return "codes"
    return "words" if value.isascii() else "letters"
