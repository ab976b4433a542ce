"""The tokens stage's files as Megatron data sets."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from megatron.core.datasets.blended_dataset import BlendedDataset
from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.training import get_tokenizer
from torch.utils.data import Dataset

from ...core.files import write_json
from ...data_prep.tokens.tokens_record import read_record
from ...recipes.megatron_args import seed_of
from ...recipes.schema import Data, masked
from ..blend import Blend, Member, as_megatron, surplus, train_blend, valid_blend
from ..rank_task import RankTask
from ..run.events import Listener
from ..run.sums import DataSets
from .row_datasets import DATASETS, RowDataset, RowsConfig


class Repeated(Dataset[Any]):
    """The first `period` samples, repeated: each validation sees the same samples, each once.

    Megatron would continue through the validation set from one validation to the next, and losses would differ by the
    samples as well as by the model. If there are fewer samples, the last batch is filled with samples that do not
    count.
    """

    def __init__(self, dataset: Any, period: int) -> None:
        self.dataset, self.period = dataset, period

    def __len__(self) -> int:
        return 2**31  # evaluations are counted by Megatron, not by this set's length

    def __getitem__(self, index: int) -> Any:
        place = index % self.period
        return self.dataset[place] if place < len(self.dataset) else self._filler()

    def _filler(self) -> Any:
        """A sample in which no label counts."""
        if not isinstance(self.dataset, BlendedDataset):
            return self.dataset[None]
        first = self.dataset.dataset_index[0]
        return {"dataset_id": first, **self.dataset.datasets[first][cast(int, None)]}


class Provider(Listener):
    """Builds the data sets when the trainer asks for them, and says which tokens a run has read.

    Attributes:
        is_distributed: tells Megatron that every rank may call this; ranks that need no data get None.
        names: names of the data sets.
    """

    is_distributed = True

    def __init__(self, task: RankTask, steps: list[int]) -> None:
        """Prepare.

        Args:
            task: the run.
            steps: steps after which `achieved.json` says what the run has read, in rising order.
        """
        recipe, self.places, self.steps = task.recipe, task.places, steps
        self.data, self.seed, self.global_size = recipe.data, seed_of(recipe.seed), recipe.batch.global_size
        self.samples = recipe.steps * self.global_size
        self.valid_samples = int(task.places.valid_batches or recipe.validation.batches) * self.global_size
        self.members = train_blend(task.tokens, recipe.data, self.samples)
        self.validation = valid_blend(task.tokens, recipe.data)
        self.answers = read_record(task.tokens).conversations
        self.names = DataSets(
            [member.name for member in self.members], [Path(prefix).name for prefix in self.validation[0]]
        )
        self._train: Any = None  # set on the rank that records what is read

    def __call__(self, sizes: Sequence[int]) -> tuple[Any, Any, None]:
        """Training and validation sets of `sizes` samples (there is no test set), for Megatron-LM's trainer."""
        assert sizes[0] == self.samples, "Megatron trains on the recipe's samples"
        return *self.sets(get_tokenizer(), self._reads), None

    def sets(self, tokenizer: Any, reads: Callable[[], bool]) -> tuple[Any, Any]:
        """Make the training and the validation set; arguments as in `build`."""
        train, valid = build(
            self.data,
            (as_megatron(self.members), self.validation),
            self.samples,
            seed=self.seed,
            cache=str(self.places.cache),
            tokenizer=tokenizer,
            reads=reads,
            answers=self.answers,
        )
        if torch.distributed.get_rank() == 0:
            self._train = train
        self._achieve(self.steps)
        return train, valid and Repeated(valid, self.valid_samples)

    def stopping(self, step: int) -> None:
        """Record what the run has read when it saves at an unplanned step."""
        self._achieve(sorted({*self.steps, step}))

    def _achieve(self, steps: list[int]) -> None:
        if self._train is None:
            return
        read = tokens_read(self._train, self.members, self.data, [step * self.global_size for step in steps])
        rows = zip(steps, read, strict=True)
        write_json(self.places.achieved, [{"step": step, "sources": sources} for step, sources in rows])

    @staticmethod
    def _reads() -> bool:
        """Whether this rank reads data: the first of each tensor-parallel group does, at every pipeline stage."""
        from megatron.core import mpu

        return mpu.get_tensor_model_parallel_rank() == 0


def build(
    data: Data,
    blends: tuple[Blend | None, Blend | None],
    samples: int,
    *,
    seed: int,
    cache: str | None,
    tokenizer: Any,
    reads: Any,
    answers: bool = False,
) -> tuple[Any, Any]:
    """Build Megatron's data sets for training and validation.

    Args:
        data: the recipe's options of the data.
        blends: the blends of training and validation; None for a set that is not wanted.
        samples: number of training samples; in validation, each sequence is a sample.
        seed: seed of the order.
        cache: folder of Megatron's index files.
        tokenizer: Megatron's tokenizer; says which id ends a document.
        reads: whether this rank reads data.
        answers: whether the tokens are conversations, of which only the answers are learned.
    """
    config = RowsConfig(
        random_seed=seed,
        sequence_length=data.seq_length,
        blend_per_split=[*blends, None],
        path_to_cache=cache,
        mid_level_dataset_surplus=surplus(len(blends[0][0]) if blends[0] else 1, samples),
        drop_last_partial_validation_sequence=False,
        tokenizer=tokenizer,
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=masked(data),
        create_attention_mask=False,
        inter_document_masking=masked(data),
        answers=answers,
    )
    sizes = cast(Any, [samples, None, 0])
    train, valid, _ = BlendedMegatronDatasetBuilder(DATASETS[data.layout], sizes, reads, config).build()
    return train, valid


def tokens_read(
    dataset: Any, members: list[Member], data: Data, samples: list[int]
) -> list[dict[str, dict[str, float]]]:
    """Count, in the first samples of a training set, `sequences`, real `tokens` and `epochs` of each member.

    Args:
        dataset: a data set from `build`.
        members: the members of its blend.
        data: the recipe's options of the data.
        samples: numbers of samples, counted from the first; one result is returned for each.
    """
    parts = dataset.datasets if isinstance(dataset, BlendedDataset) else [dataset]
    read: list[dict[str, dict[str, float]]] = [{} for _ in samples]
    for number, (member, part) in enumerate(zip(members, parts, strict=True)):
        counts = np.array(samples)
        if isinstance(dataset, BlendedDataset):
            counts = np.searchsorted(np.flatnonzero(dataset.dataset_index == number), counts)
        tokens = counts * data.seq_length
        if isinstance(part, RowDataset):
            ends = np.cumsum(part.rows.tokens()[part.order], dtype=np.int64)
            tokens = np.concatenate([np.zeros(1, np.int64), ends])[counts]
        for row, count, total in zip(read, counts.tolist(), tokens.tolist(), strict=True):
            row[member.name] = {"sequences": count, "tokens": total, "epochs": count / member.sequences}
    return read
