"""PARCOMED as its paper counts it, and documents' lengths drawn from those counts: what layouts are measured on."""

from pathlib import Path
from typing import Any

import numpy as np

from ...core.files import read_json
from .layouts import Lengths

SPREAD = 1.0
"""Standard deviation of the logarithm of a document's length: an assumption, since the paper gives means alone."""
SEQUENCES = 4320 * 1152 / 2.53
"""Sequences of an epoch by the paper's own account: 4,320 steps of 1,152 are 2.53 epochs."""


def table() -> dict[str, Any]:
    """Table 1: `tokens` of the commercial edition, and `sources` with their documents and words."""
    return read_json(Path(__file__).with_name("parcomed.json"))


def drawn_lengths(seed: int, spread: float = SPREAD) -> dict[str, Lengths]:
    """Tokens of each document of the commercial edition, drawn for each source around its mean (log-normal).

    Args:
        seed: of the draw.
        spread: see SPREAD.

    Returns:
        source -> lengths, [documents]; they sum to the paper's tokens within rounding.
    """
    paper = table()
    sources = [source for source in paper["sources"] if source["commercial"]]
    tokens_per_word = paper["tokens"] / sum(source["words"] for source in sources)
    draw = np.random.RandomState(seed)
    means = [source["words"] / source["documents"] * tokens_per_word for source in sources]
    return {
        source["source"]: _around(mean, source["documents"], draw, spread)
        for source, mean in zip(sources, means, strict=True)
    }


def drawn_around(mean: float, count: int, seed: int, spread: float = SPREAD) -> Lengths:
    """Lengths of documents, [count], drawn around their mean (log-normal)."""
    return _around(mean, count, np.random.RandomState(seed), spread)


def _around(mean: float, count: int, draw: np.random.RandomState, spread: float) -> Lengths:
    shape = np.exp(draw.normal(0, spread, count))
    return np.maximum(2, np.rint(shape / shape.mean() * mean)).astype(np.int32)
