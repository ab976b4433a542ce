"""Verdicts on losses and gradient norms."""

import math

import pytest
from step_results import result

from pdapt.recipes.schema import Guard, GuardAction
from pdapt.training.run.events import Gradient, StepResult, Verdict
from pdapt.training.run.listeners.guard import GradientGuard

CALM = [(2.0 + 0.01 * (-1) ** n, 1.0 + 0.02 * (-1) ** n) for n in range(32)]


def guard(
    history: list[tuple[float, float]] = CALM, *, skips: int = 0, rewinds: int = 0, **values: object
) -> GradientGuard:
    return GradientGuard(Guard(**values), history, skips=skips, rewinds=rewinds)  # type: ignore[arg-type]


def verdict(guard: GradientGuard, loss: float | None, norm: float) -> Verdict | None:
    return guard.gradient_is_ready(Gradient(1, norm, loss))


def step(loss: float, norm: float, *, skipped: bool = False) -> StepResult:
    return result(loss=loss, grad_norm=norm, skipped=skipped)


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (2.0, math.nan), (None, -math.inf)])
def test_what_is_not_finite_is_acted_on_without_any_history(loss: float | None, norm: float) -> None:
    found = verdict(guard([], nonfinite=GuardAction.SKIP), loss, norm)
    assert found is not None
    assert found.action == GuardAction.SKIP


def test_a_spike_is_one_only_far_above_the_last_steps() -> None:
    watching = guard(spike=GuardAction.WARN, deviations=6)
    assert verdict(watching, 2.05, 1.1) is None
    assert verdict(watching, 0.1, 0.1) is None, "a low loss is no spike"
    high_loss, high_norm = verdict(watching, 2.2, 1.0), verdict(watching, 2.0, 2.0)
    assert high_loss is not None
    assert "loss 2.2; the last 32 steps had 2 ± 0.01" in high_loss.reason
    assert high_norm is not None
    assert high_norm.reason.startswith("gradient norm 2")


def test_spikes_are_not_looked_for_unless_asked_nor_without_history() -> None:
    assert verdict(guard(), 99.0, 99.0) is None
    assert verdict(guard(CALM[:15], spike=GuardAction.SKIP), 99.0, 99.0) is None
    assert verdict(guard(CALM[:16], spike=GuardAction.SKIP), 99.0, 99.0) is not None


def test_a_resumed_run_judges_as_the_one_that_was_not_interrupted() -> None:
    whole = guard([], spike=GuardAction.SKIP, window=20)
    for loss, norm in CALM:
        whole.step_ended(step(loss, norm))
    rows = [
        {"event": "step", "start": 0, "step": number, "skipped": False, "loss": loss, "grad_norm": norm}
        for number, (loss, norm) in enumerate(CALM, start=1)
    ]
    begins = {"event": "start", "start": 0, "step": 0}
    resumed = GradientGuard.resumed(Guard(spike=GuardAction.SKIP, window=20), [begins, *rows], step=32, rewinds=0)
    assert list(whole.history) == list(resumed.history) == CALM[-20:]
    earlier = GradientGuard.resumed(Guard(spike=GuardAction.SKIP, window=20), [begins, *rows], step=10, rewinds=0)
    assert list(earlier.history) == CALM[:10]


def test_skipped_steps_and_steps_without_numbers_are_not_compared_with() -> None:
    rows = [
        {"event": "step", "start": 0, "step": 1, "skipped": False, "loss": 2.0, "grad_norm": 1.0},
        {"event": "step", "start": 0, "step": 2, "skipped": True, "loss": 9.0, "grad_norm": 9.0},
        {"event": "step", "start": 0, "step": 3, "skipped": False, "loss": None, "grad_norm": 1.0},
    ]
    resumed = GradientGuard.resumed(Guard(), rows, step=3, rewinds=2)
    assert (list(resumed.history), resumed.skips, resumed.rewinds) == ([(2.0, 1.0)], 1, 2)
    resumed.step_ended(step(9.0, 9.0, skipped=True))
    resumed.step_ended(step(math.nan, 1.0))
    assert list(resumed.history) == [(2.0, 1.0)]


def test_there_is_something_to_save_from_the_first_update_on() -> None:
    fresh = guard([])
    assert not fresh.may_save()
    fresh.step_ended(step(9.0, 9.0, skipped=True))
    assert not fresh.may_save()
    fresh.step_ended(step(2.0, 1.0))
    assert fresh.may_save()
    assert GradientGuard.resumed(Guard(), [], step=5, rewinds=0).may_save()


def test_the_limit_stops_a_run_that_skips_or_rewinds_for_ever() -> None:
    def actions(guard: GradientGuard, times: int) -> list[str | None]:
        return [found and found.action for found in (verdict(guard, 99.0, 1.0) for _ in range(times))]

    assert actions(guard(spike=GuardAction.SKIP, limit=2), 3) == [GuardAction.SKIP, GuardAction.SKIP, GuardAction.STOP]
    # Those that the run has skipped before a restart count, too.
    assert actions(guard(spike=GuardAction.SKIP, limit=2, skips=1), 2) == [GuardAction.SKIP, GuardAction.STOP]
    assert [actions(guard(spike=GuardAction.REWIND, limit=2, rewinds=number), 1) for number in (1, 2)] == [
        [GuardAction.REWIND],
        [GuardAction.STOP],
    ]
