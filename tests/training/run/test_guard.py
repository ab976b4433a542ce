"""Verdicts on losses and gradient norms."""

import math

import pytest

from pdapt.recipes.schema import REWIND, SKIP, STOP, WARN, Guard
from pdapt.training.run.guard import Judge

CALM = [(2.0 + 0.01 * (-1) ** n, 1.0 + 0.02 * (-1) ** n) for n in range(32)]


def judge(history: list[tuple[float, float]] = CALM, *, skips: int = 0, rewinds: int = 0, **values: object) -> Judge:
    return Judge(Guard(**values), history, skips=skips, rewinds=rewinds)  # type: ignore[arg-type]


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (2.0, math.nan), (None, -math.inf)])
def test_what_is_not_finite_is_acted_on_without_any_history(loss: float | None, norm: float) -> None:
    verdict = judge([], nonfinite=SKIP).judge(loss, norm)
    assert verdict is not None
    assert verdict.action == SKIP


def test_a_spike_is_one_only_far_above_the_last_steps() -> None:
    watching = judge(spike=WARN, deviations=6)
    assert watching.judge(2.05, 1.1) is None
    assert watching.judge(0.1, 0.1) is None, "a low loss is no spike"
    loss, norm = watching.judge(2.2, 1.0), watching.judge(2.0, 2.0)
    assert loss is not None
    assert "loss 2.2, the last 32 steps had 2 ± 0.01" in loss.reason
    assert norm is not None
    assert norm.reason.startswith("gradient norm 2")


def test_spikes_are_not_looked_for_unless_asked_nor_without_history() -> None:
    assert judge().judge(99.0, 99.0) is None
    assert judge(CALM[:15], spike=SKIP).judge(99.0, 99.0) is None
    assert judge(CALM[:16], spike=SKIP).judge(99.0, 99.0) is not None


def test_a_resumed_run_judges_as_the_one_that_was_not_interrupted() -> None:
    whole = judge([], spike=SKIP, window=20)
    for loss, norm in CALM:
        whole.remember(loss, norm)
    resumed = judge(CALM, spike=SKIP, window=20)
    assert list(whole.history) == list(resumed.history) == CALM[-20:]


def test_the_limit_stops_a_run_that_skips_or_rewinds_for_ever() -> None:
    skipping = judge(spike=SKIP, limit=2)
    actions = [skipping.judge(99.0, 1.0) for _ in range(3)]
    assert [verdict and verdict.action for verdict in actions] == [SKIP, SKIP, STOP]
    resumed = judge(spike=SKIP, limit=2, skips=1)  # those that the run has skipped before a restart count, too
    actions = [resumed.judge(99.0, 1.0) for _ in range(2)]
    assert [verdict and verdict.action for verdict in actions] == [SKIP, STOP]
    rewinding = [judge(spike=REWIND, limit=2, rewinds=number).judge(99.0, 1.0) for number in (1, 2)]
    assert [verdict and verdict.action for verdict in rewinding] == [REWIND, STOP]
