"""A rank that stays the slowest is reported."""

from typing import Any

import pytest
from step_results import result

from pdapt.training.run.listeners import straggler
from pdapt.training.run.listeners.straggler import Straggler, slowest_rank


@pytest.fixture(autouse=True)
def four_steps_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(straggler, "STRAGGLING", 4)


def report_of(limit: float | None, steps: list[list[float]]) -> list[dict[str, Any]]:
    """The reports on steps whose ranks computed for so many seconds."""
    reported: list[dict[str, Any]] = []
    listener = Straggler(limit, lambda event, **values: reported.append({"event": event, **values}))
    for number, seconds in enumerate(steps, start=1):
        listener.step_ended(result(step=number, compute_seconds=seconds))
    return reported


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [([1.0, 3.0, 2.0], (1, 1.5)), ([1.0, 2.0], (1, 2.0)), ([2.0, 2.0], (0, 1.0)), ([0.0, 0.0], (0, 1.0))],
)
def test_the_slowest_rank_is_compared_with_the_median_one(seconds: list[float], expected: tuple[int, float]) -> None:
    assert slowest_rank(seconds) == expected


def test_a_rank_is_reported_once_it_has_been_the_slowest_for_long(capsys: pytest.CaptureFixture[str]) -> None:
    slow = [[1.0, 3.0, 2.0]] * 9
    assert report_of(1.5, slow[:3]) == []
    assert report_of(1.5, slow) == [{"event": "straggler", "step": 4, "rank": 1, "ratio": 1.5}]
    assert "straggler: rank 1 computed 1.50 x as long as the median rank" in capsys.readouterr().out


def test_another_slow_rank_and_a_fast_step_begin_the_count_anew() -> None:
    first, second, even = [3.0, 1.0, 2.0], [1.0, 3.0, 2.0], [1.0, 1.0, 1.0]
    assert report_of(1.5, [first] * 3 + [second] * 3) == []
    assert report_of(1.5, [first] * 3 + [even] + [first] * 3) == []


def test_without_a_limit_nobody_is_reported() -> None:
    assert report_of(None, [[1.0, 9.0, 1.0]] * 8) == []
