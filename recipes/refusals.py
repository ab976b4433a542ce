"""The trainers that a recipe may choose, and the options that `nemo` refuses, each with its reason."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ..core.errors import UserError, check_known
from .schema import Engine, Recipe


@dataclass(frozen=True)
class Refusal:
    """An option that a trainer does not support.

    Attributes:
        asked: whether a recipe asks for it.
        reason: why the trainer refuses it.
        allowed: values that the trainer supports.
    """

    asked: Callable[[Recipe], bool]
    reason: str
    allowed: str


NEMO_REFUSES = {
    "megatron": Refusal(
        lambda recipe: bool(recipe.megatron),
        "these are arguments of Megatron-LM's command line, and Megatron-Bridge has none",
        "nothing under megatron",
    ),
    "checkpoint.asynchronous": Refusal(
        lambda recipe: recipe.checkpoint.asynchronous is not False,
        "pdapt has not been tried with Megatron-Bridge's asynchronous saves, and must know when each is complete",
        "false, with engine=nemo",
    ),
    "parallel.fsdp": Refusal(
        lambda recipe: recipe.parallel.fsdp,
        "Megatron-Bridge's sharded weights need a GPU, and have not been tried",
        "false, with engine=nemo",
    ),
}
"""Option -> why the engine `nemo` refuses it."""


def check_engine(recipe: Recipe) -> None:
    """Check that the engine exists, and supports all options of the recipe.

    Raises:
        UserError: there is no such engine, or it refuses an option, which is named.
    """
    check_known(recipe.engine, Engine, "engine", "engine")
    if recipe.engine == Engine.NEMO:
        refuse(recipe, NEMO_REFUSES, trainer="engine=nemo", instead=f"set engine={Engine.MEGATRON}")


def refuse(recipe: Recipe, refusals: Mapping[str, Refusal], *, trainer: str, instead: str) -> None:
    """Refuse a recipe that asks a trainer for an option that it does not support.

    Args:
        recipe: the recipe.
        refusals: option -> why the trainer refuses it.
        trainer: name of the trainer, for the message.
        instead: another way to have the option.

    Raises:
        UserError: the recipe asks for one; the message names it.
    """
    for option, refusal in refusals.items():
        if refusal.asked(recipe):
            raise UserError(
                f"{trainer} does not support {option}: {refusal.reason}",
                where=option,
                allowed=refusal.allowed,
                fix=f"{instead}, or change {option}",
            )
