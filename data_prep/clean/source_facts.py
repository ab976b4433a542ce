"""Facts that a source's own texts state about how to clean them: the lines they share, and the words they hold.

Learnt in two passes over the texts: `look` at each, then, where `wanted` names words, `search` each.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .boilerplate import Boilerplate, RepeatedLines
from .line_hyphens import joined_words

MOST_WORDS = 200_000
"""Words cut at line ends that are looked for: about 20 MB. Those that turn up later stay cut, and are counted."""
WORD = re.compile(r"[^\W\d_]{4,}")


@dataclass(frozen=True)
class SourceFacts:
    """Facts about a source that cleaning one of its texts needs.

    Attributes:
        words: words, in lower case, that line ends cut and that also occur whole.
        boilerplate: lines that repeat across the source.
    """

    words: frozenset[str] = frozenset()
    boilerplate: Boilerplate = field(default_factory=Boilerplate)


NO_FACTS = SourceFacts()


class FactFinder:
    """Finds the facts about a source, in bounded memory.

    Attributes:
        wanted: words that line ends cut, in lower case, and that have not been found whole.
        not_looked_for: line ends that cut a word which is not looked for, since there are MOST_WORDS others.
    """

    def __init__(self) -> None:
        self.wanted: set[str] = set()
        self.not_looked_for = 0
        self._found: set[str] = set()
        self._lines = RepeatedLines()

    def look(self, text: str) -> None:
        """First pass."""
        self._lines.add(text)
        for word in joined_words(text):
            if len(self.wanted) < MOST_WORDS:
                self.wanted.add(word)
            else:
                self.not_looked_for += word not in self.wanted

    def search(self, text: str) -> None:
        """Second pass: which of the words that line ends cut occur whole."""
        if self.wanted:
            whole = self.wanted.intersection(WORD.findall(text.lower()))
            self._found |= whole
            self.wanted -= whole

    def facts(self) -> SourceFacts:
        """The facts found so far."""
        return SourceFacts(frozenset(self._found), self._lines.boilerplate())


def find_facts(texts: Callable[[], Iterable[str]]) -> SourceFacts:
    """The facts about a source.

    Args:
        texts: gives its texts, as they are before the steps that need the facts; called once or twice.
    """
    finder = FactFinder()
    for text in texts():
        finder.look(text)
    if finder.wanted:
        for text in texts():
            finder.search(text)
    return finder.facts()
