"""Reads the sequences of a training run without running it: the trainer's data sets, in its order."""

import logging
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np

from ...core.errors import UserError
from ...data_prep.tokens.tokens_record import read_record
from ...recipes.megatron_args import seed_of
from ...recipes.schema import Data, Recipe
from ..blend import as_megatron, epoch, train_blend, valid_batches, valid_blend, valid_sequences

VALID = "valid"
"""Name of the validation split; the other one is `train`."""


@dataclass(frozen=True)
class Sequence:
    """One sample of a stream.

    Attributes:
        dataset: the data set that it comes from.
        samples: number of samples in the stream.
        sample: arrays as the trainer gets them, without the batch dimension.
        real_tokens: number of slots that hold a token; they come first.
    """

    dataset: str
    samples: int
    sample: dict[str, Any]
    real_tokens: int


def read_of_recipe(tokens: Path, recipe: Recipe, split: str, numbers: Iterable[int]) -> Iterator[Sequence]:
    """Yield samples that a recipe trains or validates on, from the very data sets that its trainer builds.

    The data sets are built at once, and each sample is read when it is its turn.

    Args:
        tokens: the tokens stage's folder.
        recipe: the recipe.
        split: train or valid.
        numbers: numbers of the samples, from 0.

    Raises:
        UserError: there is no such sample, or no such run.
    """
    batch = recipe.batch.global_size
    samples = recipe.steps * batch
    if split == VALID:
        there = valid_sequences(tokens, recipe.data)
        samples = min(there, valid_batches(recipe, there) * batch)
    return _read(tokens, recipe.data, list(numbers), seed=recipe.seed, samples=samples, split=split)


def read_of_epoch(tokens: Path, data: Data, split: str, numbers: Iterable[int]) -> Iterator[Sequence]:
    """Yield samples of about one epoch of a split, without a recipe.

    Args:
        tokens: the tokens stage's folder.
        data: how the tokens are laid out and blended.
        split: train or valid.
        numbers: numbers of the samples, from 0.

    Raises:
        UserError: there is no such sample.
    """
    samples = valid_sequences(tokens, data) if split == VALID else max(1, int(epoch(tokens, data)))
    return _read(tokens, data, list(numbers), seed=0, samples=samples, split=split)


def _read(tokens: Path, data: Data, numbers: list[int], *, seed: int, samples: int, split: str) -> Iterator[Sequence]:
    """Yield samples of a split; the other split is not built."""
    for number in numbers:
        if not 0 <= number < samples:
            raise UserError(f"there is no sequence {number}", where="N", allowed=f"0 to {samples - 1}")
    valid = split == VALID
    train = None if valid else as_megatron(train_blend(tokens, data, samples))
    blends = train, valid_blend(tokens, data) if valid else None
    logging.getLogger("megatron").setLevel(logging.WARNING)  # it logs every file that it opens
    warnings.filterwarnings("ignore", module="megatron")  # and warns of every kernel that a CPU lacks
    # Megatron takes seconds to import, so impossible requests are refused before.
    from . import seams
    from .datasets import build

    seams.use_compiled_helpers()
    with TemporaryDirectory() as cache:
        ids = megatron_ids(tokens)
        data_sets = build(
            data,
            blends,
            samples,
            seed=seed_of(seed),
            cache=cache,
            tokenizer=ids,
            reads=lambda: True,
            answers=read_record(tokens).conversations,
        )
    return (_sequence(data_sets[valid], samples, data, number) for number in numbers)


def _sequence(dataset: Any, samples: int, data: Data, number: int) -> Sequence:
    """A sample of a data set."""
    from .datasets import BlendedDataset
    from .row_datasets import RowDataset

    part: Any = dataset
    index = number
    if isinstance(dataset, BlendedDataset):
        part = dataset.datasets[dataset.dataset_index[number]]
        index = int(dataset.dataset_sample_index[number])
    real = sum(size for _, _, size in part.pieces(index)) if isinstance(part, RowDataset) else _real(part, index, data)
    sample = {name: np.asarray(value) for name, value in dataset[number].items()}
    return Sequence(Path(str(part.dataset_path)).name, samples, sample, real)


def _real(part: Any, index: int, data: Data) -> int:
    """Count a sample's slots that hold a token: in Megatron's stream all, except in a validation set's last sample."""
    row = int(part.shuffle_index[index])
    if row < len(part) - 1 or part.index_split.name != VALID:
        return data.seq_length
    return min(data.seq_length, int(part.dataset.sequence_lengths.sum(dtype=np.int64)) - row * data.seq_length)


def megatron_ids(tokens: Path) -> Any:
    """The part of a tokenizer that Megatron's data sets use, with the answers of the trainer's own."""
    from megatron.core.tokenizers import MegatronTokenizer

    record = read_record(tokens)
    return cast(Any, MegatronTokenizer).from_pretrained(
        metadata_path={"library": "null-text"},
        vocab_size=record.vocabulary_size,
        eod_id=record.eod_id,
        pad_id=-1,
    )
