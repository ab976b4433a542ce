"""Simulated scaling curves."""

import csv
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.core.files import read_json
from pdapt.recipes.filling import Filling
from pdapt.recipes.load import load
from pdapt.scaling.constants import read_fit
from pdapt.scaling.curves import COUNTED, Title, draw, efficiency, goodputs, points, shares, takeovers, training_times
from pdapt.scaling.goodput import Failures
from pdapt.scaling.plotting import new_figure
from pdapt.scaling.predict_run import Site

FULL = Filling(1.0, 2000.0, "made up")


def test_both_curves_go_from_the_fewest_gpus_that_fit_to_the_last() -> None:
    recipe, constants = load("qwen3_8b_cpt_48xh100_packed"), read_fit().constants
    found = points(recipe, FULL, Site(), constants, largest=16_384)
    weak, strong = (efficiency(found, scaling) for scaling in ("weak", "strong"))
    assert [gpus for gpus, _ in weak] == [2**power for power in range(4, 15)]  # 8 GPUs do not hold its states
    assert strong[-1][0] == 512  # 576 sequences: each copy has one
    assert weak[0][1] == strong[0][1] == 1
    assert strong[-1][1] < dict(weak)[512]
    shares = [share for _, share in weak]
    assert shares == sorted(shares, reverse=True)
    assert takeovers(found, "strong")["dp"] <= 128
    assert all(point.fits for point in found)


def test_a_recipe_that_fits_on_no_number_of_gpus_is_refused() -> None:
    recipe = load("qwen3_8b_cpt_48xh100_packed", ["machine.gpu_gib=20"], fitting=False)
    with pytest.raises(UserError, match="does not fit on up to 64 GPUs"):
        points(recipe, FULL, Site(), read_fit().constants, largest=64)


def test_a_term_takes_over_where_it_is_the_largest_and_more_than_a_twentieth_of_the_step() -> None:
    def point(gpus: int, scaling: str = "weak", **seconds: float) -> Any:
        terms = SimpleNamespace(**dict.fromkeys(COUNTED, 0.0) | seconds)
        return SimpleNamespace(scaling=scaling, gpus=gpus, run=SimpleNamespace(terms=terms, step_seconds=2.0))

    found = [
        point(1, dp=0.09),
        point(2, dp=0.11, tp=0.05),
        point(4, dp=0.2, tp=0.1),
        point(8, dp=0.3, tp=0.4),
        point(1, "strong", pp=1.0),
    ]
    assert shares(found[1])["dp"] == pytest.approx(0.055)
    assert takeovers(found, "weak") == {"dp": 2, "tp": 8}
    assert takeovers(found, "strong") == {"pp": 1}


@pytest.mark.slow
def test_figures_and_tables_say_that_they_are_simulated(tmp_path: Path) -> None:
    recipe = load("qwen3_0p6b_cpt_48xh100_packed")
    manifest = draw(recipe, FULL, tmp_path / "out", largest=64, failures=Failures(), site=None)
    assert set(manifest.outputs) == {"curves.json"} | {
        f"{name}.{kind}" for name in ("scaling", "goodput", "time_to_train") for kind in ("csv", "png")
    }
    summary = read_json(tmp_path / "out" / "curves.json")
    assert "simulated" in summary["label"]
    assert len(summary["beyond"]) == 4, "on fewer than 8 GPUs, too, no published run is as small"
    assert "1.3 to 461 G parameters on 8 to 6,144 GPUs: 0.6 G parameters and 4 GPUs" in str(summary["beyond"])
    rows = list(csv.DictReader((tmp_path / "out" / "goodput.csv").open()))
    assert [int(row["gpus"]) for row in rows] == [1, 2, 4, 8, 16, 32, 64]
    assert all(float(row["goodput_at_best"]) >= float(row["goodput_at_recipe"]) for row in rows)
    assert (tmp_path / "out" / "scaling.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_that_needs_more_gpus_is_refused() -> None:
    recipe = load("qwen3_8b_cpt_48xh100_packed", ["parallel.tp=4"])
    with pytest.raises(UserError, match="spread over 4 ranks"):
        points(recipe, FULL, Site(), read_fit().constants, largest=2)


def test_goodput_counts_a_save_as_the_recipe_makes_it() -> None:
    """Writing at once holds up every save; written beside training, only the copy does."""
    stalls = {}
    for asynchronous in (True, False):
        recipe = load("qwen3_0p6b_cpt_48xh100_packed", [f"checkpoint.asynchronous={asynchronous}"])
        curve = points(recipe, FULL, Site(), read_fit().constants, largest=8)
        stalls[asynchronous] = [row.stall_seconds for row in goodputs(recipe, curve, Failures())]
    assert len(stalls[True]) == 4
    assert all(beside < at_once / 2 for beside, at_once in zip(stalls[True], stalls[False], strict=True))
    by_default = load("qwen3_0p6b_cpt_48xh100_packed")
    curve = points(by_default, FULL, Site(), read_fit().constants, largest=8)
    assert [row.stall_seconds for row in goodputs(by_default, curve, Failures())] == stalls[True], "on GPUs, beside it"


def test_the_time_to_train_holds_all_tokens_and_what_failures_cost() -> None:
    recipe, failures = load("qwen3_8b_cpt_48xh100_packed"), Failures()
    curve = points(recipe, FULL, Site(), read_fit().constants, largest=16_384)
    times = training_times(recipe, curve, failures, (0.8, 1.25))
    lost = {row.gpus: row for row in goodputs(recipe, curve, failures)}
    tokens = 4194 * 576 * 2048
    for time, point in zip(times, curve, strict=True):
        speed = point.run.tokens_per_second_per_gpu * point.gpus
        assert time.hours_without_failures == pytest.approx(tokens / speed / 3600)
        assert (time.least, time.most) == pytest.approx((time.hours * 0.8, time.hours / 0.8))
        assert time.gpu_hours == pytest.approx(time.hours * time.gpus)
        if point.scaling == "weak":
            row = lost[time.gpus]
            assert time.hours == pytest.approx(time.hours_without_failures / row.goodput_at_best)
            assert time.hours_at_recipe == pytest.approx(time.hours_without_failures / row.goodput_at_recipe)
    weak = [time for time in times if time.scaling == "weak"]
    assert [time.hours for time in weak] == sorted((time.hours for time in weak), reverse=True)
    hopeless = training_times(recipe, curve, Failures(gpu_years=0.01), (0.8, 1.25))
    assert hopeless[-1].hours > times[-1].hours


@pytest.mark.parametrize("width", [6.5, 13.0])
def test_a_long_title_stays_within_its_figure(width: float) -> None:
    figure, axis = new_figure((width, 4.2))
    Title("8190.7 M parameters, 48 ranks = TP 1 x PP 1 x DP 48; " * 4 + "\na failure every 5.8 years a GPU", 48).put(
        figure, [axis]
    )
    figure.canvas.draw()
    (title,) = [text for text in figure.texts if "8190.7" in text.get_text()]
    place = title.get_window_extent()
    assert place.x0 >= 0
    assert place.x1 <= figure.bbox.width
