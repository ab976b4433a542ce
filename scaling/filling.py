"""What a recipe's slots hold, for the planner: counted in its tokens, or drawn as PARCOMED's table has it."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..core import log
from ..core.system.device import has_gpu
from ..data_prep.tokens.index import read_lengths
from ..data_prep.tokens.layouts import Lengths, figures
from ..data_prep.tokens.parcomed import drawn_lengths
from ..data_prep.tokens.tokens_record import read_record
from ..recipes.schema import AUTO, LOCAL, TRANSFORMER_ENGINE, Recipe, masked, transformer_impl
from .constants import read_fit
from .of_recipe import Filling, Site, run_of


def filling(recipe: Recipe, tokens: Path | None) -> Filling:
    """Count the layout's fill, and what its tokens attend to.

    Args:
        recipe: checked.
        tokens: the tokens stage's folder; None: lengths drawn from PARCOMED's Table 1.

    Raises:
        UserError: there is no tokens folder.
    """
    if tokens is None:
        parts, source = list(drawn_lengths(0).values()), "documents' lengths drawn from PARCOMED's Table 1"
    else:
        entries = read_record(tokens)["splits"]["train"].values()
        parts, source = [read_lengths(tokens / entry["prefix"]) for entry in entries], f"documents of {tokens}"
    data = recipe.data
    found = [figures(data.layout, lengths, data.seq_length) for lengths in parts if len(lengths)]
    slots = sum(one.slots for one in found)
    fill = sum(one.real_tokens for one in found) / slots if slots else 1.0
    if not masked(data):
        return Filling(fill, float(data.seq_length), source)
    return Filling(fill, _squares(np.concatenate(parts), data.seq_length) * fill, source)


def _squares(lengths: Lengths, longest: int) -> float:
    """Sum of the squared lengths of the documents' pieces over the sum of the lengths."""
    whole, rest = np.divmod(lengths.astype(np.int64), longest)
    return float((whole * longest**2 + rest**2).sum() / lengths.sum(dtype=np.int64))


def cost_of_local_layers(recipe: Recipe) -> str | None:
    """What a step takes more than with Transformer Engine, predicted, where `auto` finds none on this machine."""
    if recipe.model.transformer_impl != AUTO or transformer_impl(recipe, gpu=has_gpu()) != LOCAL or not has_gpu():
        return None
    seconds = [
        predicted_speed(replace(recipe, model=replace(recipe.model, transformer_impl=layers)), None)[0]
        for layers in (TRANSFORMER_ENGINE, LOCAL)
    ]
    return (
        "Transformer Engine is not installed: Megatron's local layers with torch's attention are used; predicted for "
        f"H100s, a step takes {seconds[1]:.3g} s, {seconds[1] / seconds[0] - 1:.0%} more than with it"
    )


def tell_of_local_layers(recipe: Recipe) -> None:
    """Say what local layers cost where `auto` takes them; one rank says it."""
    cost = cost_of_local_layers(recipe) if os.environ.get("RANK", "0") == "0" else None
    if cost is not None:
        log.warn(f"train: {cost}")


def predicted_speed(recipe: Recipe, tokens: Path | None) -> tuple[float, float]:
    """Seconds of a step on H100s, and real tokens a second and GPU.

    Args:
        recipe: checked.
        tokens: the tokens stage's folder, or None.
    """
    run = run_of(recipe, filling(recipe, tokens), Site(), read_fit()[0])
    return run.step_seconds, run.tokens_per_second_per_gpu
