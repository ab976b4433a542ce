"""A step as a rank measures it: in seconds, and at the rank's own place."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from pdapt.training.megatron import measuring
from pdapt.training.megatron.measuring import Measuring
from pdapt.training.run.sums import DataSets


class Clock:
    """An event, 250 ms before the one that it is compared with."""

    def record(self) -> None:
        pass

    def elapsed_time(self, _: Any) -> float:
        return 250.0


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Measuring]:
    """Make the measuring of one of three ranks, on a CPU, with what it says itself as the sum of all."""
    monkeypatch.setattr(torch.cuda, "current_device", lambda: "cpu")
    monkeypatch.setattr(measuring, "_clocks", lambda: (Clock(), Clock()))
    monkeypatch.setattr(measuring, "add_up", lambda numbers: numbers)
    used = iter([100.0, 103.5, None, 110.0])
    monkeypatch.setattr(measuring, "joules", lambda: next(used))
    return lambda rank: Measuring(rank, 3, DataSets(["a", "b"], ["a"]))


def test_a_rank_s_times_are_seconds_at_its_place_and_its_energy_is_since_the_step_before(
    measure: Callable[[int], Measuring],
) -> None:
    rank = measure(1)
    results = []
    for step in (1, 2, 3):
        rank.step_begins(1e-4 * step)
        rank.training.waited = 0.5
        ones = torch.ones(1, 4)
        rank.training.add(2 * ones, ones, torch.tensor([1]), torch.tensor([[0, 3, 4]]))
        rank.compute_ends()
        results.append(rank.step_ends(step, None, grad_norm=None, skipped=False, stop_flags=[0.0]))
    first = results[0]
    assert (first.compute_seconds, first.data_waits) == ([0, 0.25, 0], [0, 0.5, 0])
    assert 0 <= first.seconds < 60
    assert (first.learning_rate, first.loss) == (1e-4, 0), "the last rank has the loss"
    assert math.isnan(first.grad_norm)
    assert (first.data.losses, first.data.counts, first.data.squares) == ([0, 8], [0, 4], 9 + 1)
    assert results[1].data == first.data, "each step is counted from its beginning"
    assert first.joules == 3.5
    assert math.isnan(results[1].joules)
    assert math.isnan(results[2].joules)


def test_the_last_rank_has_the_loss_and_validation_its_own_sums(measure: Callable[[int], Measuring]) -> None:
    rank = measure(2)
    rank.step_begins(1e-4)
    ones = torch.ones(1, 2)
    rank.recorder(training=False).add(3 * ones, ones, torch.tensor([0]), None)
    result = rank.step_ends(1, torch.tensor([1.5]), grad_norm=torch.tensor(2.0), skipped=True, stop_flags=[1.0])
    assert (result.loss, result.grad_norm, result.skipped, result.stop_flags) == (1.5, 2, True, [1])
    assert result.data.counts == [0, 0]
    validation = rank.validation_ends(1, begin=measuring.time.perf_counter() - 30)
    assert (validation.data.losses, validation.data.counts) == ([6], [2])
    assert 30 <= validation.seconds < 60
