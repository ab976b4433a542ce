"""Decode a sequence of the training stream: `pdapt tokens show`."""

from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

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


@dataclass(frozen=True)
class Piece:
    """A document's piece in a sequence, or its padding.

    Attributes:
        start, stop: slots.
        positions: the first and the last.
        text: decoded; empty for padding.
        counted_labels: that count in the loss.
        uncounted_slots: whose labels do not.
        padding: whether it belongs to no document.
    """

    start: int
    stop: int
    positions: tuple[int, int]
    text: str
    counted_labels: int
    uncounted_slots: list[int]
    padding: bool


@dataclass(frozen=True)
class DecodedSequence:
    """A sequence of the training stream.

    Attributes:
        number: in the stream, from 0.
        split: train or valid.
        samples: that the stream has.
        layout: of the documents.
        dataset: that it is from.
        slots: of a sequence.
        real_tokens: slots that hold a token.
        counted_labels: that count in the loss.
        pieces: in their order.
        tokens, labels, position_ids, loss_mask: one value a slot.
    """

    number: int
    split: str
    samples: int
    layout: str
    dataset: str
    slots: int
    real_tokens: int
    counted_labels: int
    pieces: list[Piece]
    tokens: list[int]
    labels: list[int]
    position_ids: list[int]
    loss_mask: list[float]


def read_sequence(
    tokens: Path,
    number: int,
    recipe: str | None,
    overrides: list[str],
    *,
    layout: str | None,
    seq_length: int | None,
    split: str,
) -> DecodedSequence:
    """Decode sequence `number` of a recipe's stream, or of about one epoch of everything.

    Raises:
        UserError: options that do not go together, or there is no such sequence.
    """
    check_known(split, SPLITS, "split", "--split")
    if recipe is not None:
        if layout is not None or seq_length is not None:
            raise UserError(
                "the layout is part of the recipe", where="--layout", fix="override it, as in data.layout=concat"
            )
        loaded = load(recipe, overrides)
        data, sequence = loaded.data, next(read_of_recipe(tokens, loaded, split, [number]))
    else:
        if overrides:
            raise UserError(
                f"{overrides[0]!r} is given without a recipe to override", where="command line", fix="give --recipe"
            )
        data = _data(layout, seq_length)
        sequence = next(read_of_epoch(tokens, data, split, [number]))
    return DecodedSequence(
        number=number,
        split=split,
        samples=sequence.samples,
        layout=data.layout,
        dataset=sequence.dataset,
        slots=data.seq_length,
        real_tokens=sequence.real_tokens,
        counted_labels=int(sequence.sample["loss_mask"].sum()),
        pieces=_pieces(tokens, sequence),
        **{name: sequence.sample[name].tolist() for name in ARRAYS},
    )


def _data(layout: str | None, seq_length: int | None) -> Data:
    """A recipe's default data, with another layout or length where one is given."""
    data = Data()
    data = replace(data, layout=layout or data.layout, seq_length=data.seq_length if seq_length is None else seq_length)
    check_layout(data.layout, data.seq_length)
    return data


def _pieces(tokens: Path, sequence: Sequence) -> list[Piece]:
    decode = load_tokenizer(tokens / "tokenizer").tokenizer.decode
    ids, positions, counts = (sequence.sample[name] for name in ("tokens", "position_ids", "loss_mask"))
    pieces = []
    for start, stop in pairwise(_borders(tokens, sequence)):
        padding = start >= sequence.real_tokens
        pieces.append(
            Piece(
                start=start,
                stop=stop,
                positions=(int(positions[start]), int(positions[stop - 1])),
                text="" if padding else decode(ids[start:stop].tolist(), skip_special_tokens=False),
                counted_labels=int(counts[start:stop].sum()),
                uncounted_slots=(start + np.flatnonzero(counts[start:stop] == 0)).tolist(),
                padding=padding,
            )
        )
    return pieces


def _borders(tokens: Path, sequence: Sequence) -> list[int]:
    """Where a piece begins, and where the last one ends: masks' borders, ends of documents, the first free slot."""
    ids = sequence.sample["tokens"][: sequence.real_tokens]
    ends = np.flatnonzero(ids == read_record(tokens).eod_id) + 1
    masks = sequence.sample.get("cu_seqlens", np.empty(0, np.int64))
    return np.unique(np.concatenate([[0, sequence.real_tokens, len(sequence.sample["tokens"])], ends, masks])).tolist()
