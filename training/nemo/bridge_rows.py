"""The tokens stage's files as Megatron-Bridge's `cfg.dataset`.

Bridge calls `DatasetProvider` deprecated, but nothing else in it accepts data sets other than its own. `Rows` is the
only class here that depends on it.
"""

from dataclasses import dataclass
from typing import Any

from megatron.bridge.data.base import DatasetBuildContext, DatasetProvider
from megatron.core.utils import flatten_batch_for_packed_sequences
from torch.utils.data import Dataset, default_collate

from ..megatron.datasets import Provider

BORDERS, LONGEST = "cu_seqlens", "max_seqlen"


@dataclass(kw_only=True)
class Rows(DatasetProvider):
    """The recipe's rows.

    Attributes:
        provider: makes Megatron's data sets from them.
        skip_getting_attention_mask_from_dataset: false makes a pipeline's middle stages read, too. A batch holds no
            mask, but they need the documents' borders: without them attention would cross the borders.
    """

    provider: Provider
    dataloader_type: str = "single"  # pyright: ignore[reportIncompatibleVariableOverride]
    skip_getting_attention_mask_from_dataset: bool = False

    def build_datasets(self, context: DatasetBuildContext) -> tuple[Any, Any, None]:
        """Make the training and the validation set. Each rank of a tensor-parallel group reads on its own."""
        train, valid = self.provider.sets(context.tokenizer, lambda: True)
        return Flat(train), Flat(valid), None


class Flat(Dataset[Any]):
    """A data set whose micro-batch is one flat sequence if documents are masked: Bridge uses its `collate_fn`."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index]

    @staticmethod
    def collate_fn(samples: list[Any]) -> dict[str, Any]:
        """Make a micro-batch from samples.

        Under these names Bridge takes the borders as they are; under `cu_seqlens` it cuts them at their smallest, 0.
        """
        batch = default_collate(samples)
        if BORDERS not in batch:
            return batch
        batch = flatten_batch_for_packed_sequences(batch)
        borders, longest = batch.pop(BORDERS), batch.pop(LONGEST)
        return batch | {
            f"{BORDERS}_q": borders,
            f"{BORDERS}_kv": borders,
            f"{LONGEST}_q": longest,
            f"{LONGEST}_kv": longest,
        }
