"""Calls of Megatron's trainer become events; what stands between a gradient and its update needs no run."""

import math
from types import SimpleNamespace
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.recipes.schema import Guard, GuardAction
from pdapt.training.megatron.hooks import HOOKED, Call, Hooks, hooked
from pdapt.training.run.events import Events
from pdapt.training.run.failures.rank_file import Phase
from pdapt.training.run.listeners.guard import GradientGuard


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


class Phases(GradientGuard):
    """A guard that notes what the rank does."""

    def __init__(self, guard: Guard) -> None:
        super().__init__(guard, [])
        self.phases: list[str] = []

    def phase_begins(self, phase: str) -> None:
        self.phases.append(phase)


def hooks(trainer: Any, *listeners: GradientGuard) -> Hooks:
    stand_in: Any = None
    return Hooks(trainer, Events(listeners), stand_in, stand_in, watches_loss=False)


@pytest.mark.parametrize("chained", [True, False])
def test_a_gradient_that_is_not_a_number_reaches_no_weight(chained: bool) -> None:
    good, bad = Optimizer(1.0, chained=chained), Optimizer(math.nan, chained=chained)
    listener = Phases(Guard(nonfinite=GuardAction.SKIP))
    for optimizer in (good, bad):
        hooks(None, listener).stand_between(optimizer)
    assert (good.step(), good.updates) == (True, 1)
    assert (bad.step(), bad.updates) == (False, 0)
    assert listener.phases == [Phase.OPTIMIZER, Phase.OPTIMIZER]


@pytest.mark.parametrize(("action", "code"), [("stop", 76), ("rewind", 75)])
def test_a_verdict_that_ends_the_run_finishes_its_saves_first(action: str, code: int) -> None:
    """With the code of a halt, or of a stop after which the same command goes on."""
    finished: list[dict[str, bool]] = []
    trainer = SimpleNamespace(maybe_finalize_async_save=lambda **values: finished.append(values))
    bad = Optimizer(math.inf, chained=True)
    hooks(trainer, GradientGuard(Guard(nonfinite=action), [])).stand_between(bad)
    with pytest.raises(SystemExit) as end:
        bad.step()
    assert end.value.code == code
    assert (finished, bad.updates) == ([{"blocking": True, "terminate": True}], 0)


def test_arguments_are_read_by_name_however_they_are_given() -> None:
    seen: list[Any] = []

    def around(call: Call) -> Any:
        seen.append(call["step"])
        return call.proceed(rate=0.5)

    module = SimpleNamespace(__name__="trainer", log=lambda losses, rate, step=7: (losses, rate, step))
    log = hooked(module, "log", ("step", "rate"), around)
    assert log("losses", 0.1, 3) == log("losses", rate=0.1, step=3) == ("losses", 0.5, 3)
    assert seen == [3, 3]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"train_step": lambda data, optimizer, step: (data, optimizer, step)},
            "train_step has no parameter iteration",
        ),
        ({"train_step": None}, "train_step is not there"),
    ],
)
def test_a_trainer_of_another_version_is_refused_and_left_as_it_is(changed: dict[str, Any], message: str) -> None:
    from megatron.training import training

    functions = {name: getattr(training, name) for name in HOOKED} | changed
    trainer = SimpleNamespace(__name__="megatron.training.training", **functions)
    with pytest.raises(UserError, match=f"megatron-core is not the version(.|\n)*{message}"):
        hooks(trainer).install(lambda _: [])
    assert {name: getattr(trainer, name) for name in functions} == functions
