"""When a save is whole, and how long it has held training up."""

import time
from pathlib import Path

from pdapt.core.checkpoint import TRACKER
from pdapt.training.run.listeners.saves import PendingSaves


def test_a_save_is_whole_once_the_tracker_names_it_or_a_later_one(tmp_path: Path) -> None:
    saves = PendingSaves()
    assert saves.last == -1
    for step in (2, 4, 6):
        saves.begun(step, time.perf_counter() - step)
    assert saves.last == 6
    assert list(saves.whole(tmp_path, 0.0, asynchronous=True)) == []
    (tmp_path / TRACKER).write_text("4")
    first, second = saves.whole(tmp_path, 0.5, asynchronous=True)
    assert (first.step, second.step) == (2, 4)
    for save in (first, second):
        assert save.asynchronous
        assert save.step + 0.5 <= save.stall_seconds < save.step + 0.6, "its beginning and its end held training up"
        assert save.step <= save.seconds < save.step + 0.1
    assert list(saves.whole(tmp_path, 0.5, asynchronous=True)) == [], "each once"
    assert list(saves.pending) == [6]
