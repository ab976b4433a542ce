"""The monitor's parts that need no run: what stands between a gradient and its update."""

import math
from pathlib import Path
from typing import Any

import pytest

from pdapt.recipes.guard import Judge
from pdapt.recipes.load import load
from pdapt.recipes.monitor import Monitor, Place, finite
from pdapt.recipes.schema import Guard


class Optimizer:
    """Steps as Megatron's do: chained ones ask for the norm and clip, Megatron-FSDP's clips alone."""

    def __init__(self, norm: float, *, chained: bool) -> None:
        self.norm, self.updates, self.chained = norm, 0, chained
        if chained:
            self.chained_optimizers = [self]

    def get_grad_norm(self) -> float:
        return self.norm

    def clip_grad_norm(self, clip: float) -> float:
        assert clip
        return self.norm

    def step_with_ready_grads(self) -> bool:
        self.updates += 1
        return True

    def step(self) -> bool:
        found = self.get_grad_norm() if self.chained else self.clip_grad_norm(1.0)
        assert found is not None
        return self.step_with_ready_grads()


@pytest.fixture
def monitor(tmp_path: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Of a rank that does not write, in a world of two."""
    monkeypatch.setattr("torch.cuda.Event", lambda **_: None)
    found = Monitor(load(str(recipe_file)), Place(tmp_path, 0.0), stops=None, rank=0, world=2)  # type: ignore[arg-type]
    found.judge = Judge(Guard(nonfinite="skip"), [], 0)
    return found


@pytest.mark.parametrize("chained", [True, False])
def test_a_gradient_that_is_not_a_number_reaches_no_weight(monitor: Any, chained: bool) -> None:
    good, bad = Optimizer(1.0, chained=chained), Optimizer(math.nan, chained=chained)
    for optimizer in (good, bad):
        monitor._stand_between(optimizer)
    assert (good.step(), good.updates) == (True, 1)
    assert (bad.step(), bad.updates) == (False, 0)


def test_json_holds_no_number_that_is_not_finite() -> None:
    assert [finite(value) for value in (1.5, math.nan, math.inf)] == [1.5, None, None]
