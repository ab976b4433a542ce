"""The choice of a checkpoint: scores along training, the chosen checkpoint, and the optimism of the choice.

Our rule, stated before any score is seen: the questions of each task are split in two halves by their hash; the
checkpoint with the best average of the target group (FR-MEDICAL) on the first half is chosen, and its gain is computed
on the second. The paper's rule is the checkpoint with the most tasks above the base, on the same questions that its
gain is computed on.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..benchmark.read_results import Answers, Member, Problem, Reason, Runs, difference_in_questions, first_half
from ..models import Role
from ..tasks.task_suite import TaskSuite
from .compare import average_score
from .estimates import Flips, paired_bootstrap

OPTIMISM_SPLITS = 200
"""Random halves by which a rule's optimism is measured."""
SPLITS_SEED = 0


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
    questions: int


@dataclass(frozen=True)
class Choice:
    """The checkpoint that a rule chooses, and its gain.

    Attributes:
        model: the chosen checkpoint.
        seen: change of the target's average on the questions that were used to choose it.
        unseen: the same on questions that did not: for our rule the second half, for the paper's the mean over splits.
        optimism: mean over random halves of the change on the half that chose minus that on the other.
    """

    model: str
    seen: float
    unseen: float
    optimism: float


@dataclass(frozen=True)
class Progress:
    """A family's checkpoints: points by group, the choices of both rules, and tasks that were left out."""

    family: str
    points: list[Point]
    ours: Choice
    papers: Choice
    problems: list[Problem]


@dataclass(frozen=True)
class _TaskChange:
    """A task's right answers of each checkpoint minus the base's, [checkpoints, questions]."""

    target: bool
    change: np.ndarray
    first_half: np.ndarray


def follow_checkpoints(runs: Runs) -> Progress | None:
    """Scores of a family's checkpoints and the chosen one; None where it has none, or they share no target task.

    Tasks that one of the checkpoints lacks are left out for all, so that all are judged on the same questions.
    """
    members = runs.with_role(Role.CHECKPOINT)
    bases = runs.with_role(Role.BASE)
    if not members or not bases:
        return None
    tasks, problems = _shared(runs, bases[0].name, members)
    if not any(map(runs.suite.is_target, tasks)):
        return None
    base = {task: runs.answers[bases[0].name, task] for task in tasks}
    points = [_point(runs, member, base, group) for member in members for group in _groups(tasks, runs.suite)]
    changes = [_change(runs, members, base[task]) for task in tasks]
    halves = [change.first_half for change in changes]
    ours, papers = _choose_by_average(changes, halves), _choose_by_count(changes, _all(changes))
    seen, unseen = _gain(changes, halves, ours), _gain(changes, [~half for half in halves], ours)
    our_optimism, _ = _optimism(changes, _choose_by_average)
    their_optimism, elsewhere = _optimism(changes, _choose_by_count)
    return Progress(
        runs.name,
        points,
        ours=Choice(members[ours].name, seen, unseen, our_optimism),
        papers=Choice(members[papers].name, _gain(changes, _all(changes), papers), elsewhere, their_optimism),
        problems=problems,
    )


def _shared(runs: Runs, base: str, members: list[Member]) -> tuple[list[str], list[Problem]]:
    tasks, problems = [], []
    for task in runs.suite.tasks:
        names = [base, *(member.name for member in members)]
        answers = [runs.answers[name, task] for name in names if (name, task) in runs.answers]
        if len(answers) < len(names):
            if answers and not all((name, task) in runs.stated for name in names):
                problems.append(
                    Problem(runs.name, task, Reason.NOT_OF_ALL, {"found": len(answers), "models": len(names)})
                )
            continue
        differing = [
            Problem(others.model, task, *difference)
            for others in answers[1:]
            if (difference := difference_in_questions(answers[0], others))
        ]
        problems += differing
        if not differing:
            tasks.append(task)
    return tasks, problems


def _groups(tasks: list[str], suite: TaskSuite) -> list[str]:
    return [group for group in suite.groups if any(suite.tasks[task].group == group for task in tasks)]


def _point(runs: Runs, member: Member, base: dict[str, Answers], group: str) -> Point:
    of_group = [task for task in base if runs.suite.tasks[task].group == group]
    pairs = [(base[task], runs.answers[member.name, task]) for task in of_group]
    value, stderr = average_score([after for _, after in pairs])
    moved = [after.right - before.right for before, after in pairs]
    flips = [Flips(int((m > 0).sum()), int((m < 0).sum()), len(m)) for m in moved]
    change = paired_bootstrap(flips, SPLITS_SEED)
    return Point(
        step=member.step or 0,
        model=member.name,
        group=group,
        value=value,
        stderr=stderr,
        change=change.value,
        low=change.low,
        high=change.high,
        questions=change.documents,
    )


def _change(runs: Runs, members: list[Member], base: Answers) -> _TaskChange:
    rows = np.stack([runs.answers[member.name, base.task].right - base.right for member in members])
    return _TaskChange(runs.suite.is_target(base.task), rows, first_half(base.keys))


def _all(changes: list[_TaskChange]) -> list[np.ndarray]:
    return [np.ones(change.change.shape[1], bool) for change in changes]


def _gains(changes: list[_TaskChange], masks: list[np.ndarray]) -> np.ndarray:
    """Change of the target group's average, [checkpoints], on the questions that the masks keep."""
    of_target = [(task.change, mask) for task, mask in zip(changes, masks, strict=True) if task.target]
    kept = sum(int(mask.sum()) for _, mask in of_target)
    gained = sum((change[:, mask].sum(axis=1) for change, mask in of_target), np.zeros(len(of_target[0][0])))
    return gained / max(kept, 1)


def _gain(changes: list[_TaskChange], masks: list[np.ndarray], chosen: int) -> float:
    return float(_gains(changes, masks)[chosen])


def _choose_by_average(changes: list[_TaskChange], masks: list[np.ndarray]) -> int:
    """Our rule; among equals the earliest."""
    return int(np.argmax(_gains(changes, masks)))


def _choose_by_count(changes: list[_TaskChange], masks: list[np.ndarray]) -> int:
    """The paper's rule; among equals the earliest."""
    improved = [change.change[:, mask].sum(axis=1) > 0 for change, mask in zip(changes, masks, strict=True)]
    return int(np.argmax(np.sum(improved, axis=0)))


def _optimism(
    changes: list[_TaskChange], choose: Callable[[list[_TaskChange], list[np.ndarray]], int]
) -> tuple[float, float]:
    """Optimism of a rule over random halves, and the mean gain on the half that was not used to choose.

    Optimism is the mean of the chosen checkpoint's gain on the half that chose minus that on the other.
    """
    random = np.random.default_rng(SPLITS_SEED)
    gaps, others = [], []
    for _ in range(OPTIMISM_SPLITS):
        masks = [random.random(change.change.shape[1]) < 0.5 for change in changes]
        chosen = choose(changes, masks)
        others.append(_gain(changes, [~mask for mask in masks], chosen))
        gaps.append(_gain(changes, masks, chosen) - others[-1])
    return float(np.mean(gaps)), float(np.mean(others))
