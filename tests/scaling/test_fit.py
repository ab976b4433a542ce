"""The fit: reproducible, blind to what is left out, and as good as it is said to be."""

import json
from dataclasses import asdict, fields, replace
from pathlib import Path

import numpy as np
import pytest

from pdapt.core.errors import UserError
from pdapt.core.files import write_json
from pdapt.scaling.constants import CONSTANT_NAMES, Constants, read_fit, read_reach
from pdapt.scaling.fit import cross_validated, errors_pct, extent, fit, predict, split, summarize, unlike_stacks
from pdapt.scaling.model_shapes import MODELS
from pdapt.scaling.published import Case, cases, left_out, rows
from pdapt.scaling.published_trainer import Stack
from pdapt.scaling.work import Work


@pytest.fixture(scope="module")
def halves() -> tuple[list[Case], list[Case]]:
    return split(cases(rows(), "published.json"))


@pytest.fixture(scope="module")
def fitted(halves: tuple[list[Case], list[Case]]) -> Constants:
    return fit(halves[0])


def test_the_constants_that_come_along_are_what_the_command_fits(fitted: Constants) -> None:
    known = read_fit().constants
    for name in CONSTANT_NAMES:
        assert getattr(known, name) == pytest.approx(getattr(fitted, name), rel=1e-3)


def test_a_row_that_is_left_out_does_not_move_the_fit(fitted: Constants) -> None:
    given = rows()
    for row in given:
        if row["model"] in left_out():
            row |= {
                name: row[name] * 3
                for name in ("tokens_s_gpu", "tokens_s_gpu_derived", "reported_mfu_pct")
                if name in row
            }
    changed, test = split(cases(given, "perturbed"))
    assert fit(changed) == fitted
    assert np.abs(errors_pct(test, fitted)).mean() > 50  # it was a perturbation


def test_a_calibration_row_does_move_it(halves: tuple[list[Case], list[Case]], fitted: Constants) -> None:
    changed = [replace(case, published=case.published * 1.1) for case in halves[0]]
    assert fit(changed) != fitted


def test_no_prediction_depends_on_a_name() -> None:
    """A prediction depends on a row's work and the constants alone, and a row's work on no model, id or source."""
    assert all(item.name not in ("model", "id", "source", "software") for item in fields(Work))
    renamed = [
        row | {"id": 0, "model": "other", "source": "", "note": "", "shape": asdict(MODELS[row["model"]])}
        for row in rows()
    ]
    assert [case.work for case in cases(renamed, "")] == [case.work for case in cases(rows(), "")]


def test_no_constant_belongs_to_a_model_or_a_row(
    halves: tuple[list[Case], list[Case]], fitted: Constants, subtests: pytest.Subtests
) -> None:
    """Each constant has a say in rows of several calibration models."""
    for name in CONSTANT_NAMES:
        with subtests.test(name=name):
            before = predict(halves[0], fitted)
            after = predict(halves[0], replace(fitted, **{name: 1.1 * getattr(fitted, name)}))
            moved = {
                case.model for case, change in zip(halves[0], after / before - 1, strict=True) if abs(change) > 5e-4
            }
            assert len(moved) >= 3


@pytest.mark.slow
def test_intervals_of_other_trainers_hold_for_every_row_at_hand(halves: tuple[list[Case], list[Case]]) -> None:
    """As fitted; by a fit that has seen none of the trainer's rows; and for the models that are never fitted to."""
    calibration, test = halves
    reach = read_reach()
    assert reach.stacks == {name: pytest.approx(pair, abs=1e-3) for name, pair in unlike_stacks(calibration).items()}
    assert set(reach.stacks) == {case.stack for case in calibration} - {Stack.MEGATRON}
    assert reach.extents == {
        kind: extent([case for case in calibration if case.stack == kind]) for kind in reach.stacks
    }
    for kind in reach.stacks:
        low, high = reach.interval_of(kind)
        mine = [case for case in (*calibration, *test) if case.stack == kind]
        assert len(mine) > 20
        ratios = np.array([case.published for case in mine]) / predict(mine, read_fit().constants)
        assert low <= ratios.min() < ratios.max() <= high
        assert low < reach.interval[0] < reach.interval[1] < high
    assert reach.interval_of(Stack.MEGATRON) == reach.interval == read_fit().interval


def test_a_prediction_says_where_it_goes_beyond_the_published_rows(halves: tuple[list[Case], list[Case]]) -> None:
    reach = read_reach()
    assert reach.rows == extent(halves[0])
    sizes = ((case, float(case.work.model_parameters), int(case.work.dp), int(case.work.cp)) for case in halves[0])
    assert not [case for case, size, dp, cp in sizes if reach.beyond("", size, case.gpus, dp=dp, cp=cp)]
    assert reach.beyond("", 8e9, 6144, dp=1024, cp=2) == []
    rows_at_hand = "the published rows that the planner is fitted to, 1.3 to 461 G parameters on 8 to 6,144 GPUs"
    assert reach.beyond("", 8e9, 8192, dp=1024, cp=1) == [f"beyond {rows_at_hand}: 8,192 GPUs"]
    assert "0.6 G parameters and 4 GPUs" in reach.beyond("", 0.6e9, 4, dp=4, cp=1)[0]
    copies, shares = "DP 1,025 (theirs: at most 1,024)", "CP 4 (theirs: at most 2)"
    assert reach.beyond("", 8e9, 4100, dp=1025, cp=4) == [f"beyond {rows_at_hand}: {copies} and {shares}"]


def test_a_file_that_does_not_say_what_it_was_measured_on_makes_predictions_say_so(tmp_path: Path) -> None:
    write_json(tmp_path / "site.json", WHOLE | {"interval": [0.5, 1.01]})
    reach = read_reach(tmp_path / "site.json")
    assert "does not say which models" in reach.beyond("Qwen3-8B", 8e9, 48, dp=48, cp=1)[0]
    assert reach.interval_of("FSDP") == (0.5, read_reach().stacks["FSDP"][1]), "no narrower than the site's own"


def test_errors_are_what_docs_planner_says(halves: tuple[list[Case], list[Case]], fitted: Constants) -> None:
    calibration, test = halves
    stated = [case for case in calibration if not case.mfu_only]
    assert {case.model[:8] for case in calibration if case.mfu_only} == {"nanotron"}
    assert np.abs(errors_pct(stated, fitted)).mean() < 3.1
    unseen = [case for case in test if not case.mfu_only]
    sizes = np.abs(errors_pct(unseen, fitted))
    assert sizes.mean() < 3.9
    assert sizes.max() < 8.8
    assert (summarize(unseen, errors_pct(unseen, fitted)).rank_flops or 0) > 0.9


def test_each_models_rows_are_predicted_by_a_fit_to_the_others(halves: tuple[list[Case], list[Case]]) -> None:
    """Three models, whose rows are mixed."""
    models = sorted({case.model for case in halves[0]})[:3]
    given = [case for case in halves[0] if case.model in models][::-1]
    errors = cross_validated(given)
    for model in models:
        unseen = [case for case in given if case.model == model]
        others = fit([case for case in given if case.model != model])
        inside = [case.model == model for case in given]
        assert errors[inside].tolist() == errors_pct(unseen, others).tolist()


def test_planted_constants_are_found_again(halves: tuple[list[Case], list[Case]]) -> None:
    calibration, _ = halves
    planted = replace(Constants(), bf16=0.6, fp8=0.5, attention=0.6, network=0.6)
    speeds = predict(calibration, planted)
    made = [replace(case, published=float(value)) for case, value in zip(calibration, speeds, strict=True)]
    found = fit(made)
    assert np.abs(errors_pct(made, found)).mean() < 0.5
    assert found.bf16 == pytest.approx(0.6, rel=0.03)
    assert found.fp8 == pytest.approx(0.5, rel=0.05)


def test_a_summary_counts_errors_and_ranks(halves: tuple[list[Case], list[Case]]) -> None:
    given = halves[0][:4]
    found = summarize(given, np.array([10.0, -20.0, 0.0, 30.0]))
    assert (found.rows, found.mean, found.max) == (4, 15.0, 30.0)
    assert summarize([], np.array([])).to_json() == {"rows": 0}
    alike = summarize([given[0]] * 3, np.array([10.0] * 3))
    assert not {"rank_speed", "rank_flops"} & set(alike.to_json())  # no order, and no number for it


WHOLE = {"constants": asdict(Constants()), "interval": [0.9, 1.1]}


@pytest.mark.parametrize(
    "value",
    [
        [],
        {},
        {"constants": {}},
        WHOLE | {"constants": {"bf16": 1}},
        *(WHOLE | {"constants": WHOLE["constants"] | change} for change in ({"bf17": 1}, {"bf16": -1}, {"bf16": True})),
        *(WHOLE | {"interval": interval} for interval in (None, [1], [1, 2, 3], "ab", [0.9, 0], [0.9, -1.1])),
    ],
)
def test_a_file_without_constants_is_refused(value: object, tmp_path: Path) -> None:
    path = tmp_path / "site.json"
    write_json(path, WHOLE)
    assert read_fit(path) == (Constants(), (0.9, 1.1), None)
    write_json(path, value)
    with pytest.raises(UserError, match="not a file of constants"):
        read_fit(path)
    path.write_text(json.dumps(WHOLE | {"interval": [0.9, float("nan")]}))
    with pytest.raises(UserError, match="NaN is not a JSON value"):
        read_fit(path)
