"""The cleaning that the paper describes, as published, for comparison: it changes doses, units and French letters.

Two programs have it. PARTAGES-LLM's is section 3.3 of the paper: apostrophes, a list of characters, repetitions, blanks
around signs, long words. The corpus builder's normalises Unicode and deletes addresses and tags first, and keeps the
blanks at both ends. Both may also empty texts of fewer than three words; that option is not taken here.
"""

import re
from collections import Counter
from dataclasses import dataclass

PUNCTUATION = re.escape("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")
LETTERS = "A-Za-zŒœÀ-ÂÇ-ÊÏÔà-âç-êïôû"
"""The letters that stay: neither ù, î, ë, ü nor any Greek one."""
LONGEST = 34
"""Characters of the longest word that stays."""


@dataclass(frozen=True)
class Expression:
    """A substitution: each match of `pattern` becomes `by`.

    Attributes:
        name: kind that its matches are counted as.
    """

    name: str
    pattern: re.Pattern[str]
    by: str = ""

    def apply(self, text: str, changes: Counter[str]) -> str:
        """Replace, and count the matches."""
        text, matches = self.pattern.subn(self.by, text)
        if matches:
            changes[self.name] += matches
        return text


FORM_FEEDS = Expression("form_feeds", re.compile("\f"), " ")
CARRIAGE_RETURNS = Expression("carriage_returns", re.compile("\r"))
ADDRESSES_AND_TAGS = Expression("addresses_and_tags", re.compile(r"(?:http|www)\S+|<\S+|\w+/*>"))
"""All up to the next white space: `<` of a comparison is taken for a tag, and so is the word before a `>`."""
BLANKS = Expression("repeated_blanks", re.compile("  +"), " ")
APOSTROPHES = Expression("apostrophes", re.compile("’"), "'")
CHARACTERS = Expression("characters", re.compile(rf"[^{LETTERS}0-9{PUNCTUATION}\s]"))
REPETITIONS = Expression("repetitions", re.compile(rf"([{PUNCTUATION}\s])\1+"), r"\1")
BLANKS_AFTER = Expression("blanks_after_signs", re.compile(r"([:;,!?.])(?!\s|\Z)"), r"\1 ")
BLANKS_BEFORE = Expression("blanks_before_signs", re.compile(r"(?<=\S)([:;!?])"), r" \1")
LONG_WORDS = Expression("long_words", re.compile(rf"\s?\w{{{LONGEST + 1},}}[{PUNCTUATION}]?\s?"))
"""With a blank on either side, and a sign after it."""


def strip(text: str, changes: Counter[str]) -> str:
    """The text without white space at both ends, counted by character."""
    stripped = text.strip()
    if len(stripped) < len(text):
        changes["at_the_ends"] += len(text) - len(stripped)
    return stripped
