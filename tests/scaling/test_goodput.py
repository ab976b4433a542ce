"""Goodput, against a simulation of failures, and the limits that Young and Daly give."""

import math

import numpy as np
import pytest

from pdapt.scaling.goodput import Failures, daly, goodput, young


def simulated(every: float, stall: float, mean: float, restart: float, segments: int) -> float:
    """Share of the time that counts, with failures drawn; also while restarting."""
    draw = np.random.default_rng(0)
    spent, next_failure = 0.0, draw.exponential(mean)
    for _ in range(segments):
        needed = every + stall
        while True:
            if next_failure >= spent + needed:
                spent += needed
                break
            spent = next_failure
            next_failure = spent + draw.exponential(mean)
            needed = restart + every + stall
    return segments * every / spent


@pytest.mark.parametrize(
    ("every", "stall", "mean", "restart"), [(100, 5, 1000, 30), (400, 5, 1000, 60), (50, 20, 300, 5)]
)
def test_goodput_is_what_a_simulation_gives(every: float, stall: float, mean: float, restart: float) -> None:
    found = goodput(every, stall, mean, restart)
    assert found == pytest.approx(simulated(every, stall, mean, restart, 40_000), rel=0.02)


def test_dalys_interval_is_the_best() -> None:
    stall, mean = 10.0, 5000.0
    best = daly(stall, mean)
    assert best == pytest.approx(young(stall, mean), rel=0.05)
    at_best = goodput(best, stall, mean, 60)
    assert all(goodput(best * factor, stall, mean, 60) < at_best for factor in (0.5, 0.8, 1.25, 2))
    assert young(stall, mean) == math.sqrt(2 * 10 * 5000)


def test_saves_longer_than_the_time_between_failures_leave_no_better_choice() -> None:
    assert daly(100, 40) == 40
    assert goodput(1e9, 1, 10, 1) == 0.0


def test_failures_come_as_often_as_there_are_gpus() -> None:
    assert Failures().mean_seconds(16_384) / 3600 == pytest.approx(54 * 24 / 419, rel=0.01)
