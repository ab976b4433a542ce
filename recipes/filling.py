"""The share of a recipe's slots that hold real tokens: counted in its tokens, or drawn from PARCOMED's table."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from ..data_prep.tokens.index import lengths_in_rows
from ..data_prep.tokens.layouts import Lengths, check_conversations, figures
from ..data_prep.tokens.parcomed import drawn_lengths
from ..data_prep.tokens.tokens_record import read_record
from .schema import Recipe, masked


@dataclass(frozen=True)
class Filling:
    """How full a step's slots are.

    Attributes:
        fill: share of the slots that hold real tokens.
        attended: sum of the squared lengths of the pieces within which tokens attend to each other, divided by the
            number of slots; without masks, a piece is a whole sequence.
        source: where both numbers come from.
    """

    fill: float
    attended: float
    source: str


def filling(recipe: Recipe, tokens: Path | None) -> Filling:
    """Count how full the layout's slots are, and how far its tokens attend.

    Args:
        recipe: the checked recipe.
        tokens: the tokens stage's folder; None for lengths drawn from PARCOMED's Table 1.

    Raises:
        UserError: there is no tokens folder.
    """
    data = recipe.data
    if tokens is None:
        return _drawn(data.layout, data.seq_length, masked(data))
    record = read_record(tokens)
    if record.conversations:
        check_conversations(data.layout, "data.layout")
    parts = [
        lengths_in_rows(tokens / entry.prefix, data.seq_length, conversations=entry.answers is not None)
        for entry in record.splits["train"].values()
    ]
    return _counted(parts, f"documents of {tokens}", data.layout, data.seq_length, masks=masked(data))


@cache  # a dry run needs it several times, and each time 892,339 documents would be packed
def _drawn(layout: str, seq_length: int, masks: bool) -> Filling:
    parts = list(drawn_lengths(0).values())
    return _counted(parts, "documents' lengths drawn from PARCOMED's Table 1", layout, seq_length, masks=masks)


def _counted(parts: list[Lengths], source: str, layout: str, seq_length: int, *, masks: bool) -> Filling:
    counts = [figures(layout, lengths, seq_length) for lengths in parts if len(lengths)]
    slots = sum(count.slots for count in counts)
    fill = sum(count.real_tokens for count in counts) / slots if slots else 1.0
    if not masks:
        return Filling(fill, float(seq_length), source)
    return Filling(fill, _squares(np.concatenate(parts), seq_length) * fill, source)


def _squares(lengths: Lengths, longest: int) -> float:
    """Divide the sum of the squared lengths of the documents' pieces by the sum of the lengths."""
    whole, rest = np.divmod(lengths.astype(np.int64), longest)
    return float((whole * longest**2 + rest**2).sum() / lengths.sum(dtype=np.int64))
