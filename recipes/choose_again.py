"""Another choice of micro-batch and gradients for a published recipe, if its own conflicts with a key that is set."""

from collections.abc import Iterator
from dataclasses import replace

from ..core import log
from ..core.errors import UserError
from .schema import Recipe
from .validate import validate

MICRO, GRADS = "batch.micro_size", "optimizer.grads"
"""Keys of a published recipe that follow from the others, by the planner's choice."""


def valid_choice(recipe: Recipe, fixed: set[str]) -> Recipe:
    """Choose another micro-batch or type of gradients if a recipe is invalid as it is; a warning says so.

    It takes the largest micro-batch that works, if possible with the recipe's own type of gradients. That is not always
    the fastest way, which only `scaling` knows.

    Args:
        recipe: a published recipe, with the user's keys.
        fixed: dotted keys that the user has set, which stay.

    Raises:
        UserError: no other choice works; the error is the one about the recipe as it is.
    """
    try:
        validate(recipe)
    except UserError as error:
        tried = next((way for way in _others(recipe, fixed) if _works(way)), None)
        if tried is None:
            raise
        allowed = f" (allowed: {error.allowed})" if error.allowed else ""
        log.warn(
            f"recipe: {error.what}{allowed}; therefore {_changes(recipe, tried)}, which you have not set. "
            "`pdapt plan recipe` finds the fastest way"
        )
        return tried
    return recipe


def _others(recipe: Recipe, fixed: set[str]) -> Iterator[Recipe]:
    """Yield alternatives to a recipe, the largest micro-batch first, each first with the recipe's type of gradients."""
    micro, grads = recipe.batch.micro_size, recipe.optimizer.grads
    for size in [micro] if MICRO in fixed else range(micro, 0, -1):
        for kind in [grads] if GRADS in fixed else [grads, "bf16" if grads == "fp32" else "fp32"]:
            yield replace(
                recipe, batch=replace(recipe.batch, micro_size=size), optimizer=replace(recipe.optimizer, grads=kind)
            )


def _works(recipe: Recipe) -> bool:
    try:
        validate(recipe)
    except UserError:
        return False
    return True


def _changes(before: Recipe, after: Recipe) -> str:
    pairs = {
        MICRO: (before.batch.micro_size, after.batch.micro_size),
        GRADS: (before.optimizer.grads, after.optimizer.grads),
    }
    return " and ".join(f"{key} is {new} instead of {old}" for key, (old, new) in pairs.items() if old != new)
