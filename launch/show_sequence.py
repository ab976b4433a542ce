"""A sequence of the training stream, decoded."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..core.errors import UserError, check_known
from ..data_prep.tokens.layouts import check_layout
from ..data_prep.tokens.tokenizer import load_tokenizer
from ..data_prep.tokens.tokens_record import read_record
from ..recipes.load import load
from ..recipes.schema import Data
from ..training.megatron.sequences import Sequence, read_of_epoch, read_of_recipe

SPLITS = ("train", "valid")
ARRAYS = ("tokens", "labels", "position_ids", "loss_mask")


def read_sequence(
    tokens: Path,
    number: int,
    recipe: str | None,
    overrides: list[str],
    layout: str | None,
    seq_length: int | None,
    split: str,
) -> dict[str, Any]:
    """Sequence `number` of a recipe's stream, or of about one epoch of everything.

    Returns:
        `number`, `samples`, `split`, `layout`, `dataset`, `slots`, `real_tokens`, `counted_labels`, the arrays
        `tokens`, `labels`, `position_ids` and `loss_mask`, and `pieces`: for each document's piece, and the padding,
        `start`, `stop` (slots), `positions` (first and last), `text`, `counted_labels`, `uncounted_slots`, `padding`.

    Raises:
        UserError: options that do not go together, or there is no such sequence.
    """
    check_known(split, SPLITS, "split", "--split")
    if recipe is not None:
        if layout is not None or seq_length is not None:
            raise UserError("the recipe says the layout", where="--layout", mend="override it: data.layout=concat")
        loaded = load(recipe, overrides)
        data, found = loaded.data, next(read_of_recipe(tokens, loaded, split, [number]))
    else:
        if overrides:
            raise UserError(f"{overrides[0]!r} overrides no recipe", where="command line", mend="give --recipe")
        data = Data()
        if layout is not None:
            data = replace(data, layout=layout)
        if seq_length is not None:
            data = replace(data, seq_length=seq_length)
        check_layout(data.layout, data.seq_length)
        found = next(read_of_epoch(tokens, data, split, [number]))
    return {
        "number": number,
        "samples": found.samples,
        "split": split,
        "layout": data.layout,
        "dataset": found.dataset,
        "slots": data.seq_length,
        "real_tokens": found.real_tokens,
        "counted_labels": int(found.sample["loss_mask"].sum()),
        "pieces": _pieces(tokens, found),
        **{name: found.sample[name].tolist() for name in ARRAYS},
    }


def _pieces(tokens: Path, found: Sequence) -> list[dict[str, Any]]:
    decode = load_tokenizer(tokens / "tokenizer").tokenizer.decode
    ids, positions, counts = (found.sample[name] for name in ("tokens", "position_ids", "loss_mask"))
    pieces = []
    for start, stop in pairwise(_borders(tokens, found)):
        padding = start >= found.real_tokens
        pieces.append(
            {
                "start": start,
                "stop": stop,
                "positions": [int(positions[start]), int(positions[stop - 1])],
                "text": "" if padding else decode(ids[start:stop].tolist(), skip_special_tokens=False),
                "counted_labels": int(counts[start:stop].sum()),
                "uncounted_slots": (start + np.flatnonzero(counts[start:stop] == 0)).tolist(),
                "padding": padding,
            }
        )
    return pieces


def _borders(tokens: Path, found: Sequence) -> list[int]:
    """Where a piece begins, and where the last one ends: masks' borders, ends of documents, the first free slot."""
    ids = found.sample["tokens"][: found.real_tokens]
    ends = np.flatnonzero(ids == read_record(tokens)["eod_id"]) + 1
    masks = found.sample.get("cu_seqlens", np.empty(0, np.int64))
    return np.unique(np.concatenate([[0, found.real_tokens, len(found.sample["tokens"])], ends, masks])).tolist()
