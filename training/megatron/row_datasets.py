"""The layouts that Megatron's `GPTDataset` does not offer, as Megatron data sets over its indexed files.

Which sample stands at which index depends only on the files, the sequence length and the seed: not on the ranks, nor on
where a run was stopped. Every epoch holds each row once, in an order of its own.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.megatron_dataset import MegatronDataset
from megatron.core.datasets.utils import Split

from ...data_prep.tokens.index import fit_conversations, read_answers
from ...data_prep.tokens.layouts import Layout, Lengths, Rows, overlapping, pack

Sample = dict[str, torch.Tensor | np.ndarray]


@dataclass
class RowsConfig(GPTDatasetConfig):
    """Megatron's configuration of data sets, with pdapt's options.

    Attributes:
        answers: whether the documents are conversations, of which only the answers are learned.
    """

    answers: bool = False


class RowDataset(MegatronDataset):
    """Rows of a layout over an indexed data set with one sequence per document.

    Megatron's builder gives the arguments: see `MegatronDataset`.

    Attributes:
        lengths: tokens of each document, or those of each conversation that a row takes, [documents].
        answers: which tokens of conversations are learned, [tokens]; None if all are.
        rows: the layout's rows in one epoch.
        order: row of each sample, [samples].
    """

    def __init__(
        self,
        indexed_dataset: IndexedDataset,
        dataset_path: str | None,
        indexed_indices: Any,
        num_samples: int | None,
        index_split: Split,
        config: Any,
    ) -> None:
        super().__init__(
            indexed_dataset, dataset_path, indexed_indices, num_samples, index_split=index_split, config=config
        )
        assert len(indexed_indices) == len(indexed_dataset), "a split has files of its own"
        self.lengths: Lengths = np.asarray(indexed_dataset.sequence_lengths)
        self.answers = None
        if config.answers:
            prefix = Path(str(dataset_path))
            self.answers, self.begins = read_answers(prefix), np.cumsum(self.lengths, dtype=np.int64) - self.lengths
            self.lengths = fit_conversations(prefix, config.sequence_length).lengths
        self.rows = self.make_rows(self.lengths, config.sequence_length, config.random_seed)
        samples = len(self.rows) if num_samples is None else num_samples
        epochs = [
            np.random.RandomState([config.random_seed, epoch]).permutation(len(self.rows)).astype(np.int32)
            for epoch in range(-(-samples // len(self.rows)))
        ]
        self.order = np.concatenate(epochs)[:samples]

    numel_low_level_dataset: Any = staticmethod(GPTDataset.numel_low_level_dataset)
    build_low_level_dataset: Any = staticmethod(GPTDataset.build_low_level_dataset)
    dataset: IndexedDataset

    @staticmethod
    def make_rows(lengths: Lengths, seq_length: int, seed: int) -> Rows:
        """Make the layout's rows from documents of these lengths."""
        raise NotImplementedError

    def pieces(self, index: int) -> list[tuple[int, int, int]]:
        """List document, first token in it, and length of each piece of a sample."""
        rows, row = self.rows, int(self.order[index])
        chosen = slice(int(rows.borders[row]), int(rows.borders[row + 1]))
        return list(
            zip(rows.document[chosen].tolist(), rows.start[chosen].tolist(), rows.length[chosen].tolist(), strict=True)
        )

    def counted(self, document: int, start: int, labels: int) -> np.ndarray | float:
        """Which of a piece's labels count, [labels], or 1 for all; in a conversation only answers count.

        Args:
            document: the piece's document.
            start: the piece's first token in the document; its first label is the token after that.
            labels: number of labels.
        """
        if self.answers is None:
            return 1.0
        begin = int(self.begins[document]) + start + 1
        return self.answers[begin : begin + labels]

    def __len__(self) -> int:
        return len(self.order)


class PackedDataset(RowDataset):
    """Documents that share a row: positions restart at each, and attention and loss stop at its border.

    A sample is `tokens`, `labels`, `loss_mask` and `position_ids`, [sequence], with `cu_seqlens`, int32 [sequence + 1],
    the pieces' borders followed by the row's end, repeated, and `max_seqlen`. Free slots are a piece of their own. The
    last token of a document has no label; the last token of a piece that was cut has one: the document's next token.
    """

    make_rows = staticmethod(pack)

    def __getitem__(self, index: int | None) -> Sample:
        length = self.config.sequence_length
        tokens, labels, positions = (np.zeros(length, np.int64) for _ in range(3))
        counts = np.zeros(length, np.float32)
        borders = np.full(length + 1, length, np.int32)
        borders[0] = at = longest = 0
        for number, (document, start, size) in enumerate(self.pieces(index or 0), start=1):
            labelled = min(size, int(self.lengths[document]) - start - 1)
            ids = self.dataset.get(document, offset=start, length=labelled + 1)
            tokens[at : at + size] = ids[:size]
            labels[at : at + labelled] = ids[1:]
            if index is not None:  # Megatron asks for None to fill up a batch
                counts[at : at + labelled] = self.counted(document, start, labelled)
            positions[at : at + size] = np.arange(size)
            at += size
            longest = max(longest, size)
            borders[number] = at
        positions[at:] = np.arange(length - at)
        return _tensors(tokens, labels, counts, positions) | {
            "cu_seqlens": torch.from_numpy(borders),
            "max_seqlen": torch.tensor(max(longest, length - at), dtype=torch.int32),
        }


class PaperDataset(RowDataset):
    """One piece of a document per row, then padding that does not count. As in the paper, its last token has no label.

    A sample is `tokens`, `labels`, `loss_mask` and `position_ids`, [sequence].
    """

    @staticmethod
    def make_rows(lengths: Lengths, seq_length: int, seed: int) -> Rows:
        """Make the paper's rows; `seed` has no effect."""
        del seed
        return overlapping(lengths, seq_length)

    def __getitem__(self, index: int | None) -> Sample:
        ((document, start, size),) = self.pieces(index or 0)
        length = self.config.sequence_length
        tokens, labels = np.zeros(length, np.int64), np.zeros(length, np.int64)
        counts = np.zeros(length, np.float32)
        tokens[:size] = self.dataset.get(document, offset=start, length=size)
        labels[: size - 1] = tokens[1:size]
        if index is not None:
            counts[: size - 1] = self.counted(document, start, size - 1)
        return _tensors(tokens, labels, counts, np.arange(length))


DATASETS: dict[str, type[MegatronDataset]] = {
    Layout.PACKED: PackedDataset,
    Layout.CONCAT: GPTDataset,
    Layout.PAPER: PaperDataset,
}


def _tensors(tokens: Any, labels: Any, counts: Any, positions: Any) -> Sample:
    named = {"tokens": tokens, "labels": labels, "loss_mask": counts, "position_ids": positions}
    return {name: torch.from_numpy(values) for name, values in named.items()}
