"""Adapted and merged models against their base: by task, by group, by several rules, and what a change is made of."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..benchmark.cells import Answers, Problem, Runs, differs, first_half
from ..tasks.suite import GROUPS, TARGET, TASKS
from .contamination import kept
from .estimates import (
    LEVEL,
    Difference,
    Flips,
    adjusted,
    disjoint,
    mcnemar,
    paired_bootstrap,
    paired_difference,
    pooled_stderr,
    weighted_mean,
)

TESTS = ("holm", "fdr_bh", "mcnemar", "paper")
"""Rules by which a change is called clear: McNemar's p-value after Holm or Benjamini-Hochberg, or as it is, or the
paper's intervals that do not meet."""
SEED = 0


@dataclass(frozen=True)
class Family:
    """A base with what was made of it.

    Attributes:
        runs: its folder of runs.
        adapted: name of the checkpoint that is reported, if there is one.
        merged: name of the merged model, if there is one.
        chosen: whether the first half of the target group's questions chose the checkpoint. Then that group's change is
            told on the second half.
    """

    runs: Runs
    adapted: str | None
    merged: str | None = None
    chosen: bool = False

    def members(self) -> list[tuple[str, str]]:
        """Role and name of base, adapted and merged model."""
        (base,) = self.runs.named("base")
        others = [("adapted", self.adapted), ("merged", self.merged)]
        return [("base", base.name), *((role, name) for role, name in others if name is not None)]


@dataclass(frozen=True)
class Pair:
    """The base's and another model's answers to one task."""

    family: str
    role: str
    base: Answers
    other: Answers

    @property
    def group(self) -> str:
        """The task's group."""
        return TASKS[self.base.task].group

    def flips(self, keep: np.ndarray | None = None) -> Flips:
        """Answers gained and lost, of all questions or of those that are kept."""
        change = self.other.right - self.base.right
        change = change if keep is None else change[keep]
        return Flips(int((change > 0).sum()), int((change < 0).sum()), len(change))


@dataclass(frozen=True)
class CellChange:
    """One model against its base on one task; differences are fractions of the questions.

    `p` is McNemar's, `p_holm` and `p_bh` adjusted for all cells of the report; `sign` is the paper's rule. `format` is
    the part of the change from answers that could be read in only one of the two, `knowledge` the rest.
    """

    pair: Pair
    change: Difference
    p: float
    p_holm: float
    p_bh: float
    sign: int
    knowledge: float
    format: float
    margin: Difference | None

    def clear(self, test: str) -> int:
        """1 or -1 where the change is called clear by a rule, else 0."""
        if test == "paper":
            return self.sign
        p = {"holm": self.p_holm, "fdr_bh": self.p_bh, "mcnemar": self.p}[test]
        return 0 if p >= LEVEL else int(np.sign(self.change.value))


@dataclass(frozen=True)
class GroupChange:
    """One model against its base over a group's tasks.

    `before` and `after` are averages weighted by questions, with lm-eval's pooled errors; `change` and its interval are
    of the stratified paired bootstrap, `p_holm` adjusted for all groups of the report. `tasks` are those that could be
    compared. `unparseable` and `truncated` are rates, before and after, among the questions that are answered with
    text. `without` is the change without the contaminated questions, where a list was given. `half` says that all this
    is of the questions that did not choose the checkpoint.
    """

    family: str
    role: str
    model: str
    group: str
    tasks: list[str]
    before: tuple[float, float]
    after: tuple[float, float]
    change: Difference
    p_holm: float
    knowledge: float
    format: float
    unparseable: tuple[float, float] | None
    truncated: tuple[float, float] | None
    without: Difference | None
    half: bool


@dataclass(frozen=True)
class Compared:
    """Everything that was compared, and what was not."""

    cells: list[CellChange]
    groups: list[GroupChange]
    problems: list[Problem]


def average(answers: Sequence[Answers]) -> tuple[float, float]:
    """Average weighted by questions and its pooled standard error."""
    sizes = [len(its.right) for its in answers]
    return weighted_mean([its.score for its in answers], sizes), pooled_stderr([its.stderr for its in answers], sizes)


def parts(pair: Pair) -> tuple[float, float]:
    """The change as knowledge and format: what moved between right and a readable wrong answer, and the rest."""
    moved = pair.other.right - pair.base.right
    # A right answer could be read, so only the other of the two can be unreadable.
    unread = pair.base.unparseable | pair.other.unparseable
    return float(moved[~unread].sum() / len(moved)), float(moved[unread].sum() / len(moved))


def compare(families: Sequence[Family], contaminated: dict[str, set[str]] | None = None) -> Compared:
    """Compare the adapted and the merged model of every family with its base.

    Args:
        families: what to compare.
        contaminated: task -> `doc_id` or `doc_hash` of questions that training has seen; see
            `contamination.read_contaminated`.
    """
    pairs: list[Pair] = []
    problems: list[Problem] = []
    for family in families:
        problems += family.runs.problems
        (_, base), *others = family.members()
        for role, name in others:
            made, found = _pairs(family.runs, base, role, name)
            pairs += made
            problems += found
    chosen = {family.runs.name for family in families if family.chosen}
    return Compared(_cells(pairs), _groups(pairs, chosen, contaminated), problems)


def as_json(compared: Compared) -> dict[str, Any]:
    """Everything as JSON values, each cell with its samples files."""
    return {
        "cells": [
            {
                "family": c.pair.family,
                "role": c.pair.role,
                "model": c.pair.other.model,
                "task": c.pair.base.task,
                "group": c.pair.group,
                "questions": len(c.pair.base.right),
                "before": c.pair.base.score,
                "after": c.pair.other.score,
                "gained": c.pair.flips().gained,
                "lost": c.pair.flips().lost,
                "interval": [c.change.low, c.change.high],
                "p": {"mcnemar": c.p, "holm": c.p_holm, "fdr_bh": c.p_bh},
                "paper_rule": c.sign,
                "knowledge": c.knowledge,
                "format": c.format,
                "margin": None if c.margin is None else {"change": c.margin.value, "p": c.margin.p},
                "samples": {its.model: {"sha256": its.digest} for its in (c.pair.base, c.pair.other)},
            }
            for c in compared.cells
        ],
        "groups": [
            {
                "family": g.family,
                "role": g.role,
                "model": g.model,
                "group": g.group,
                "tasks": g.tasks,
                "before": g.before,
                "after": g.after,
                "half": g.half,
                "questions": g.change.documents,
                "change": g.change.value,
                "interval": [g.change.low, g.change.high],
                "p": {"bootstrap": g.change.p, "holm": g.p_holm},
                "without_contaminated": None if g.without is None else g.without.value,
            }
            for g in compared.groups
        ],
        "left_out": [{"model": p.model, "task": p.task, "reason": p.reason, **p.values} for p in compared.problems],
    }


def _pairs(runs: Runs, base: str, role: str, name: str) -> tuple[list[Pair], list[Problem]]:
    made, problems = [], []
    for task in TASKS:
        first, second = runs.answers.get((base, task)), runs.answers.get((name, task))
        if first is None or second is None:
            continue
        why = differs(first, second)
        if why is None:
            made.append(Pair(runs.name, role, first, second))
        else:
            problems.append(Problem(name, task, *why))
    return made, problems


def _cells(pairs: list[Pair]) -> list[CellChange]:
    p_values = [mcnemar(pair.flips()) for pair in pairs]
    holm, bh = (adjusted(p_values, rule) for rule in ("holm", "fdr_bh"))
    return [_cell(pair, number, p_values, holm, bh) for number, pair in enumerate(pairs)]


def _cell(pair: Pair, number: int, p: list[float], holm: list[float], bh: list[float]) -> CellChange:
    before, after = pair.base, pair.other
    margin = None
    if before.margin is not None and after.margin is not None:
        ones = [1.0] * len(before.right)
        margin = paired_difference(after.margin.tolist(), before.margin.tolist(), ones)
    return CellChange(
        pair,
        paired_bootstrap([pair.flips()], SEED + number),
        p[number],
        holm[number],
        bh[number],
        disjoint(before.score, before.stderr, after.score, after.stderr),
        *parts(pair),
        margin,
    )


def _groups(pairs: list[Pair], chosen: set[str], contaminated: dict[str, set[str]] | None) -> list[GroupChange]:
    keys = dict.fromkeys((pair.family, pair.role) for pair in pairs)
    found = []
    for family, role in keys:
        for group in GROUPS:
            its = [p for p in pairs if (p.family, p.role, p.group) == (family, role, group)]
            half = family in chosen and group == TARGET
            if half:
                its = [kept_pair for pair in its if (kept_pair := _second_half(pair))]
            if its:
                found.append(_group(its, contaminated, half=half))
    holm = adjusted([group.change.p for group in found], "holm")
    return [replace(group, p_holm=p) for group, p in zip(found, holm, strict=True)]


def _second_half(pair: Pair) -> Pair | None:
    """A pair on the questions that did not choose; None where fewer than two are left."""
    mask = ~first_half(pair.base.keys)
    if mask.sum() < 2:
        return None
    return replace(pair, base=pair.base.keep(mask), other=pair.other.keep(mask))


def _group(pairs: list[Pair], contaminated: dict[str, set[str]] | None, *, half: bool) -> GroupChange:
    before, after = [p.base for p in pairs], [p.other for p in pairs]
    sizes = [len(its.right) for its in before]
    knowledge, form = zip(*(parts(pair) for pair in pairs), strict=True)
    change = paired_bootstrap([pair.flips() for pair in pairs], SEED)
    written = [pair for pair in pairs if pair.base.margin is None]
    without = None
    if contaminated is not None:
        clean = [pair.flips(kept(pair.base, contaminated)) for pair in pairs]
        clean = [flips for flips in clean if flips.questions]
        without = paired_bootstrap(clean, SEED) if clean else None
    return GroupChange(
        pairs[0].family,
        pairs[0].role,
        pairs[0].other.model,
        pairs[0].group,
        [its.task for its in before],
        average(before),
        average(after),
        change,
        change.p,
        weighted_mean(knowledge, sizes),
        weighted_mean(form, sizes),
        _rates([p.base.unparseable for p in written], [p.other.unparseable for p in written]),
        _rates([p.base.truncated for p in written], [p.other.truncated for p in written]),
        without,
        half,
    )


def _rates(before: list[np.ndarray | None], after: list[np.ndarray | None]) -> tuple[float, float] | None:
    """Rates of both models; None where no text is written, or it was not noted of all."""
    first, second = ([flags for flags in all_ if flags is not None] for all_ in (before, after))
    if not before or len(first) < len(before) or len(second) < len(after):
        return None
    return float(np.concatenate(first).mean()), float(np.concatenate(second).mean())
