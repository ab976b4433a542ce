"""The paper's tables, and its own rules applied to them."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from ...core.errors import UserError
from ...core.files import read_json
from ..statistics.estimates import pooled_stderr, weighted_mean
from ..statistics.multiple_testing import FALSE_POSITIVE_RATE, LEVEL, ClearRule, adjusted, disjoint

TABLES_FILE = Path(__file__).with_name("tables.json")
STATED_FILE = Path(__file__).with_name("stated.json")
GROUPS = {"FR-MEDICAL": "table3", "EN-MEDICAL": "table4", "FR-OTHER": "table5", "EN-OTHER": "table6"}
BASE = "base"
CHANGED = ("PDAPT", "SLERP")
VARIANTS = (BASE, *CHANGED)


@dataclass(frozen=True)
class Cell:
    """A score and its standard error, in percent, as printed."""

    score: float
    stderr: float


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
    """The paper's tables: `raw` as in `tables.json`, `stated` the values that its text states."""

    raw: dict[str, Any]
    stated: dict[str, Any]

    @staticmethod
    def read(path: Path = TABLES_FILE) -> "Tables":
        """Read tables, by default the paper's own.

        Raises:
            UserError: a table, a task or a cell is missing, or a value is not a number; the message names it.
        """
        tables = Tables(read_json(path), read_json(STATED_FILE))
        try:
            _check(tables)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise UserError(
                f"not the paper's tables: {type(error).__name__}: {error}",
                where=str(path),
                allowed="a file of the form of eval/paper/tables.json",
            ) from None
        return tables

    @cached_property
    def questions(self) -> dict[str, dict[str, int]]:
        """MEDICAL or OTHER -> topic -> number of questions, in the order of Table 2."""
        questions: dict[str, dict[str, int]] = {}
        for row in self.raw["table2"]:
            questions.setdefault(row["group_suffix"], {})[row["topic"]] = int(row["n_questions"])
        return questions

    @property
    def models(self) -> list[str]:
        """The four bases, as Table 3 names them."""
        return list(self.raw["table3"]["results"])

    @property
    def baselines(self) -> list[str]:
        """The models of Tables 8 to 11."""
        return list(self.raw["table8_11"]["results"])

    def topics(self, group: str) -> dict[str, int]:
        """A group's topics with their numbers of questions."""
        return self.questions[group.split("-")[1]]

    def cell(self, group: str, model: str, variant: str, topic: str) -> Cell:
        """A cell of Tables 3 to 6."""
        return _cell(self.raw[GROUPS[group]]["results"][model][topic][variant])

    def baseline(self, model: str, topic: str, language: str) -> Cell:
        """A cell of Tables 8 to 11."""
        return _cell(self.raw["table8_11"]["results"][model][topic][language])

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
                for language in ("EN", "FR"):
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


def count_clear(changes: list[Change]) -> dict[str, int]:
    """Number of changes that are significant by the paper's rule, by sign."""
    signs = [change.sign for change in changes]
    return {"positive": signs.count(1), "negative": signs.count(-1)}


def count_adjusted(tables: Tables) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
    """Numbers of changes with p-values below 0.05 after Holm and Benjamini-Hochberg over all comparisons of the tables.

    Returns:
        rule -> group -> variant -> {"positive", "negative"}.
    """
    changes = tables.all_changes()
    counts: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    for rule in (ClearRule.HOLM, ClearRule.BENJAMINI_HOCHBERG):
        clear = [p < LEVEL for p in adjusted([change.p for change in changes], rule)]
        counts[rule] = {group: {variant: {"positive": 0, "negative": 0} for variant in CHANGED} for group in GROUPS}
        for change, is_clear in zip(changes, clear, strict=True):
            if is_clear:
                counts[rule][change.group][change.variant]["positive" if change.difference > 0 else "negative"] += 1
    return counts


def summary(tables: Tables) -> dict[str, Any]:
    """Counts by the paper's rule and by corrected p-values, and the weighted averages, as JSON values."""
    comparisons = len(tables.models) * 7 * len(CHANGED)
    return {
        "significant_changes": {
            group: {variant: count_clear(tables.changes(group, variant)) for variant in CHANGED} for group in GROUPS
        },
        "rule": {
            "false_positive_rate": FALSE_POSITIVE_RATE,
            "comparisons_per_group": comparisons,
            "expected_by_chance_per_group": FALSE_POSITIVE_RATE * comparisons,
        },
        "corrected": count_adjusted(tables),
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


def _cell(value: dict[str, Any]) -> Cell:
    cell = Cell(float(value["score"]), float(value["stderr"]))
    if not (0 <= cell.score <= 100 and 0 <= cell.stderr <= 100):
        raise ValueError(f"{value} is not a percentage with its error")
    return cell


def _check(tables: Tables) -> None:
    """Read every cell once, so that a gap is found before anything is computed."""
    for group, table in GROUPS.items():
        if tables.raw[table]["group"] != group:
            raise ValueError(f"{table} is {tables.raw[table]['group']}, not {group}")
    assert all(cell for _, cell, _, _ in tables.cells())
    for row in tables.raw["table1"]["rows"]:
        int(row["n_docs"]), int(row["n_words"]), bool(row["commercial"]), str(row["doc_type"])
    for row in tables.raw["table7"]:
        float(row["avg_rank"]), str(row["model"])
