"""The paper's tables, and its own rules applied to them."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ...core.errors import UserError
from ..statistics.estimates import pooled_stderr, weighted_mean
from ..statistics.multiple_testing import FALSE_POSITIVE_RATE, LEVEL, ClearRule, adjusted, disjoint
from .tables_file import GROUPS, TABLES_FILE, Cell, Size, Stated, TablesFile

LANGUAGES = ("EN", "FR")
BASE = "base"
CHANGED = ("PDAPT", "SLERP")
VARIANTS = (BASE, *CHANGED)


@dataclass(frozen=True)
class Change:
    """A task's score of an adapted model beside its base's."""

    group: str
    model: str
    variant: str
    topic: str
    before: Cell
    after: Cell

    @property
    def difference(self) -> float:
        """Change of the score, in points."""
        return round(self.after.score - self.before.score, 6)

    @property
    def sign(self) -> int:
        """1 or -1 where the paper calls it significant: the intervals of one standard error do not overlap; else 0."""
        return disjoint(self.before.score, self.before.stderr, self.after.score, self.after.stderr)

    @property
    def p(self) -> float:
        """Two-sided p-value as if the two scores came from different questions: the tables hold no answers to pair."""
        spread = float(np.hypot(self.before.stderr, self.after.stderr))
        return 2 * float(stats.norm.sf(abs(self.difference) / spread)) if spread else float(self.difference == 0)


@dataclass(frozen=True)
class Tables:
    """The paper's tables, and the values that its text states."""

    file: TablesFile
    stated: Stated

    @staticmethod
    def read(path: Path = TABLES_FILE) -> "Tables":
        """Read tables, by default the paper's own.

        Raises:
            UserError: a table, a task or a cell is missing, or a value is not a number; the message names it.
        """
        try:
            tables = Tables(TablesFile.read(path), Stated.read())
            _check(tables, path)
        except UserError as error:
            raise UserError(
                f"the file does not hold the paper's tables: {error.what}",
                where=error.where,
                allowed="a file in the form of eval/paper/tables.json",
            ) from None
        return tables

    @cached_property
    def questions(self) -> dict[str, dict[str, int]]:
        """MEDICAL or OTHER -> topic -> number of questions, in the order of Table 2."""
        questions: dict[str, dict[str, int]] = {"MEDICAL": {}, "OTHER": {}}
        for topic in self.file.topics:
            questions.setdefault(topic.groups, {})[topic.name] = topic.questions
        return questions

    @property
    def models(self) -> list[str]:
        """The four bases, as Table 3 names them."""
        return list(self.file.results["FR-MEDICAL"])

    @property
    def baselines(self) -> list[str]:
        """The models of Tables 8 to 11."""
        return list(self.file.baselines)

    def corpus_size(self, *, commercial_only: bool) -> Size:
        """Sum of the rows of Table 1, or of its commercial ones."""
        sizes = [source.size for source in self.file.sources if source.commercial or not commercial_only]
        return Size(sum(size.documents for size in sizes), sum(size.words for size in sizes))

    def topics(self, group: str) -> dict[str, int]:
        """A group's topics with their numbers of questions."""
        return self.questions[group.split("-")[1]]

    def cell(self, group: str, model: str, variant: str, topic: str) -> Cell:
        """A cell of Tables 3 to 6."""
        return self.file.results[group][model][topic][variant]

    def baseline(self, model: str, topic: str, language: str) -> Cell:
        """A cell of Tables 8 to 11."""
        return self.file.baselines[model][topic][language]

    def cells(self) -> Iterator[tuple[str, Cell, int, int]]:
        """Every cell of Tables 3 to 6 and 8 to 11: where it stands, the cell, its questions, its printed decimals."""
        for group, table in GROUPS.items():
            for model in self.models:
                for topic, questions in self.topics(group).items():
                    for variant in VARIANTS:
                        where = f"Table {table[5:]}, {model} {variant}, {topic}"
                        yield where, self.cell(group, model, variant, topic), questions, 1
        for model in self.baselines:
            for topic, questions in self.questions["MEDICAL"].items():
                for language in LANGUAGES:
                    where = f"Tables 8-11, {model}, {topic} {language}"
                    yield where, self.baseline(model, topic, language), questions, 2

    def changes(self, group: str, variant: str) -> list[Change]:
        """A variant's changes against the base on every task of a group, for every model."""
        return [
            Change(
                group,
                model,
                variant,
                topic,
                before=self.cell(group, model, BASE, topic),
                after=self.cell(group, model, variant, topic),
            )
            for model in self.models
            for topic in self.topics(group)
        ]

    def all_changes(self) -> list[Change]:
        """The 4 x 56 comparisons."""
        return [change for group in GROUPS for variant in CHANGED for change in self.changes(group, variant)]

    def average(self, group: str, model: str, variant: str) -> Cell:
        """A group's average, weighted by the number of questions, with its pooled standard error."""
        cells = [self.cell(group, model, variant, topic) for topic in self.topics(group)]
        sizes = list(self.topics(group).values())
        return Cell(
            weighted_mean([cell.score for cell in cells], sizes), pooled_stderr([cell.stderr for cell in cells], sizes)
        )

    def average_change(self, group: str, model: str, variant: str) -> Change:
        """The change of a group's average."""
        before, after = (self.average(group, model, name) for name in (BASE, variant))
        return Change(group, model, variant, topic="", before=before, after=after)

    def ranks(self, language: str = "FR", ties: str = "average") -> dict[str, float]:
        """Mean rank of each model of Tables 8 to 11 over the seven medical tasks; 1 is best.

        `ties` says which rank equal scores share (`scipy.stats.rankdata`'s method).
        """
        scores = [
            [self.baseline(model, topic, language).score for model in self.baselines]
            for topic in self.questions["MEDICAL"]
        ]
        means = stats.rankdata(-np.asarray(scores), method=ties, axis=1).mean(axis=0)
        return dict(zip(self.baselines, means.tolist(), strict=True))


@dataclass(frozen=True)
class ClearChanges:
    """Numbers of changes that a rule calls significant, by sign."""

    positive: int
    negative: int

    @property
    def total(self) -> int:
        """All of them."""
        return self.positive + self.negative


def count_clear(changes: list[Change]) -> ClearChanges:
    """Number of changes that are significant by the paper's rule."""
    signs = [change.sign for change in changes]
    return ClearChanges(signs.count(1), signs.count(-1))


def count_adjusted(tables: Tables) -> dict[ClearRule, dict[str, dict[str, ClearChanges]]]:
    """Numbers of changes with p-values below 0.05 after Holm and Benjamini-Hochberg over all comparisons of the tables.

    Returns:
        rule -> group -> variant -> numbers of changes.
    """
    changes = tables.all_changes()
    counts = {}
    for rule in (ClearRule.HOLM, ClearRule.BENJAMINI_HOCHBERG):
        p_values = adjusted([change.p for change in changes], rule)
        clear = Counter(
            (change.group, change.variant, change.difference > 0)
            for change, p in zip(changes, p_values, strict=True)
            if p < LEVEL
        )
        counts[rule] = {
            group: {
                variant: ClearChanges(clear[group, variant, True], clear[group, variant, False]) for variant in CHANGED
            }
            for group in GROUPS
        }
    return counts


def summary(tables: Tables) -> dict[str, Any]:
    """Counts by the paper's rule and by corrected p-values, and the weighted averages, as JSON values."""
    comparisons = len(tables.models) * 7 * len(CHANGED)
    return {
        "significant_changes": {
            group: {variant: asdict(count_clear(tables.changes(group, variant))) for variant in CHANGED}
            for group in GROUPS
        },
        "rule": {
            "false_positive_rate": FALSE_POSITIVE_RATE,
            "comparisons_per_group": comparisons,
            "expected_by_chance_per_group": FALSE_POSITIVE_RATE * comparisons,
        },
        "corrected": {
            rule: {
                group: {variant: asdict(counts) for variant, counts in of_group.items()}
                for group, of_group in of_rule.items()
            }
            for rule, of_rule in count_adjusted(tables).items()
        },
        "weighted_averages": {
            group: {
                model: {variant: tables.average(group, model, variant).score for variant in VARIANTS}
                for model in tables.models
            }
            for group in GROUPS
        },
        "weighted_average_errors": {
            group: {
                model: {variant: tables.average(group, model, variant).stderr for variant in VARIANTS}
                for model in tables.models
            }
            for group in GROUPS
        },
        "average_ranks": tables.ranks(),
    }


def possible_counts(score: float, questions: int, decimals: int) -> list[int]:
    """Numbers of right answers among `questions` that print as `score` percent; empty if there is none."""
    near = round(score * questions / 100)
    return [
        right
        for right in range(max(0, near - 2), min(questions, near + 2) + 1)
        if abs(round(100 * right / questions, decimals) - score) < 1e-9
    ]


def _check(tables: Tables, path: Path) -> None:
    """Look for every cell once, so that a gap is found before anything is computed."""
    for group in GROUPS:
        for model in tables.models:
            row = tables.file.results[group].get(model, {})
            _check_row(row, tables.topics(group), VARIANTS, where=f"{path}: {GROUPS[group]}: {model}")
    for model, row in tables.file.baselines.items():
        _check_row(row, tables.questions["MEDICAL"], LANGUAGES, where=f"{path}: table8_11: {model}")


def _check_row(row: dict[str, dict[str, Cell]], topics: Iterable[str], columns: Iterable[str], *, where: str) -> None:
    for topic in topics:
        for column in columns:
            if column not in row.get(topic, {}):
                raise UserError(f"there is no cell of {topic}, {column}", where=where)
