"""Search for evaluation texts in documents, by a method that depends on each text's length.

For a text of 13 words or more, each run of 13 words is looked for; a question of 8 to 12 words is looked for as a
whole. A shorter question may occur anywhere: a document has it only if it has all of its choices, too. A choice by
itself is looked for if it has 13 words; a shorter one is a term, as a rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pyarrow as pa

from ..dedup.shingles import Hashes, words_of
from .ngrams import LONGEST, Index, Overlaps

SHORTEST = 8
"""Words of a text that is looked for by itself, and of a shorter one together with its choices."""


class Way(StrEnum):
    """A way in which a text is looked for."""

    RUNS = "by_runs"
    WHOLE = "whole"
    WITH_CHOICES = "with_choices"
    TOO_SHORT = "too_short"


@dataclass(frozen=True)
class EvaluationText:
    """A question of a task, or a document of a test part of the corpus.

    Attributes:
        task: the question's; empty for a document.
        key: the question's `doc_id`, or `source/doc_id` of the document.
        texts: its own, then its choices.
    """

    task: str
    key: str
    texts: tuple[str, ...]


class EvaluationTexts:
    """Texts for evaluation, and the search for them in documents.

    Attributes:
        items: all of it.
        ways: how each is looked for, [items].
        runs: what is looked for of each, in number, [items]; 0 for nothing.
        choices_passed_over: choices of each that are not looked for, [items].
    """

    def __init__(self, items: Sequence[EvaluationText]) -> None:
        self.items = items
        self._owners = np.repeat(np.arange(len(items)), [len(item.texts) for item in items])
        is_own = np.diff(self._owners, prepend=-1) > 0
        words = words_of(pa.array([text for item in items for text in item.texts], pa.string()))
        self._by_runs = Index(words, np.where(is_own, SHORTEST, LONGEST))
        runs = self._by_runs.runs
        self.runs = np.bincount(self._owners, runs).astype(np.int64)
        self.choices_passed_over = np.bincount(self._owners, ~is_own & (runs == 0)).astype(np.int64)
        lengths = np.diff(words.offsets)
        self._take_short(lengths[is_own], np.bincount(self._owners, lengths))
        self.ways = [self._way(number, length) for number, length in enumerate(lengths[is_own].tolist())]

    def _take_short(self, own: np.ndarray, together: np.ndarray) -> None:
        """Take the short questions by their words without and with their choices, [items]."""
        choices = np.array([len(item.texts) - 1 for item in self.items])
        self._short = np.flatnonzero((own > 0) & (own < SHORTEST) & (together >= SHORTEST) & (choices > 0))
        short = [self.items[number] for number in self._short.tolist()]
        questions = words_of(pa.array([item.texts[0] for item in short], pa.string()))
        self._questions = Index(questions, np.ones(len(short), np.int64))
        self._choices = [[words_of(pa.array([choice])).hashes for choice in item.texts[1:]] for item in short]
        self.runs[self._short] += 1 + choices[self._short]
        self.choices_passed_over[self._short] = 0

    def _way(self, number: int, words: int) -> Way:
        if words >= LONGEST:
            return Way.RUNS
        if words >= SHORTEST:
            return Way.WHOLE
        return Way.WITH_CHOICES if self.runs[number] else Way.TOO_SHORT

    def overlaps(self, text: pa.StringArray) -> Overlaps:
        """Find what documents have of the items; documents are numbered from 0."""
        words = words_of(text)
        by_runs, questions = self._by_runs.overlaps(words), self._questions.overlaps(words)
        parts = np.split(words.hashes, words.offsets[1:-1])
        has_choices = [
            all(_has(parts[document], choice) for choice in self._choices[question])
            for document, question in zip(questions.documents.tolist(), questions.items.tolist(), strict=True)
        ]
        short = questions.items[np.array(has_choices, bool)]
        documents = np.concatenate([by_runs.documents, questions.documents[np.array(has_choices, bool)]])
        items = np.concatenate([self._owners[by_runs.items], self._short[short]])
        runs = np.concatenate([by_runs.runs, [1 + len(self._choices[question]) for question in short]])
        pairs, place = np.unique(documents * len(self.items) + items, return_inverse=True)
        return Overlaps(*np.divmod(pairs, len(self.items)), np.bincount(place, runs, len(pairs)).astype(np.int64))


def _has(words: Hashes, run: Hashes) -> bool:
    """Whether words have a run among them."""
    places = np.arange(len(words) - len(run) + 1)
    for step, word in enumerate(run):
        places = places[words[places + step] == word]
    return len(places) > 0
