"""The published recipes are what the planner chooses, and every place that says their speed says the same."""

from pathlib import Path

import pytest

from pdapt.launch.slurm_site import speed_path
from pdapt.recipes.filling import filling
from pdapt.recipes.load import load
from pdapt.recipes.published_recipes import names
from pdapt.recipes.schema import world_size
from pdapt.scaling.constants import FITTED, read_fit
from pdapt.scaling.predict_run import Site, predict_run
from pdapt.scaling.search import Settings, plan


def slower_than_the_fastest(name: str, constants_file: Path) -> tuple[float, bool]:
    """Share by which a recipe's step is longer than the fastest way's that fits, and whether it is the choice."""
    recipe = load(name)
    slots, constants = filling(recipe, None), read_fit(constants_file).constants
    choice, every = plan(recipe, slots, Site(), constants)
    seconds = predict_run(recipe, slots, Site(), constants).step_seconds
    fastest = min(way.run.step_seconds for way in every)
    return seconds / fastest - 1, choice.settings == Settings.of(recipe)


@pytest.mark.slow
def test_each_published_recipe_is_the_planners_choice_and_within_1_percent_of_the_fastest(
    subtests: pytest.Subtests,
) -> None:
    for name in names():
        with subtests.test(recipe=name):
            slower, chosen = slower_than_the_fastest(name, FITTED)
            assert chosen, "change SPREADS in recipes/published_recipes.py to what `pdapt plan recipe` says"
            assert slower <= 0.01


@pytest.mark.slow
def test_on_jean_zay_too_the_recipes_for_48_gpus_are_within_1_percent_of_the_fastest(subtests: pytest.Subtests) -> None:
    for name in names():
        if world_size(load(name)) == 48:
            with subtests.test(recipe=name):
                assert slower_than_the_fastest(name, speed_path("jean_zay_h100"))[0] <= 0.01
