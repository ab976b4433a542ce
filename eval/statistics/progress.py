"""A family's checkpoints: how the groups' averages move with training, which checkpoint is chosen, and how much of its
gain the choice itself has made.

Our rule, stated before any score is seen: the questions of each task are put in two halves by their hash; the
checkpoint with the best FR-MEDICAL average on the first half is chosen, and what it gains is told on the second. The
paper's rule is the checkpoint with the most tasks above the base, on the very questions that the gain is told on.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..benchmark.cells import Answers, Member, Problem, Runs, differs, first_half
from ..tasks.suite import GROUPS, TARGET, TASKS
from .compare import average
from .estimates import Flips, paired_bootstrap

SPLITS = 200
"""Random halves by which a rule's optimism is measured."""
SEED = 0


@dataclass(frozen=True)
class Point:
    """A checkpoint's average of a group with its error, and its change against the base with a 95 % interval."""

    step: int
    model: str
    group: str
    value: float
    stderr: float
    change: float
    low: float
    high: float


@dataclass(frozen=True)
class Rule:
    """What a rule chooses, and what that is worth.

    Attributes:
        model: the chosen checkpoint.
        seen: change of the target's average on the questions that chose it.
        unseen: the same on questions that did not: for our rule the second half, for the paper's the mean over splits.
        optimism: mean over random halves of the change on the half that chose less that on the other.
    """

    model: str
    seen: float
    unseen: float
    optimism: float


@dataclass(frozen=True)
class Progress:
    """A family's checkpoints: points by group, both rules, and what was left out."""

    family: str
    points: list[Point]
    ours: Rule
    papers: Rule
    problems: list[Problem]


@dataclass(frozen=True)
class _Change:
    """Of one task: right answers of each checkpoint less the base's; [checkpoints, questions]."""

    target: bool
    change: np.ndarray
    first_half: np.ndarray


def progress(runs: Runs) -> Progress | None:
    """How a family's checkpoints move and which is chosen; None where it has none, or they share no target task.

    Tasks that one of the checkpoints lacks are left out for all, so that all are judged on the same questions.
    """
    members = runs.named("checkpoint")
    bases = runs.named("base")
    if not members or not bases:
        return None
    tasks, problems = _shared(runs, bases[0].name, members)
    if not any(task for task in tasks if TASKS[task].group == TARGET):
        return None
    base = {task: runs.answers[bases[0].name, task] for task in tasks}
    points = [_point(runs, member, base, group) for member in members for group in _groups(tasks)]
    changes = [_change(runs, members, base[task]) for task in tasks]
    halves = [change.first_half for change in changes]
    ours, papers = _choose_by_average(changes, halves), _choose_by_count(changes, _all(changes))
    seen, unseen = _gain(changes, halves, ours), _gain(changes, [~half for half in halves], ours)
    our_optimism, _ = _optimism(changes, _choose_by_average)
    their_optimism, elsewhere = _optimism(changes, _choose_by_count)
    return Progress(
        runs.name,
        points,
        Rule(members[ours].name, seen, unseen, our_optimism),
        Rule(members[papers].name, _gain(changes, _all(changes), papers), elsewhere, their_optimism),
        problems,
    )


def _shared(runs: Runs, base: str, members: list[Member]) -> tuple[list[str], list[Problem]]:
    tasks, problems = [], []
    for task in TASKS:
        found = [runs.answers.get((name, task)) for name in (base, *(m.name for m in members))]
        whole = [its for its in found if its is not None]
        if len(whole) < len(found):
            if whole:
                problems.append(Problem(runs.name, task, "not_of_all", {"found": len(whole), "models": len(found)}))
            continue
        reasons = [(its.model, why) for its in whole[1:] if (why := differs(whole[0], its))]
        problems += [Problem(model, task, *why) for model, why in reasons]
        if not reasons:
            tasks.append(task)
    return tasks, problems


def _groups(tasks: list[str]) -> list[str]:
    return [group for group in GROUPS if any(TASKS[task].group == group for task in tasks)]


def _point(runs: Runs, member: Member, base: dict[str, Answers], group: str) -> Point:
    its = [(answers, runs.answers[member.name, task]) for task, answers in base.items() if TASKS[task].group == group]
    value, stderr = average([after for _, after in its])
    moved = [after.right - before.right for before, after in its]
    flips = [Flips(int((m > 0).sum()), int((m < 0).sum()), len(m)) for m in moved]
    found = paired_bootstrap(flips, SEED)
    return Point(member.step or 0, member.name, group, value, stderr, found.value, found.low, found.high)


def _change(runs: Runs, members: list[Member], base: Answers) -> _Change:
    rows = np.stack([runs.answers[member.name, base.task].right - base.right for member in members])
    return _Change(TASKS[base.task].group == TARGET, rows, first_half(base.keys))


def _all(changes: list[_Change]) -> list[np.ndarray]:
    return [np.ones(change.change.shape[1], bool) for change in changes]


def _gains(changes: list[_Change], masks: list[np.ndarray]) -> np.ndarray:
    """Change of the target's average for each checkpoint, on the questions that the masks keep."""
    its = [(c.change, mask) for c, mask in zip(changes, masks, strict=True) if c.target]
    kept = sum(int(mask.sum()) for _, mask in its)
    return sum((change[:, mask].sum(axis=1) for change, mask in its), np.zeros(len(its[0][0]))) / max(kept, 1)


def _gain(changes: list[_Change], masks: list[np.ndarray], chosen: int) -> float:
    return float(_gains(changes, masks)[chosen])


def _choose_by_average(changes: list[_Change], masks: list[np.ndarray]) -> int:
    """Our rule; of equals the earliest."""
    return int(np.argmax(_gains(changes, masks)))


def _choose_by_count(changes: list[_Change], masks: list[np.ndarray]) -> int:
    """The paper's rule; of equals the earliest."""
    improved = [change.change[:, mask].sum(axis=1) > 0 for change, mask in zip(changes, masks, strict=True)]
    return int(np.argmax(np.sum(improved, axis=0)))


def _optimism(changes: list[_Change], choose: Callable[[list[_Change], list[np.ndarray]], int]) -> tuple[float, float]:
    """Mean over random halves of the chosen one's gain on the half that chose less that on the other; and of that."""
    random = np.random.default_rng(SEED)
    gaps, others = [], []
    for _ in range(SPLITS):
        masks = [random.random(change.change.shape[1]) < 0.5 for change in changes]
        chosen = choose(changes, masks)
        others.append(_gain(changes, [~mask for mask in masks], chosen))
        gaps.append(_gain(changes, masks, chosen) - others[-1])
    return float(np.mean(gaps)), float(np.mean(others))
