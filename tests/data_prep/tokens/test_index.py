"""Our indexed data sets are Megatron's."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from megatron.core.datasets.indexed_dataset import IndexedDataset, IndexedDatasetBuilder

from pdapt.data_prep.tokens.index import DTYPE, bin_path, count_indexed, idx_path, read_lengths, write_indexed

Documents = list[list[int]]
DOCUMENTS: Documents = [[0, 1, 2, 3, 4], [151_643], [7, 70_000, 3]]
PARTS = st.lists(st.lists(st.lists(st.integers(0, 151_668), min_size=1, max_size=6), max_size=5), max_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("indexed")


def parts(folder: Path, documents: list[Documents]) -> Iterator[tuple[Path, np.ndarray]]:
    """A file of ids for each list of documents, and their lengths."""
    folder.mkdir(exist_ok=True)
    for number, part in enumerate(documents):
        path = folder / f"part-{number}"
        path.write_bytes(np.array([each for document in part for each in document], "<i4").tobytes())
        yield path, np.array([len(document) for document in part], np.int32)


def write(prefix: Path, *documents: Documents) -> None:
    write_indexed(prefix, parts(prefix.parent / "parts", list(documents)))


def write_as_megatron(prefix: Path, documents: Documents) -> None:
    builder = IndexedDatasetBuilder(str(bin_path(prefix)), dtype=np.int32)
    for ids in documents:
        builder.add_document(torch.tensor(ids, dtype=torch.int32), [len(ids)])
    builder.finalize(str(idx_path(prefix)))


def test_megatron_reads_it(tmp_path: Path) -> None:
    prefix = tmp_path / "a.b"
    write(prefix, DOCUMENTS[:1], [], DOCUMENTS[1:])
    dataset = IndexedDataset(str(prefix))
    assert [np.array(dataset.get(i)).tolist() for i in range(len(dataset))] == DOCUMENTS
    assert dataset.document_indices.tolist() == [0, 1, 2, 3]
    assert count_indexed(prefix) == (3, 9)
    assert read_lengths(prefix).tolist() == [5, 1, 3]


@given(PARTS)
@settings(max_examples=50, deadline=None)
def test_the_bytes_are_those_of_megatrons_builder(folder: Path, documents: list[Documents]) -> None:
    write(folder / "ours", *documents)
    write_as_megatron(folder / "theirs", [document for part in documents for document in part])
    for path in (bin_path, idx_path):
        assert path(folder / "ours").read_bytes() == path(folder / "theirs").read_bytes()


def test_parts_larger_than_a_pipe_are_copied_whole(tmp_path: Path) -> None:
    long = [list(range(200_000)), list(range(300_001))]
    write(tmp_path / "a", [DOCUMENTS[0], long[0]], [long[1]])
    assert np.fromfile(bin_path(tmp_path / "a"), DTYPE).tolist() == [*DOCUMENTS[0], *long[0], *long[1]]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def failing() -> Iterator[tuple[Path, np.ndarray]]:
        yield from parts(tmp_path / "parts", [DOCUMENTS])
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_indexed(tmp_path / "out" / "a", failing())
    assert list((tmp_path / "out").iterdir()) == []


def test_without_an_index_there_is_no_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(lengths: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    monkeypatch.setattr("pdapt.data_prep.tokens.index._offsets", fail)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "a", DOCUMENTS)
    monkeypatch.undo()
    assert not idx_path(tmp_path / "a").exists()
    write(tmp_path / "a", DOCUMENTS)
    assert count_indexed(tmp_path / "a") == (3, 9)
