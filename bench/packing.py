"""How full each layout's sequences are with documents of PARCOMED's lengths, and the time that packing takes."""

import time
from dataclasses import dataclass

from ..data_prep.tokens.layouts import Layout, figures
from ..data_prep.tokens.parcomed import drawn_lengths


@dataclass(frozen=True)
class LayoutFill:
    """A layout's figures over all sources; `fill` is the share of slots with a token, `seconds` the time of packing."""

    layout: str
    documents: int
    sequences: int
    slots: int
    real_tokens: int
    fill: float
    seconds: float


def bench(seq_length: int, spread: float) -> list[LayoutFill]:
    """Count each layout over the 17 sources of the commercial edition, each source separately.

    Args:
        seq_length: slots of a sequence.
        spread: spread of the drawn lengths (see `parcomed.SPREAD`).
    """
    drawn = drawn_lengths(0, spread)
    rows = []
    for layout in Layout:
        begin = time.monotonic()
        counts = [figures(layout, lengths, seq_length) for lengths in drawn.values()]
        seconds = time.monotonic() - begin
        slots, real_tokens = sum(count.slots for count in counts), sum(count.real_tokens for count in counts)
        rows.append(
            LayoutFill(
                layout=layout,
                documents=sum(map(len, drawn.values())),
                sequences=sum(count.sequences for count in counts),
                slots=slots,
                real_tokens=real_tokens,
                fill=real_tokens / slots,
                seconds=seconds,
            )
        )
    return rows
