"""A rank that nobody of ours looks after, on a full disk."""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.training import rank
from pdapt.training.run.failures import cause


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), RuntimeError("write failed: No space left on device")]
)
def test_a_rank_that_a_full_disk_ends_names_the_runs_disk(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system says of a write to which file it was no more than a library does."""

    def fails(_: object) -> None:
        raise error

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(rank, "run_rank", fails)
    monkeypatch.setattr(rank, "publish", lambda *_: None)
    task: Any = SimpleNamespace(out=tmp_path / "run")
    (tmp_path / "run" / "logs").mkdir(parents=True)
    with pytest.raises(UserError, match=r"the disk is full: .* GB are free on ") as refused:
        rank.run_rank_alone(task)
    assert refused.value.where == str(tmp_path / "run")


def test_a_full_disk_does_not_hide_whom_a_rank_has_lost(
    small_disk: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = small_disk("1m")
    with suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
        while file.write(bytes(2**12)):
            pass
    monkeypatch.setattr(cause, "PATIENCE", 0)
    cause.publish(folder, 1)
    assert "rank 1 has lost another rank" in capsys.readouterr().err
