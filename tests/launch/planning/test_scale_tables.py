"""The cells of docs/scaling.md against the commands that they stand for."""

from dataclasses import replace

import pytest
from commands import pdapt_json

from pdapt.launch.planning.scale_tables import (
    BATCHES,
    ENOUGH,
    MARK,
    MODELS,
    RECIPE,
    Place,
    grown,
    least_batch,
    marked,
    speed,
    ways,
)
from pdapt.recipes.filling import filling
from pdapt.recipes.load import load
from pdapt.scaling.constants import read_fit
from pdapt.scaling.curves import points, shares
from pdapt.scaling.predict_run import Site


def test_a_best_spread_is_what_plan_recipe_chooses() -> None:
    planned = pdapt_json("plan", "recipe", RECIPE, "parallel.nodes=768", "batch.global_size=36864")["chosen"]
    assert speed(Place("8B", 3072, 36_864)) == pytest.approx(planned["tokens_per_second_per_gpu"])
    large = pdapt_json("plan", "recipe", RECIPE, *MODELS["32B"])["chosen"]
    assert speed(Place("32B", 48, 576)) == pytest.approx(large["tokens_per_second_per_gpu"])


def test_a_spread_on_more_gpus_is_a_point_of_the_weak_curve() -> None:
    recipe, last = load(RECIPE), 16_384
    curve = points(recipe, filling(recipe, None), Site(), read_fit().constants, largest=last)
    point = next(each for each in curve if (each.scaling, each.gpus) == ("weak", last))
    kept = grown(recipe, last)
    assert kept.run == point.run
    assert (kept.term, kept.share) == ("dp", pytest.approx(shares(point)["dp"]))
    assert 0 < kept.latency < kept.share
    assert grown(recipe, 96).latency < 0.05, "latency grows with the ranks"


def test_the_least_batch_is_the_first_that_is_fast_enough() -> None:
    least = least_batch("8B", 768)
    wanted = ENOUGH * speed(Place("8B", 768, BATCHES[-1]))
    assert speed(Place("8B", 768, least)) >= wanted > speed(Place("8B", 768, least // 2))


def test_nothing_fits_where_a_batch_is_too_small_for_so_many_gpus() -> None:
    assert ways(Place("8B", 16_384, 576)) is None
    assert speed(Place("8B", 16_384, 576)) == 0


def test_figures_beyond_the_rows_are_marked() -> None:
    recipe = load(RECIPE)
    assert marked("1", recipe) == "1"
    wide = replace(recipe, parallel=replace(recipe.parallel, nodes=300))
    assert marked("1", wide) == f"1{MARK}", "1,200 copies, on fewer GPUs than some row has"
