"""Our indexed data sets are Megatron's."""

from pathlib import Path

import numpy as np
import pytest
import torch
from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder

from pdapt.data_prep.indexed import bin_path, count_indexed, idx_path, write_indexed

DOCUMENTS = [np.arange(5, dtype=np.int32), np.array([151_643], np.int32), np.array([7, 70_000, 3], np.int32)]


def write(prefix: Path) -> None:
    with write_indexed(prefix) as writer:
        for ids in DOCUMENTS:
            writer.add(ids)


def test_megatron_reads_it(tmp_path: Path) -> None:
    prefix = tmp_path / "a.b"
    write(prefix)
    dataset = IndexedDataset(str(prefix))
    assert [np.array(dataset.get(i)).tolist() for i in range(len(dataset))] == [ids.tolist() for ids in DOCUMENTS]
    assert dataset.document_indices.tolist() == [0, 1, 2, 3]
    assert count_indexed(prefix) == (3, 9)


def test_the_bytes_are_those_of_megatrons_builder(tmp_path: Path) -> None:
    write(tmp_path / "ours")
    builder = IndexedDatasetBuilder(str(tmp_path / "theirs.bin"), dtype=np.int32)
    for ids in DOCUMENTS:
        builder.add_document(torch.from_numpy(ids), [len(ids)])
    builder.finalize(str(tmp_path / "theirs.idx"))
    for path in (bin_path, idx_path):
        assert path(tmp_path / "ours").read_bytes() == path(tmp_path / "theirs").read_bytes()


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> None:
        with write_indexed(tmp_path / "a") as writer:
            writer.add(DOCUMENTS[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert list(tmp_path.iterdir()) == []
