"""Adapted and merged models against their base: by task, by group, by several rules, and what a change is made of."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..benchmark.read_results import Answers, Problem, Reason, Runs, difference_in_questions, first_half
from ..tasks.task_suite import union
from .contamination import uncontaminated
from .estimates import (
    Difference,
    Flips,
    mcnemar,
    paired_bootstrap,
    paired_difference,
    pooled_stderr,
    weighted_mean,
)
from .family import Family, FamilyRole
from .multiple_testing import LEVEL, ClearRule, adjusted, disjoint, holm
from .unpaired import UnpairedGroup, compare_unpaired

BOOTSTRAP_SEED = 0


@dataclass(frozen=True)
class Pair:
    """The base's and another model's answers to one task of a group; `target` says whether training was for it."""

    family: str
    role: FamilyRole
    base: Answers
    other: Answers
    group: str
    target: bool

    def flips(self, keep: np.ndarray | None = None) -> Flips:
        """Answers gained and lost, of all questions, or of those where `keep`, [questions] of bool, is true."""
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

    def clear(self, rule: ClearRule) -> int:
        """1 or -1 where the change is called clear by a rule, else 0."""
        if rule == ClearRule.PAPER:
            return self.sign
        p = {
            ClearRule.HOLM: self.p_holm,
            ClearRule.BENJAMINI_HOCHBERG: self.p_bh,
            ClearRule.MCNEMAR: self.p,
        }[rule]
        return 0 if p >= LEVEL else int(np.sign(self.change.value))


@dataclass(frozen=True)
class GroupChange:
    """One model against its base over a group's tasks.

    `before` and `after` are averages weighted by questions, with lm-eval's pooled errors; `change` and its interval are
    of the stratified paired bootstrap, `p_holm` adjusted for all groups of the report. `tasks` are those that could be
    compared. `unparseable` and `truncated` are rates, before and after, among the questions that are answered with
    text. `without` is the change without the contaminated questions, where a list was given. With `half`, all this is
    computed on the questions that were not used to choose the checkpoint. `target` says whether training was for the
    group.
    """

    family: str
    role: FamilyRole
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
    target: bool


@dataclass(frozen=True)
class Compared:
    """All comparisons, and the problems for which others are missing.

    A group is among `groups`, or, where answers to one of its tasks cannot be paired, among `unpaired`.
    """

    cells: list[CellChange]
    groups: list[GroupChange]
    problems: list[Problem]
    unpaired: list[UnpairedGroup] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """As JSON values, each cell with its samples files."""
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
                    "samples": {answers.model: {"sha256": answers.digest} for answers in (c.pair.base, c.pair.other)},
                }
                for c in self.cells
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
                for g in self.groups
            ],
            "unpaired": [
                {
                    "family": g.family,
                    "role": g.role,
                    "model": g.model,
                    "group": g.group,
                    "tasks": g.all_tasks,
                    "not_paired": {task.task: task.reason for task in g.tasks},
                    "before": g.before,
                    "after": g.after,
                    "questions": g.change.documents,
                    "change": g.change.value,
                    "interval": [g.change.low, g.change.high],
                    "p": {"normal": g.change.p, "holm": g.p_holm},
                }
                for g in self.unpaired
            ],
            "left_out": [{"model": p.model, "task": p.task, "reason": p.reason, **p.values} for p in self.problems],
        }


def average_score(answers: Sequence[Answers]) -> tuple[float, float]:
    """Average weighted by questions and its pooled standard error, of one model's answers to several tasks."""
    sizes = [len(of_task.right) for of_task in answers]
    mean = weighted_mean([of_task.score for of_task in answers], sizes)
    return mean, pooled_stderr([of_task.stderr for of_task in answers], sizes)


def knowledge_and_format(pair: Pair) -> tuple[float, float]:
    """The change in two parts: answers that moved between right and a readable wrong one, and the rest."""
    moved = pair.other.right - pair.base.right
    # A right answer could be read, so only the other of the two can be unreadable.
    unread = pair.base.unparseable | pair.other.unparseable
    return float(moved[~unread].sum() / len(moved)), float(moved[unread].sum() / len(moved))


def compare(families: Sequence[Family], contaminated: dict[str, set[str]] | None = None) -> Compared:
    """Compare the adapted and the merged model of every family with its base.

    Args:
        families: the families to compare.
        contaminated: task -> `doc_id` or `doc_hash` of questions that training has seen; see
            `contamination.read_contaminated`.
    """
    pairs: list[Pair] = []
    unpaired: list[UnpairedGroup] = []
    problems: list[Problem] = []
    for family in families:
        problems += family.runs.problems
        (_, base), *others = family.members()
        for role, name in others:
            of_model, not_comparable = _pairs(family.runs, base, role, name)
            pairs += of_model
            groups, differing = compare_unpaired(
                family.runs, base, role, name, paired={pair.base.task for pair in of_model}
            )
            unpaired += groups
            problems += [*not_comparable, *differing]
    chosen = {family.runs.name for family in families if family.chosen}
    order = union(family.runs.suite for family in families).groups if families else ()
    apart = {(g.family, g.role, g.group) for g in unpaired}
    together = [pair for pair in pairs if (pair.family, pair.role, pair.group) not in apart]
    groups, unpaired = _adjusted(_groups(together, order, chosen, contaminated), unpaired)
    return Compared(_cells(pairs), groups, problems, unpaired)


def _adjusted(
    groups: list[GroupChange], unpaired: list[UnpairedGroup]
) -> tuple[list[GroupChange], list[UnpairedGroup]]:
    """Groups with their p-values after Holm over all of them."""
    p_holm = holm([group.change.p for group in [*groups, *unpaired]])
    return (
        [replace(group, p_holm=p) for group, p in zip(groups, p_holm[: len(groups)], strict=True)],
        [replace(group, p_holm=p) for group, p in zip(unpaired, p_holm[len(groups) :], strict=True)],
    )


def _pairs(runs: Runs, base: str, role: FamilyRole, name: str) -> tuple[list[Pair], list[Problem]]:
    pairs, problems = [], []
    suite = runs.suite
    for task in suite.tasks:
        first, second = runs.answers.get((base, task)), runs.answers.get((name, task))
        if first is None or second is None:
            continue
        difference = difference_in_questions(first, second)
        if difference and difference[0] == Reason.OTHER_QUESTIONS and runs.stated:
            continue  # compared by the scores
        if difference is None:
            group = suite.tasks[task].group
            pairs.append(Pair(runs.name, role, first, second, group=group, target=suite.is_target(task)))
        else:
            problems.append(Problem(name, task, *difference))
    return pairs, problems


def _cells(pairs: list[Pair]) -> list[CellChange]:
    p_values = [mcnemar(pair.flips()) for pair in pairs]
    p_holm, p_bh = (adjusted(p_values, rule) for rule in (ClearRule.HOLM, ClearRule.BENJAMINI_HOCHBERG))
    return [_cell(pair, number, p=p_values, p_holm=p_holm, p_bh=p_bh) for number, pair in enumerate(pairs)]


def _cell(pair: Pair, number: int, p: list[float], p_holm: list[float], p_bh: list[float]) -> CellChange:
    before, after = pair.base, pair.other
    margin = None
    if before.margin is not None and after.margin is not None:
        ones = [1.0] * len(before.right)
        margin = paired_difference(after.margin.tolist(), before.margin.tolist(), ones)
    knowledge, form = knowledge_and_format(pair)
    return CellChange(
        pair=pair,
        change=paired_bootstrap([pair.flips()], BOOTSTRAP_SEED + number),
        p=p[number],
        p_holm=p_holm[number],
        p_bh=p_bh[number],
        sign=disjoint(before.score, before.stderr, after.score, after.stderr),
        knowledge=knowledge,
        format=form,
        margin=margin,
    )


def _groups(
    pairs: list[Pair], order: tuple[str, ...], chosen: set[str], contaminated: dict[str, set[str]] | None
) -> list[GroupChange]:
    keys = dict.fromkeys((pair.family, pair.role) for pair in pairs)
    changes = []
    for family, role in keys:
        for group in order:
            of_group = [p for p in pairs if (p.family, p.role, p.group) == (family, role, group)]
            half = family in chosen and any(pair.target for pair in of_group)
            if half:
                of_group = [second_half for pair in of_group if (second_half := _second_half(pair))]
            if of_group:
                changes.append(_group(of_group, contaminated, half=half))
    return changes


def _second_half(pair: Pair) -> Pair | None:
    """A pair on the questions that were not used to choose; None if fewer than two are left."""
    mask = ~first_half(pair.base.keys)
    if mask.sum() < 2:
        return None
    return replace(pair, base=pair.base.keep(mask), other=pair.other.keep(mask))


def _group(pairs: list[Pair], contaminated: dict[str, set[str]] | None, *, half: bool) -> GroupChange:
    before, after = [p.base for p in pairs], [p.other for p in pairs]
    sizes = [len(answers.right) for answers in before]
    knowledge, form = zip(*(knowledge_and_format(pair) for pair in pairs), strict=True)
    change = paired_bootstrap([pair.flips() for pair in pairs], BOOTSTRAP_SEED)
    written = [pair for pair in pairs if pair.base.margin is None]
    without = None
    if contaminated is not None:
        clean = [pair.flips(uncontaminated(pair.base, contaminated)) for pair in pairs]
        clean = [flips for flips in clean if flips.questions]
        without = paired_bootstrap(clean, BOOTSTRAP_SEED) if clean else None
    return GroupChange(
        family=pairs[0].family,
        role=pairs[0].role,
        model=pairs[0].other.model,
        group=pairs[0].group,
        tasks=[answers.task for answers in before],
        before=average_score(before),
        after=average_score(after),
        change=change,
        p_holm=change.p,
        knowledge=weighted_mean(knowledge, sizes),
        format=weighted_mean(form, sizes),
        unparseable=_rates([p.base.unparseable for p in written], [p.other.unparseable for p in written]),
        truncated=_rates([p.base.truncated for p in written], [p.other.truncated for p in written]),
        without=without,
        half=half,
        target=pairs[0].target,
    )


def _rates(before: list[np.ndarray | None], after: list[np.ndarray | None]) -> tuple[float, float] | None:
    """Rates of both models; None where no text is written, or it was not noted of all."""
    first, second = ([flags for flags in of_model if flags is not None] for of_model in (before, after))
    if not before or len(first) < len(before) or len(second) < len(after):
        return None
    return float(np.concatenate(first).mean()), float(np.concatenate(second).mean())
