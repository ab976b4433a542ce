"""Messages: how a count is said, and how often progress is."""

import re
import time

import pytest

from pdapt.core.log import Progress, counted


@pytest.mark.parametrize(
    ("count", "said"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (1000, "1,000 files"), (1001, "1,001 files")]
)
def test_only_one_is_counted_in_the_singular(count: int, said: str) -> None:
    assert counted(count, "file") == said


def test_a_plural_that_is_not_the_singular_with_an_s_is_given() -> None:
    assert [counted(count, "entry is", "entries are") for count in (1, 2)] == ["1 entry is", "2 entries are"]


def test_progress_is_said_with_its_speed_and_not_with_every_block(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    progress = Progress("tokens", 40_000_000_000)
    for _ in range(8):  # a second and a GB each
        now += 1
        progress.add(1_000_000_000)
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(r"tokens: [1-8]\.0 of 40\.0 GB, 1\.00 GB/s$", line)
