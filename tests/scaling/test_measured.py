"""Journals' figures, efficiencies, and the planner adjusted to them."""

from dataclasses import replace
from itertools import accumulate

import pytest

from pdapt.core.errors import UserError
from pdapt.core.training_cost import MeasuredStep
from pdapt.recipes.filling import Filling
from pdapt.recipes.load import load
from pdapt.scaling.constants import read_fit
from pdapt.scaling.fit import errors_pct, predict
from pdapt.scaling.measured import RATES, case_of, efficiencies, measurement, recalibrated, turn_of
from pdapt.scaling.predict_run import Site

FULL = Filling(1.0, 512.0, "made up")


def journal(seconds: float, steps: int = 8, tokens: int = 900) -> list[MeasuredStep]:
    """Steps that take `seconds` from end to end, a tenth of that outside of the step; the first ones are slow."""
    ends = accumulate(seconds * (10 if step <= 3 else 1) for step in range(1, steps + 1))
    return [MeasuredStep(end, 0.9 * seconds, data_wait=0.1 * seconds, tokens=tokens, slots=1024) for end in ends]


def test_first_steps_do_not_count() -> None:
    turn = turn_of(journal(2.0))
    assert turn.seconds == pytest.approx([2.0] * 5)
    assert turn.between == pytest.approx([0.2] * 5)
    assert (turn.tokens, turn.slots) == (900, 1024)
    with pytest.raises(ValueError, match="4 steps"):
        turn_of(journal(2.0, steps=4))


def test_medians_and_spread_are_over_turns() -> None:
    found = measurement("weak", 2, [turn_of(journal(seconds)) for seconds in (1.0, 1.1, 3.0)], cores=1.0, batch=8)
    assert found.seconds == pytest.approx(1.1)
    assert found.spread == pytest.approx(2.0)
    assert found.tokens_per_second == pytest.approx(900 / 1.1)
    assert found.slots_per_second_per_rank == pytest.approx(1024 / 1.1 / 2)
    assert not found.oversubscribed


def test_efficiency_is_over_the_fewest_ranks_and_by_core() -> None:
    one = measurement("strong", 1, [turn_of(journal(1.0))], cores=2.0, batch=8)
    two = measurement("strong", 2, [turn_of(journal(0.8))], cores=1.0, batch=8)
    four = measurement("strong", 4, [turn_of(journal(0.8))], cores=0.5, batch=8)
    computed = efficiencies([one, two, four])
    assert [efficiency.by_rank for efficiency in computed] == pytest.approx([1, 0.625, 0.3125])
    assert [efficiency.by_core for efficiency in computed] == pytest.approx([1, 1.25, 1.25])
    assert [measured.oversubscribed for measured in (one, two, four)] == [False, False, True]
    assert [efficiency.by_core for efficiency in efficiencies([two, four])] == pytest.approx([1, 1]), "two cores each"
    gpus = [replace(one, cores=None), replace(two, cores=None)]
    assert efficiencies(gpus)[1].by_core is None
    assert not gpus[1].oversubscribed


def test_a_site_that_is_slower_throughout_is_met() -> None:
    start = read_fit().constants
    slower = replace(start, **{name: getattr(start, name) / 1e4 for name in RATES})
    cases = []
    for world in (1, 2, 4):
        recipe = load("qwen3_tiny_cpt_2xcpu", [f"parallel.ranks_per_node={world}", "batch.micro_size=1"])
        blank = measurement("strong", world, [turn_of(journal(1.0))], cores=None, batch=8)
        case = case_of(recipe, FULL, Site(), blank)
        cases.append(replace(case, published=float(predict([case], slower)[0])))
    site, (low, high), _ = recalibrated(cases, start)
    assert abs(errors_pct(cases, site)).max() < 5
    assert abs(errors_pct(cases, start)).min() > 1000
    assert site.bf16 == pytest.approx(slower.bf16, rel=0.1)
    assert low <= 1 <= high


def test_what_no_machine_explains_is_refused() -> None:
    recipe = load("qwen3_tiny_cpt_2xcpu", ["parallel.ranks_per_node=1"])
    one = case_of(recipe, FULL, Site(), measurement("strong", 1, [turn_of(journal(1.0))], cores=None, batch=8))
    with pytest.raises(UserError, match="no speed of the machine"):
        recalibrated([replace(one, published=1e9)], read_fit().constants)
