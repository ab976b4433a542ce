"""The predicted speed of a recipe, for a dry run, and how much of it Megatron's local layers cost."""

import os
from dataclasses import replace
from pathlib import Path

from ..core import log
from ..core.system.device import has_gpu
from ..core.training_cost import PredictedSpeed
from ..recipes.filling import filling
from ..recipes.schema import Layers, Recipe, transformer_impl
from .constants import read_fit, read_reach
from .predict_run import Site, beyond, predict_run, stack_of_recipe


def cost_of_local_layers(recipe: Recipe) -> str | None:
    """Predict how much longer a step takes without Transformer Engine, if `auto` does not find it on this machine."""
    if (
        recipe.model.transformer_impl != Layers.AUTO
        or transformer_impl(recipe, gpu=has_gpu()) != Layers.LOCAL
        or not has_gpu()
    ):
        return None
    seconds = [
        predicted_speed(replace(recipe, model=replace(recipe.model, transformer_impl=layers)), None)[0]
        for layers in (Layers.TRANSFORMER_ENGINE, Layers.LOCAL)
    ]
    return (
        "Transformer Engine is not installed: Megatron's local layers with torch's attention are used; predicted for "
        f"H100s, a step takes {seconds[1]:.3g} s, {seconds[1] / seconds[0] - 1:.0%} more than with Transformer Engine"
    )


def warn_of_local_layers(recipe: Recipe) -> None:
    """Warn how much time local layers cost if `auto` takes them; only one rank warns."""
    cost = cost_of_local_layers(recipe) if os.environ.get("RANK", "0") == "0" else None
    if cost is not None:
        log.warn(f"train: {cost}")


def predicted_speed(recipe: Recipe, tokens: Path | None) -> PredictedSpeed:
    """Predict a recipe's speed on H100s.

    Args:
        recipe: the checked recipe.
        tokens: the tokens stage's folder, or None.
    """
    run, reach = predict_run(recipe, filling(recipe, tokens), Site(), read_fit().constants), read_reach()
    low, high = reach.interval_of(stack_of_recipe(recipe))
    seconds = (run.step_seconds / high, run.step_seconds / low)
    return PredictedSpeed(run.step_seconds, run.tokens_per_second_per_gpu, seconds, beyond(recipe, reach))
