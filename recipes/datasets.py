"""The tokens stage's files as Megatron data sets."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.training import get_args, get_tokenizer
from torch.utils.data import Dataset

from .blend import blend


class Repeated(Dataset[Any]):
    """The first `period` samples, again and again: each validation sees the same ones.

    Megatron goes on through the validation set from one evaluation to the next, so that their losses would differ by
    the samples as well as by the model.
    """

    def __init__(self, dataset: Any, period: int) -> None:
        self.dataset, self.period = dataset, min(period, len(dataset))

    def __len__(self) -> int:
        return 2**31  # evaluations are counted by Megatron, not by this set's length

    def __getitem__(self, index: int) -> Any:
        return self.dataset[index % self.period]


class Provider:
    """Builds the data sets when the trainer asks for them.

    Attributes:
        is_distributed: tells Megatron that every rank may call this; ranks that need no data get None.
    """

    is_distributed = True

    def __init__(self, tokens: Path, sources: list[str]) -> None:
        self.blends: list[Any] = [blend(tokens, "train", sources), blend(tokens, "valid", sources), None]

    def __call__(self, sizes: Sequence[int]) -> tuple[Any, Any, None]:
        """Training and validation sets of `sizes` samples (there is no test set)."""
        args = cast(Any, get_args())
        period = args.eval_iters * args.global_batch_size
        config = GPTDatasetConfig(
            random_seed=args.seed,
            sequence_length=args.seq_length,
            blend_per_split=self.blends,
            path_to_cache=args.data_cache_path,
            tokenizer=get_tokenizer(),
            reset_position_ids=False,
            reset_attention_mask=False,
            eod_mask_loss=args.eod_mask_loss,
            create_attention_mask=False,
            inter_document_masking=args.dataloader_inter_document_masking,
        )
        builder = BlendedMegatronDatasetBuilder(GPTDataset, [sizes[0], period, 0], self._reads, config)
        train, valid, _ = builder.build()
        return train, valid and Repeated(valid, period), None

    @staticmethod
    def _reads() -> bool:
        """Whether this rank reads data: the first of each tensor-parallel group does, at every pipeline stage."""
        from megatron.core import mpu

        return mpu.get_tensor_model_parallel_rank() == 0
