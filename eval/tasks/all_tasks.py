"""All tasks that pdapt runs: the paper's 28, and those from clinical documents."""

from collections.abc import Collection
from fnmatch import fnmatchcase

from ...core.errors import UserError, nearest
from ..clinical.documents.document_tasks import CLINICAL_GROUP, DOCUMENT_TASKS
from ..clinical.numbers.number_tasks import NUMBER_TASKS, NUMBERS_GROUP
from .suite import GROUPS, PAPER_SUITE, SUITE, TASKS, Benchmark
from .task_suite import TaskSuite

ALL_TASKS: dict[str, Benchmark] = {task.name: task for task in (*SUITE, *DOCUMENT_TASKS, *NUMBER_TASKS)}
"""Group by group, the paper's first."""
ALL_GROUPS = (*GROUPS, CLINICAL_GROUP, NUMBERS_GROUP)


def choose_tasks(patterns: list[str]) -> list[Benchmark]:
    """Tasks by name, group or pattern, such as `mmlu_prox_fr_*`; without any, the paper's 28.

    Raises:
        UserError: a pattern matches no task.
    """
    for pattern in patterns:
        if not any(_matches(task, pattern) for task in ALL_TASKS.values()):
            raise UserError(
                f"no task is called {pattern!r}",
                where="--tasks",
                allowed=f"{', '.join(ALL_GROUPS)}, a task's name, or a pattern such as 'mmlu_prox_fr_*'",
                fix=nearest(pattern, [*ALL_GROUPS, *ALL_TASKS]),
            )
    if not patterns:
        return list(SUITE)
    return [task for task in ALL_TASKS.values() if any(_matches(task, pattern) for pattern in patterns)]


def suite_of_tasks(names: Collection[str]) -> TaskSuite:
    """The suite that results of some tasks are of: the paper's where all are, else with the other groups.

    A group that is not the paper's is never the target: no checkpoint is chosen by it.
    """
    others = {name: task for name, task in ALL_TASKS.items() if name in names and name not in TASKS}
    if not others:
        return PAPER_SUITE
    groups = tuple(group for group in ALL_GROUPS if any(task.group == group for task in others.values()))
    if any(name in TASKS for name in names):
        return TaskSuite(TASKS | others, (*GROUPS, *groups), PAPER_SUITE.target)
    return TaskSuite(others, groups, None)


def _matches(task: Benchmark, pattern: str) -> bool:
    return pattern == task.group or fnmatchcase(task.name, pattern)
