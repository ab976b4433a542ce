"""The monitor's parts that need no run: what stands between a gradient and its update."""

import math
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pdapt.core.files import read_json
from pdapt.recipes.load import load
from pdapt.recipes.schema import Guard
from pdapt.training.megatron.monitor import Monitor, Place
from pdapt.training.run.failures.rank_file import RankFile
from pdapt.training.run.folder import STATE
from pdapt.training.run.guard import Judge


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
    file = RankFile(tmp_path / "ranks", 0)
    found = Monitor(load(str(recipe_file)), Place(tmp_path, 0.0), stops=None, file=file, world=2)  # type: ignore[arg-type]
    found.judge = Judge(Guard(nonfinite="skip"), [])
    return found


@pytest.mark.parametrize(
    ("error", "reason", "state"),
    [
        (None, "", "finished"),
        (SystemExit(0), "SIGTERM", "stopped"),  # the trainer's way to end before the last step
        (SystemExit(1), "", "failed"),
        (ValueError("no such thing"), "", "failed"),
    ],
)
def test_a_start_ends_in_the_state_that_it_ended_in(
    monitor: Any, tmp_path: Path, error: BaseException | None, reason: str, state: str
) -> None:
    said: list[dict[str, Any]] = []
    monitor.journal = SimpleNamespace(write=lambda event, **values: said.append({"event": event, **values}))
    monitor.trackers = SimpleNamespace(close=lambda: None)
    monitor.writes, monitor.step, monitor.reason, monitor.updated = True, 7, reason, True
    with pytest.raises(type(error)) if error else nullcontext(), monitor:
        if error:
            raise error
    expected = {"state": state, "step": 7, "reason": reason if state != "failed" else str(error)}
    assert read_json(tmp_path / STATE) == expected
    assert said == [{"event": "end", **expected}]


def test_a_state_that_is_there_is_left(monitor: Any, tmp_path: Path) -> None:
    """The guard's, or that of a run that stood still."""
    monitor.journal, monitor.writes = None, True
    monitor.trackers = SimpleNamespace(close=lambda: None)
    (tmp_path / STATE).write_text("mine")
    with monitor:
        pass
    assert (tmp_path / STATE).read_text() == "mine"


@pytest.mark.parametrize("chained", [True, False])
def test_a_gradient_that_is_not_a_number_reaches_no_weight(monitor: Any, chained: bool) -> None:
    good, bad = Optimizer(1.0, chained=chained), Optimizer(math.nan, chained=chained)
    for optimizer in (good, bad):
        monitor._stand_between(optimizer)
    assert (good.step(), good.updates) == (True, 1)
    assert (bad.step(), bad.updates) == (False, 0)


def test_a_run_whose_updates_were_all_skipped_ends_for_somebody_to_look_at(monitor: Any, tmp_path: Path) -> None:
    """Started again it would only skip them again: nothing was saved."""
    monitor.writes, monitor.step = True, 3
    monitor.reason = "--wall-time"
    monitor.journal = SimpleNamespace(write=lambda *_, **__: None)
    monitor.trackers = SimpleNamespace(close=lambda: None)
    monitor.__exit__(None, None, None)
    state = read_json(tmp_path / STATE)
    assert state["state"] == "stop"
    assert "every update was skipped" in state["reason"]
