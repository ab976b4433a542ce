"""Facts about a source that its cleaning needs: the lines that its texts share, and their words.

They are learnt in two passes over the texts: `look` at each and then, if that leaves something open, `search` each.
Both can run over parts of a source and be merged in the source's order; the facts are those of the whole.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .boilerplate import Boilerplate, RepeatedLines
from .line_hyphens import joined_words

MOST_WORDS = 200_000
"""Largest number of cut words that are looked for: about 20 MB. Later ones stay cut, and are counted."""
WORD = re.compile(r"[^\W\d_]{4,}")


@dataclass(frozen=True)
class SourceFacts:
    """Facts about a source that cleaning one of its texts needs.

    Attributes:
        words: words, in lower case, that line ends cut and that also occur whole.
        boilerplate: lines that repeat across the source.
        not_looked_for: line ends that cut a word which is not looked for, since there are MOST_WORDS others.
    """

    words: frozenset[str] = frozenset()
    boilerplate: Boilerplate = field(default_factory=Boilerplate)
    not_looked_for: int = 0


NO_FACTS = SourceFacts()


@dataclass
class SourceLook:
    """The first pass over a source, or over a part of it, in bounded memory.

    Attributes:
        lines: how many documents hold each line.
        cut_words: words that line ends cut, in lower case, in the order of their first occurrence; at most MOST_WORDS.
        overflows: whether there are others.
    """

    lines: RepeatedLines = field(default_factory=RepeatedLines)
    cut_words: dict[str, None] = field(default_factory=dict)
    overflows: bool = False

    def look(self, text: str) -> None:
        """Look at a text."""
        self.lines.add(text)
        self._add(joined_words(text))

    def merge(self, other: "SourceLook") -> None:
        """Add the results of the next part of the source."""
        self.lines.merge(other.lines)
        self.overflows |= other.overflows
        self._add(other.cut_words)

    def _add(self, words: Iterable[str]) -> None:
        for word in words:
            if len(self.cut_words) < MOST_WORDS:
                self.cut_words[word] = None
            else:
                self.overflows |= word not in self.cut_words

    @property
    def is_enough(self) -> bool:
        """Whether the facts follow without a second pass."""
        return not self.cut_words and self.lines.exact


class SourceSearch:
    """The second pass: which of the words that line ends cut occur whole, and lines counted again where need be.

    Args:
        look: the first pass over the whole source.

    Attributes:
        whole_words: of the cut words, those that occur whole.
        not_looked_for: see `SourceFacts`.
        lines: as `SourceLook.lines`, exact.
    """

    def __init__(self, look: SourceLook) -> None:
        self._look = look
        self._missing = set(look.cut_words)
        self.whole_words: set[str] = set()
        self.not_looked_for = 0
        self.lines = look.lines if look.lines.exact else look.lines.candidates()

    def search(self, text: str) -> None:
        """Search a text."""
        if self._missing:
            whole = self._missing.intersection(WORD.findall(text.lower()))
            self.whole_words |= whole
            self._missing -= whole
        if self._look.overflows:
            self.not_looked_for += sum(word not in self._look.cut_words for word in joined_words(text))
        if not self._look.lines.exact:
            self.lines.add(text)

    def merge(self, whole_words: Iterable[str], not_looked_for: int, lines: RepeatedLines) -> None:
        """Add the results of a part of the source."""
        self.whole_words.update(whole_words)
        self.not_looked_for += not_looked_for
        if not self._look.lines.exact:
            self.lines.merge(lines)

    def facts(self) -> SourceFacts:
        """The facts about the source."""
        return SourceFacts(frozenset(self.whole_words), self.lines.boilerplate(), self.not_looked_for)


def find_facts(texts: Callable[[], Iterable[str]]) -> SourceFacts:
    """The facts about a source.

    Args:
        texts: gives its texts, as they are before the steps that need the facts; called once or twice.
    """
    look = SourceLook()
    for text in texts():
        look.look(text)
    search = SourceSearch(look)
    if not look.is_enough:
        for text in texts():
            search.search(text)
    return search.facts()
