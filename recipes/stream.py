"""The sequences of a training run, outside a run: the data sets that the trainer would read, in its order."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np

from ..core.errors import UserError
from ..core.files import read_json
from .blend import as_megatron, train_blend, valid_blend
from .megatron_args import seed_of
from .schema import Data, Recipe


@dataclass(frozen=True)
class Sequence:
    """One sample of a stream.

    Attributes:
        dataset: which data set it comes from.
        samples: how many the stream has.
        sample: arrays as the trainer gets them, without the batch dimension.
        real_tokens: slots that hold a token; they come first.
    """

    dataset: str
    samples: int
    sample: dict[str, Any]
    real_tokens: int


def read(tokens: Path, data: Data, seed: int, samples: int | None, split: str, number: int) -> Sequence:
    """Sample `number` of a stream.

    Args:
        tokens: the tokens stage's folder.
        data: how they are laid out and blended.
        seed: the recipe's.
        samples: sequences of the run; None for about one epoch.
        split: train or valid.
        number: from 0.

    Raises:
        UserError: the stream has no such sample.
    """
    if split == "train":
        members = train_blend(tokens, data, samples or 1)
        samples = samples or max(1, int(sum(member.sequences for member in members)))
        blends = as_megatron(train_blend(tokens, data, samples)), None
        names = [member.name for member in members]
    else:
        blends = None, valid_blend(tokens, data)
        names = [Path(prefix).name for prefix in blends[1][0]]
        samples = number + 1
    if not 0 <= number < samples:
        raise UserError(f"there is no sequence {number}", where="N", allowed=f"0 to {samples - 1}")
    # Megatron takes seconds to import: what cannot be is said before.
    from . import seams
    from .datasets import build
    from .row_datasets import RowDataset

    seams.apply()
    with TemporaryDirectory() as cache:
        sizes, ids = (samples, samples), megatron_ids(tokens)
        found = build(data, blends, sizes, seed=seed_of(seed), cache=cache, tokenizer=ids, reads=lambda: True)
    dataset: Any = found[split != "train"]
    part, index, place = dataset, number, 0
    if hasattr(dataset, "dataset_index"):
        place, index = int(dataset.dataset_index[number]), int(dataset.dataset_sample_index[number])
        part = dataset.datasets[place]
    real = sum(size for _, _, size in part.pieces(index)) if isinstance(part, RowDataset) else data.seq_length
    sample = {name: np.asarray(value) for name, value in dataset[number].items()}
    return Sequence(names[place], samples, sample, real)


def read_of_recipe(tokens: Path, recipe: Recipe, split: str, number: int) -> Sequence:
    """Sample `number` of a recipe's stream."""
    samples = recipe.steps * recipe.batch.global_size if split == "train" else None
    return read(tokens, recipe.data, recipe.seed, samples, split, number)


def megatron_ids(tokens: Path) -> Any:
    """What Megatron's data sets ask of a tokenizer, as the trainer's own answers it."""
    from megatron.core.tokenizers import MegatronTokenizer

    record = read_json(tokens / "tokens.json")
    return cast(Any, MegatronTokenizer).from_pretrained(
        metadata_path={"library": "null-text"},
        vocab_size=record["vocabulary_size"],
        eod_id=record["eod_id"],
        pad_id=-1,
    )
