"""Listeners of a rank: the guard everywhere, and on the last rank those that write."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from step_results import result

from pdapt.core.files import write_json
from pdapt.recipes.load import load
from pdapt.training.run.events import Listener
from pdapt.training.run.folder import SKIPPED
from pdapt.training.run.journal import JOURNAL_FILE, read
from pdapt.training.run.listeners.guard import GradientGuard
from pdapt.training.run.listeners.of_rank import Beginning, listeners_of_rank
from pdapt.training.run.sums import DataSets


@pytest.fixture
def listeners(recipe_file: Path, tmp_path: Path) -> Any:
    def make(rank: int, step: int = 0) -> list[Listener]:
        names = DataSets(training=["soins", "ville"], validation=["soins"])
        board = SimpleNamespace(add_scalar=print, flush=lambda: None)
        beginning = Beginning(load(str(recipe_file)), tmp_path, 5.0, step, rank, 2, False, names, board)
        return listeners_of_rank(beginning, cast(Any, SimpleNamespace(reason="")))

    return make


def test_a_rank_that_does_not_write_has_the_guard_alone(listeners: Any, tmp_path: Path) -> None:
    (guard,) = listeners(rank=0)
    assert isinstance(guard, GradientGuard)
    assert list(tmp_path.iterdir()) == []


def test_the_last_rank_writes_its_start_and_its_steps_to_the_journal(listeners: Any, tmp_path: Path) -> None:
    made = listeners(rank=1)
    assert isinstance(made[0], GradientGuard)
    (row,) = read(tmp_path / JOURNAL_FILE)
    assert (row["event"], row["step"], row["ranks"], row["time"]) == ("start", 0, 2, 5.0)
    for listener in made:
        listener.step_ended(result(step=1))
    for listener in made:
        listener.ended(None)
    assert [row["event"] for row in read(tmp_path / JOURNAL_FILE)] == ["start", "step", "end"]


def test_a_guard_goes_on_with_the_steps_and_rewinds_of_earlier_starts(listeners: Any, tmp_path: Path) -> None:
    for listener in listeners(rank=1):
        listener.step_ended(result(step=1))
    write_json(tmp_path / SKIPPED, [1])
    (guard,) = listeners(rank=0, step=1)
    assert (list(guard.history), guard.rewinds, guard.updated) == ([(2.0, 1.0)], 1, True)
