"""Changes of scores whose answers cannot be paired: the two as if from different questions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import hypot

from scipy import stats

from ..benchmark.read_results import (
    Problem,
    Reason,
    Runs,
    StatedScore,
    difference_in_protocol,
    difference_in_questions,
)
from .estimates import Difference, pooled_stderr, weighted_mean
from .family import FamilyRole


class Unpaired(StrEnum):
    """Why answers are not paired: keys of the report's texts."""

    NO_SAMPLES = "no_samples"
    OTHER_DOCUMENTS = "other_documents"


@dataclass(frozen=True)
class UnpairedChange:
    """One model against its base on a task, by what lm-eval's results state of both."""

    task: str
    before: StatedScore
    after: StatedScore
    reason: Unpaired

    @property
    def change(self) -> Difference:
        """The difference, with the errors of both."""
        return difference(
            (self.before.score, self.before.stderr),
            (self.after.score, self.after.stderr),
            min(self.before.questions, self.after.questions),
        )


@dataclass(frozen=True)
class UnpairedGroup:
    """One model against its base over a group's tasks, some of whose answers cannot be paired.

    `before`, `after` and `change` are of the averages, as if of different questions; `p_holm` is adjusted for all
    groups of the report; `tasks` are those that cannot be paired, of `all_tasks`.
    """

    family: str
    role: FamilyRole
    model: str
    group: str
    all_tasks: list[str]
    tasks: list[UnpairedChange]
    before: tuple[float, float]
    after: tuple[float, float]
    change: Difference
    p_holm: float
    target: bool


def difference(before: tuple[float, float], after: tuple[float, float], questions: int) -> Difference:
    """`after` less `before`, score and standard error each, by the normal distribution (a z test)."""
    value, stderr = after[0] - before[0], hypot(before[1], after[1])
    reach = stderr * float(stats.norm.ppf(0.975))
    p = 2 * float(stats.norm.sf(abs(value) / stderr)) if stderr else float(value == 0)
    return Difference(value=value, stderr=stderr, low=value - reach, high=value + reach, p=p, documents=questions)


def average(scores: Sequence[StatedScore]) -> tuple[float, float]:
    """Average weighted by questions and its pooled error, as lm-eval computes a group's."""
    sizes = [score.questions for score in scores]
    return weighted_mean([s.score for s in scores], sizes), pooled_stderr([s.stderr for s in scores], sizes)


def group_difference(pairs: Mapping[str, tuple[StatedScore, StatedScore]]) -> Difference:
    """The change of the average over tasks, task -> scores before and after."""
    before, after = ([pair[which] for pair in pairs.values()] for which in (0, 1))
    questions = sum(min(a.questions, b.questions) for a, b in pairs.values())
    return difference(average(before), average(after), questions)


def compare_unpaired(
    runs: Runs, base: str, role: FamilyRole, name: str, paired: set[str]
) -> tuple[list[UnpairedGroup], list[Problem]]:
    """The groups with a task whose answers are not paired, and tasks that were put to the two in other ways.

    Args:
        runs: with scores as lm-eval states them; others have no such groups.
        base, name: the two models.
        role: of the second.
        paired: tasks whose answers are paired.
    """
    groups: list[UnpairedGroup] = []
    problems: list[Problem] = []
    suite = runs.suite
    for group in suite.groups if runs.stated else ():
        scores: dict[str, tuple[StatedScore, StatedScore]] = {}
        for task in (task.name for task in suite.of_group(group)):
            pair = runs.stated.get((base, task)), runs.stated.get((name, task))
            if pair[0] is None or pair[1] is None:
                continue
            difference = difference_in_protocol(pair[0].protocol, pair[1].protocol)
            if difference is None:
                scores[task] = pair[0], pair[1]
            elif not ((base, task) in runs.answers and (name, task) in runs.answers):
                problems.append(Problem(name, task, *difference))
        reasons = {task: reason for task in scores if (reason := _reason(runs, base, name, task=task, paired=paired))}
        if reasons:
            of_group = {task: pair for task, pair in scores.items() if task in paired or task in reasons}
            groups.append(_unpaired_group(runs, role, name, group=group, scores=of_group, reasons=reasons))
    return groups, problems


def _reason(runs: Runs, base: str, name: str, task: str, paired: set[str]) -> Unpaired | None:
    """Why answers to a task are not paired; None where they are, or must not be compared at all."""
    first, second = runs.answers.get((base, task)), runs.answers.get((name, task))
    if task in paired:
        return None
    if first is None or second is None:
        return Unpaired.NO_SAMPLES
    difference = difference_in_questions(first, second)
    return Unpaired.OTHER_DOCUMENTS if difference and difference[0] == Reason.OTHER_QUESTIONS else None


def _unpaired_group(
    runs: Runs,
    role: FamilyRole,
    name: str,
    group: str,
    scores: dict[str, tuple[StatedScore, StatedScore]],
    reasons: dict[str, Unpaired],
) -> UnpairedGroup:
    change = group_difference(scores)
    return UnpairedGroup(
        family=runs.name,
        role=role,
        model=name,
        group=group,
        all_tasks=list(scores),
        tasks=[UnpairedChange(task, *scores[task], reason=reason) for task, reason in reasons.items()],
        before=average([before for before, _ in scores.values()]),
        after=average([after for _, after in scores.values()]),
        change=change,
        p_holm=change.p,
        target=group == runs.suite.target,
    )
