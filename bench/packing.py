"""How full each layout's sequences are on documents as PARCOMED counts them, and how long the packing takes."""

import time
from typing import Any

from ..data_prep.tokens.layouts import LAYOUTS, figures
from ..data_prep.tokens.parcomed import drawn_lengths


def bench(seq_length: int, spread: float) -> list[dict[str, Any]]:
    """Count each layout over the 17 sources of the commercial edition, each by itself.

    Args:
        seq_length: slots of a sequence.
        spread: of the drawn lengths (see `parcomed.SPREAD`).

    Returns:
        Rows `layout`, `documents`, `sequences`, `slots`, `real_tokens`, `fill`, `seconds`.
    """
    drawn = drawn_lengths(0, spread)
    rows = []
    for layout in LAYOUTS:
        begin = time.monotonic()
        counts = [figures(layout, lengths, seq_length) for lengths in drawn.values()]
        seconds = time.monotonic() - begin
        sums = {name: sum(getattr(count, name) for count in counts) for name in ("sequences", "slots", "real_tokens")}
        documents = sum(map(len, drawn.values()))
        fill = sums["real_tokens"] / sums["slots"]
        rows.append({"layout": layout, "documents": documents, **sums, "fill": fill, "seconds": seconds})
    return rows
