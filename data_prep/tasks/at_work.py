"""The tasks of a stage while it is at work, if it has any."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.files import remove
from .task_options import Tasks

if TYPE_CHECKING:
    from .executor import TaskRunner

TASKS = ".tasks"
"""Folder of a stage's tasks while it is at work, in one named after their number."""
REMOVED = ".tasks.removed"
"""Its name while it is removed, so that a run that is interrupted then leaves nothing that is taken for finished."""


@contextmanager
def tasks_at_work(stage: str, folder: Path, tasks: Tasks | None) -> "Iterator[TaskRunner | None]":
    """The runner of a stage's tasks within the block; None where its work is one.

    Args:
        stage: its name, for messages.
        folder: in which the tasks have one that is named after their number.
        tasks: who runs them.
    """
    if tasks is None:
        yield None
        return
    from .executor import task_runner  # datatrove is loaded where it is used

    with task_runner(stage, folder / str(tasks.most), tasks) as runner:
        yield runner


def remove_tasks(work: Path) -> None:
    """Remove what a stage's tasks have left in its folder, if there were any."""
    remove(work / REMOVED)
    if (work / TASKS).exists():
        (work / TASKS).rename(work / REMOVED)
        remove(work / REMOVED)
