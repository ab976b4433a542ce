"""The layouts as Megatron's data sets: what each sample holds, its order, and that no rank or restart changes it."""

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from megatron.core.datasets.gpt_dataset import GPTDataset
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.training.datasets.data_samplers import MegatronPretrainingSampler

from pdapt.core.files import read_json
from pdapt.data_prep.tokens.build import Options, build_tokens
from pdapt.data_prep.tokens.index import read_lengths
from pdapt.recipes.schema import Data, Part
from pdapt.training.blend import as_megatron, train_blend, valid_blend, valid_sequences
from pdapt.training.megatron import seams
from pdapt.training.megatron.datasets import Repeated, build, tokens_read
from pdapt.training.megatron.row_datasets import RowDataset
from pdapt.training.megatron.sequences import megatron_ids

SEQ = 64
LAYOUTS = ["packed", "concat", "paper"]


@pytest.fixture(autouse=True, scope="module")
def _megatron() -> Iterator[None]:
    from megatron.core.datasets import utils

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "compile_helpers", utils.compile_helpers)  # put back afterwards
        seams.use_compiled_helpers()
        yield


def make(tokens: Path, cache: Path, data: Data, samples: int, seed: int = 1) -> Any:
    blends = as_megatron(train_blend(tokens, data, samples)), None
    return built(tokens, cache, data, blends, samples, seed)[0]


def built(tokens: Path, cache: Path, data: Data, blends: Any, samples: int, seed: int = 1) -> tuple[Any, Any]:
    ids = megatron_ids(tokens)
    return build(data, blends, samples, seed=seed, cache=str(cache), tokenizer=ids, reads=lambda: True)


def one_epoch(tokens: Path, cache: Path, data: Data) -> Any:
    rows = len(make(tokens, cache, data, samples=1).rows)
    return make(tokens, cache, data, samples=rows)


def of(layout: str, sources: str = "soins", **options: Any) -> Data:
    return Data(seq_length=SEQ, layout=layout, blend=[Part(sources=[sources])], **options)


def documents(tokens: Path, source: str = "soins") -> list[list[int]]:
    found: Any = IndexedDataset(str(tokens / "train" / source))
    return [found[number].tolist() for number in range(len(found))]


def test_a_packed_sample_is_its_documents_and_nothing_of_their_neighbours(tokens: Path, tmp_path: Path) -> None:
    given = documents(tokens)
    dataset = one_epoch(tokens, tmp_path, of("packed"))
    read = []
    for number in range(len(dataset)):
        sample = {name: np.asarray(value) for name, value in dataset[number].items()}
        borders = np.unique(sample["cu_seqlens"]).tolist()
        assert sample["cu_seqlens"].dtype == np.int32
        assert len(sample["cu_seqlens"]) == SEQ + 1
        assert (borders[0], borders[-1]) == (0, SEQ)
        assert int(sample["max_seqlen"]) == max(b - a for a, b in pairwise(borders))
        at = 0
        for document, start, size in dataset.pieces(number):
            assert at in borders
            assert at + size in borders
            piece = slice(at, at + size)
            assert sample["tokens"][piece].tolist() == given[document][start : start + size]
            assert sample["position_ids"][piece].tolist() == list(range(size))
            labels = given[document][start + 1 : start + size + 1]  # of the last piece one less
            assert sample["labels"][piece][: len(labels)].tolist() == labels
            assert sample["loss_mask"][piece].tolist() == [1.0] * len(labels) + [0.0] * (size - len(labels))
            read += [(document, token) for token in range(start, start + size)]
            at += size
        assert not sample["loss_mask"][at:].any()
        assert not sample["tokens"][at:].any()
    assert sorted(read) == [(document, token) for document, ids in enumerate(given) for token in range(len(ids))]


def test_the_cut_document_is_predicted_across_the_cut_and_every_token_but_the_first_once(
    tokens: Path, tmp_path: Path
) -> None:
    given = documents(tokens)
    assert any(len(ids) > SEQ for ids in given)
    dataset = one_epoch(tokens, tmp_path, of("packed"))
    labels = sum(int(dataset[number]["loss_mask"].sum()) for number in range(len(dataset)))
    assert labels == sum(len(ids) - 1 for ids in given)


def test_a_sample_of_the_paper_is_one_piece_and_padding_without_loss(tokens: Path, tmp_path: Path) -> None:
    given = documents(tokens)
    dataset = one_epoch(tokens, tmp_path, of("paper"))
    assert "cu_seqlens" not in dataset[0]
    for number in range(len(dataset)):
        sample = {name: np.asarray(value) for name, value in dataset[number].items()}
        ((document, start, size),) = dataset.pieces(number)
        ids = given[document][start : start + size]
        assert sample["tokens"].tolist() == ids + [0] * (SEQ - size)
        assert sample["labels"][: size - 1].tolist() == ids[1:]
        assert sample["loss_mask"].tolist() == [1.0] * (size - 1) + [0.0] * (SEQ - size + 1)
        assert sample["position_ids"].tolist() == list(range(SEQ))


@pytest.mark.parametrize("masks", [True, False])
def test_concat_is_megatrons_own_stream(tokens: Path, tmp_path: Path, masks: bool) -> None:
    dataset = make(tokens, tmp_path, of("concat", document_masks=masks), samples=20)
    assert type(dataset) is GPTDataset
    end = read_json(tokens / "tokens.json")["eod_id"]
    for number in range(20):
        sample = dataset[number]
        assert ("cu_seqlens" in sample) is masks
        ends = sample["tokens"] == end
        # With masks the label after an end belongs to another document; without, the classic stream learns it.
        assert (sample["loss_mask"][ends] == (0.0 if masks else 1.0)).all()
        assert (sample["loss_mask"][~ends] == 1.0).all()


@pytest.mark.parametrize("layout", ["packed", "paper"])
def test_every_epoch_holds_each_row_once_in_an_order_of_its_own(tokens: Path, tmp_path: Path, layout: str) -> None:
    rows = len(make(tokens, tmp_path, of(layout), samples=1).rows)
    dataset = make(tokens, tmp_path, of(layout), samples=3 * rows)
    epochs = dataset.order.reshape(3, rows)
    assert (np.sort(epochs, axis=1) == np.arange(rows)).all()
    assert len({tuple(epoch) for epoch in epochs.tolist()}) == 3
    # A longer run begins with the same samples.
    assert dataset.order[:rows].tolist() == make(tokens, tmp_path, of(layout), samples=rows).order.tolist()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_seed_decides_the_order_and_nothing_else_does(tokens: Path, tmp_path: Path, layout: str) -> None:
    def first(seed: int, cache: str) -> list[list[int]]:
        dataset = make(tokens, tmp_path / cache, of(layout, "*"), samples=60, seed=seed)
        return [dataset[number]["tokens"].tolist() for number in range(60)]

    assert first(1, "a") == first(1, "b")
    assert first(1, "a") != first(2, "c")


def batches(dataset: Any, consumed: int, ranks: int, steps: int, batch: int = 8) -> list[list[int]]:
    """Samples of each global batch that Megatron's sampler gives all ranks of a run that goes on after `consumed`."""
    micro = 2
    streams = [iter(MegatronPretrainingSampler(len(dataset), consumed, micro, rank, ranks)) for rank in range(ranks)]
    rounds = batch // (micro * ranks)
    return [
        sorted(int(index) for _ in range(rounds) for stream in streams for index in next(stream)) for _ in range(steps)
    ]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_run_goes_on_with_the_samples_it_would_have_read_on_any_number_of_ranks(
    tokens: Path, tmp_path: Path, layout: str
) -> None:
    dataset = make(tokens, tmp_path, of(layout, "*"), samples=80)
    whole = batches(dataset, consumed=0, ranks=1, steps=10)
    for ranks in (1, 2, 4):
        assert (
            batches(dataset, consumed=0, ranks=ranks, steps=4) + batches(dataset, consumed=32, ranks=ranks, steps=6)
            == whole
        )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_tokens_that_are_read_of_each_source_add_up(tokens: Path, tmp_path: Path, layout: str) -> None:
    """Counted once more from the samples themselves."""
    blend = [Part(sources=["soins"], weight=0.7), Part(sources=["ville"], weight=0.3)]
    data, samples = Data(seq_length=SEQ, layout=layout, blend=blend), 400
    members = train_blend(tokens, data, samples)
    dataset = make(tokens, tmp_path, data, samples)
    half, read = tokens_read(dataset, members, data, [samples // 2, samples])
    counted = {"soins": 0, "ville": 0}
    for number in range(samples):
        name = members[int(dataset.dataset_index[number])].name
        part, index = dataset.datasets[dataset.dataset_index[number]], int(dataset.dataset_sample_index[number])
        real = sum(size for _, _, size in part.pieces(index)) if isinstance(part, RowDataset) else SEQ
        counted[name] += real
        if number + 1 == samples // 2:
            assert {name: found["tokens"] for name, found in half.items()} == counted
    assert {name: found["tokens"] for name, found in read.items()} == counted
    assert sum(found["sequences"] for found in read.values()) == samples
    share = read["soins"]["tokens"] / sum(found["tokens"] for found in read.values())
    # Rows of the paper are of different fill: which of them come first is chance.
    assert share == pytest.approx(0.7, abs=0.03 if layout == "paper" else 0.01)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_many_sources_and_few_samples_blend(tmp_path: Path, tokenizer_folder: Path, layout: str) -> None:
    """Megatron's own surplus is too small here: it asks a data set for more samples than it had it make."""
    for number in range(20):
        lines = [json.dumps({"text": f"Le patient {n} reçoit {n} mg. " * 4}) for n in range(4 if number else 90)]
        (tmp_path / f"s{number}.jsonl").write_text("\n".join(lines))
    paths = [str(tmp_path / f"s{number}.jsonl") for number in range(20)]
    build_tokens(paths, tokenizer_folder, tmp_path / "tokens", Options(0.2))
    for samples in (1, 8, 50):
        data = Data(seq_length=SEQ, layout=layout)
        dataset = make(tmp_path / "tokens", tmp_path / f"cache-{samples}", data, samples)
        assert len(dataset) >= samples
        assert dataset[samples - 1]["tokens"].shape == (SEQ,)


def test_a_batch_is_filled_up_without_loss(tokens: Path, tmp_path: Path) -> None:
    """Megatron asks for sample None where a validation set ends within a batch."""
    for layout in ("packed", "paper"):
        dataset = make(tokens, tmp_path, of(layout), samples=4)
        assert not dataset[None]["loss_mask"].any()
        assert torch.equal(dataset[None]["tokens"], dataset[0]["tokens"])


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    """A source of many short documents, and one of few long ones: their shares of tokens and of sequences differ."""
    folder = tmp_path_factory.mktemp("uneven")
    for name, count, words in (("short", 300, 6), ("long", 40, 150)):
        lines = [json.dumps({"text": f"{name} {number} " + "paracétamol " * words}) for number in range(count)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    paths = [str(folder / f"{name}.jsonl") for name in ("short", "long")]
    build_tokens(paths, tokenizer_folder, folder / "tokens", Options(valid_fraction=0.3))
    return folder / "tokens"


@pytest.mark.parametrize("sources", [["*"], ["short"]], ids=["several sets", "one set"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_validation_reads_each_sequence_once_and_fills_up_with_what_does_not_count(
    layout: str, sources: list[str], uneven: Path, tmp_path: Path
) -> None:
    """Every label of the held-out documents counts exactly once: all their tokens but the first of each."""
    data = Data(seq_length=SEQ, layout=layout, blend=[Part(sources=sources)])
    there = valid_sequences(uneven, data)
    _, dataset = built(uneven, tmp_path, data, (None, valid_blend(uneven, data)), samples=0)
    assert len(dataset) == there
    period = there + 5
    validation = Repeated(dataset, period)
    counted = [int(validation[number]["loss_mask"].sum()) for number in range(period)]
    assert counted[there:] == [0] * 5
    assert [int(validation[number + period]["loss_mask"].sum()) for number in range(period)] == counted
    prefixes = valid_blend(uneven, data)[0]
    lengths = np.concatenate([read_lengths(Path(prefix)) for prefix in prefixes]).astype(np.int64)
    if layout != "paper":
        assert sum(counted) == int((lengths - 1).sum())
    else:  # pieces of 64 tokens that begin 60 apart, each without a label for its last token
        pieces = [min(SEQ, length - start) for length in lengths for start in range(0, max(1, length - 4), SEQ - 4)]
        assert sum(counted) == sum(piece - 1 for piece in pieces)
    if sources == ["*"]:
        half = [dataset.dataset_index[number] for number in range(there // 2)]
        names = [Path(str(part.dataset_path)).name for part in dataset.datasets]
        shares = {name: half.count(number) / len(half) for number, name in enumerate(names)}
        whole = {name: len(part) / there for name, part in zip(names, dataset.datasets, strict=True)}
        assert shares == pytest.approx(whole, abs=0.02), "a part of it is read in proportion to the sequences"


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_order_of_a_longer_run_begins_with_that_of_a_shorter_one(layout: str, tokens: Path, tmp_path: Path) -> None:
    """A longer run rests on this: neither the blend nor the order within a set depends on the number of steps."""
    data = Data(seq_length=SEQ, layout=layout)
    short, long = 40, 60 if layout == "concat" else 700
    first, second = (make(tokens, tmp_path / str(samples), data, samples) for samples in (short, long))
    for number in range(short):
        ours, theirs = first[number], second[number]
        assert all(torch.equal(torch.as_tensor(ours[name]), torch.as_tensor(theirs[name])) for name in ours)
