"""How much the words of a text speak for each topic.

A text's words are looked up one by one in a table of all words seen so far, which says what begins with each. A word
that is new is folded and compared with all terms once: of a corpus's words nearly all have been seen.
"""

from collections.abc import Callable, Iterator, Sequence

from .folding import folded, words_of
from .term_list import NONE, Topic

CHUNK = 2**20
"""Characters of a long text that are taken at once."""
MOST_WORDS = 1_000_000
"""Words that are remembered: some 300 MB of them."""
LEAST = 2
"""Points below which a text has no topic: those of one term, or of two hints."""

Alone = tuple[tuple[int, int], ...]
"""Number of a topic, and what a word by itself counts for it; each topic once."""
Longer = tuple[tuple[str, tuple[str, ...], int, int], ...]
"""Terms of several words: the second, those after it, number of the topic, and what the term counts."""
Begun = tuple[Alone, Longer] | None
"""Terms that begin with a word; None where none does, as with nearly all words."""


class Scorer:
    """Scores texts by some topics' terms. Not for several threads at once."""

    def __init__(self, topics: Sequence[Topic]) -> None:
        self.names = [topic.name for topic in topics]
        self._by_first: dict[str, list[tuple[tuple[str, ...], int, int]]] = {}
        for number, topic in enumerate(topics):
            for term in topic.terms:
                self._by_first.setdefault(term.words[0], []).append((term.words[1:], number, term.points))
        self._patterns = {word for topic in topics for term in topic.terms for word in term.words}
        self._like = _Remembered(self._find_like)
        self._begun = _Remembered(self._find_begun)

    def scores(self, text: str) -> dict[str, int]:
        """Points of each topic that the text has terms of, in the topics' order.

        A word counts once for a topic, as the term that gives most; words in a row count as well as the words by
        themselves.
        """
        points = [0] * len(self.names)
        for chunk in _chunks(text):
            words = words_of(chunk)
            for at, begun in enumerate(map(self._begun.__getitem__, words)):
                if begun:
                    alone, longer = begun
                    for topic, value in alone:
                        points[topic] += value
                    if longer and at + 1 < len(words):
                        self._add_longer(longer, words, at, points)
            if len(self._begun) > MOST_WORDS:
                self._begun.clear()
                self._like.clear()
        return {name: score for name, score in zip(self.names, points, strict=True) if score}

    def topic(self, text: str) -> str:
        """The topic with most points, the first of those that have as many; NONE below LEAST points."""
        scores = self.scores(text)
        best = max(scores, key=lambda name: scores[name], default=NONE)
        return best if scores.get(best, 0) >= LEAST else NONE

    def _add_longer(self, longer: Longer, words: list[str], at: int, points: list[int]) -> None:
        second = self._like[words[at + 1]]
        for pattern, rest, topic, value in longer:
            if pattern in second:
                follow = words[at + 2 : at + 2 + len(rest)]
                if len(follow) == len(rest) and all(map(self._is, rest, follow)):
                    points[topic] += value

    def _is(self, pattern: str, word: str) -> bool:
        return pattern in self._like[word]

    def _find_begun(self, word: str) -> Begun:
        alone: dict[int, int] = {}
        longer = []
        for rest, topic, value in (term for like in self._like[word] for term in self._by_first.get(like, ())):
            if rest:
                longer.append((rest[0], rest[1:], topic, value))
            else:
                alone[topic] = max(value, alone.get(topic, 0))
        return (tuple(alone.items()), tuple(longer)) if alone or longer else None

    def _find_like(self, word: str) -> frozenset[str]:
        """The words of terms that a text's word is, begins like or ends like."""
        candidates = {folded(word)}
        for form in (folded(word), folded(word, plural=False)):
            candidates.update(f"{form[:end]}*" for end in range(1, len(form) + 1))
            candidates.update(f"*{form[begin:]}" for begin in range(len(form)))
        return frozenset(candidates & self._patterns)


class _Remembered[T](dict[str, T]):
    """Word -> result of a function, computed when the word is first looked up."""

    def __init__(self, find: Callable[[str], T]) -> None:
        super().__init__()
        self._find = find

    def __missing__(self, word: str) -> T:
        self[word] = self._find(word)
        return self[word]


def _chunks(text: str) -> Iterator[str]:
    """Stretches of a text, which end between words; a term that crosses an end is not counted."""
    begin = 0
    while len(text) - begin > CHUNK:
        end = max(text.rfind(" ", begin, begin + CHUNK), text.rfind("\n", begin, begin + CHUNK)) + 1
        end = end or begin + CHUNK
        yield text[begin:end]
        begin = end
    yield text[begin:] if begin else text
