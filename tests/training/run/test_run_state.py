"""Messages between the ranks of one start, through the run's folder."""

import threading
from pathlib import Path

import pytest

from pdapt.training.run.run_state import PREPARED, say_prepared, wait_until_prepared


def test_ranks_wait_until_the_folder_is_prepared_for_their_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "41.1")
    (tmp_path / PREPARED).write_text("41.0.0")  # of the start before
    waiting = threading.Thread(target=wait_until_prepared, args=(tmp_path,), daemon=True)
    waiting.start()
    waiting.join(timeout=0.5)
    assert waiting.is_alive()
    say_prepared(tmp_path)
    waiting.join(timeout=10)
    assert not waiting.is_alive()
