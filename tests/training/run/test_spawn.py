"""The threads of ranks, and the end of a failed trainer's log that is shown where no rank has left a file."""

import os
from pathlib import Path

import pytest

from pdapt.core.errors import Failed
from pdapt.training.run.spawn import fail, threads


def test_an_error_before_there_are_ranks_is_shown(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_text("Traceback\nValueError: odd\nW elastic/multiprocessing/api.py closing\n")
    with pytest.raises(Failed, match="code 3; the end of its log:\nTraceback\nValueError: odd\n  where: ") as failed:
        fail(3, tmp_path / "train.log", 0)
    assert "api.py" not in str(failed.value)


@pytest.mark.parametrize(
    ("given", "ranks", "expected"),
    [(None, 1, 8), (None, 3, 2), (None, 16, 1), ("2", 1, 2), ("2", 8, 1), ("0", 2, 4), ("4,2", 2, 4), ("", 2, 4)],
)
def test_ranks_share_the_cores_and_keep_within_the_environments_threads(
    given: str | None, ranks: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list, or what is no number, is not for ranks."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    assert threads(ranks) == expected
