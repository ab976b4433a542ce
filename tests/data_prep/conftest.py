"""Tasks without processes."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pdapt.data_prep.tasks.executor import TaskRunner


@pytest.fixture
def tasks_in_this_process(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Run all tasks here, the last of each step first; the steps that are run, and how many tasks each has."""
    steps: list[tuple[str, int]] = []

    def run(runner: TaskRunner, name: str, work: Callable[[Any], None], items: Sequence[Any]) -> None:
        steps.append((name, len(items)))
        for item in reversed(items):
            work(item)

    monkeypatch.setattr(TaskRunner, "run", run)
    return steps
