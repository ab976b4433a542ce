"""The fill of a recipe's slots, for the planner: counted in its tokens, or drawn as PARCOMED's table has it."""

from pathlib import Path

import numpy as np

from ..data_prep.tokens.index import read_lengths
from ..data_prep.tokens.layouts import Lengths, figures
from ..data_prep.tokens.parcomed import drawn_lengths
from ..data_prep.tokens.tokens_record import read_record
from ..recipes.schema import Recipe, masked
from .of_recipe import Filling


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
    counts = [figures(data.layout, lengths, data.seq_length) for lengths in parts if len(lengths)]
    slots = sum(count.slots for count in counts)
    fill = sum(count.real_tokens for count in counts) / slots if slots else 1.0
    if not masked(data):
        return Filling(fill, float(data.seq_length), source)
    return Filling(fill, _squares(np.concatenate(parts), data.seq_length) * fill, source)


def _squares(lengths: Lengths, longest: int) -> float:
    """Sum of the squared lengths of the documents' pieces over the sum of the lengths."""
    whole, rest = np.divmod(lengths.astype(np.int64), longest)
    return float((whole * longest**2 + rest**2).sum() / lengths.sum(dtype=np.int64))
