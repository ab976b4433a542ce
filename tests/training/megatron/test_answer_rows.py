"""Conversations as Megatron's data sets: the labels that count are answers, each once; the loss is transformers'."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import Qwen3ForCausalLM

from pdapt.core.errors import UserError
from pdapt.data_prep.tokens.index import read_answers, read_lengths
from pdapt.recipes.filling import filling
from pdapt.recipes.load import load
from pdapt.recipes.schema import Data, Recipe
from pdapt.training.blend import as_megatron, cut_conversations, train_blend, valid_sequences
from pdapt.training.input_hashes import Inputs, check_bytes
from pdapt.training.inputs import check_inputs
from pdapt.training.megatron import seams
from pdapt.training.megatron.datasets import Repeated, build
from pdapt.training.megatron.sequences import megatron_ids

SEQ = 96


@pytest.fixture(autouse=True, scope="module")
def _megatron() -> Iterator[None]:
    from megatron.core.datasets import utils

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(utils, "compile_helpers", utils.compile_helpers)  # put back afterwards
        seams.use_compiled_helpers()
        yield


def one_epoch(tokens: Path, cache: Path, layout: str) -> Any:
    """The training set of an epoch."""
    data = Data(seq_length=SEQ, layout=layout)
    (member,) = train_blend(tokens, data, 1)
    blends, samples = (as_megatron([member]), None), int(member.sequences)
    ids = megatron_ids(tokens)
    return build(data, blends, samples, seed=1, cache=str(cache), tokenizer=ids, reads=lambda: True, answers=True)[0]


def conversations(tokens: Path) -> list[tuple[list[int], list[int]]]:
    """Ids of each conversation of the training set, and which are answers; as far as a row takes them."""
    prefix = tokens / "train/chats"
    ends = np.cumsum(read_lengths(prefix))[:-1]
    ids, answers = np.fromfile(f"{prefix}.bin", np.int32), np.asarray(read_answers(prefix))
    parts = zip(np.split(ids, ends), np.split(answers, ends), strict=True)
    return [(mine[:SEQ].tolist(), learned[:SEQ].tolist()) for mine, learned in parts]


def recipe(recipe_file: Path, *overrides: str) -> Recipe:
    return load(str(recipe_file), [f"data.seq_length={SEQ}", "model.precision=fp32", *overrides])


@pytest.mark.parametrize("layout", ["packed", "paper"])
def test_each_answer_is_learned_once_and_nothing_else(chat_tokens: Path, tmp_path: Path, layout: str) -> None:
    given, dataset = conversations(chat_tokens), one_epoch(chat_tokens, tmp_path, layout)
    learned, seen = [], []
    for number in range(len(dataset)):
        sample, at = {name: np.asarray(value) for name, value in dataset[number].items()}, 0
        for document, start, size in dataset.pieces(number):
            ids, answers = given[document]
            assert (start, size) == (0, len(ids))
            assert sample["tokens"][at : at + size].tolist() == ids
            counted = sample["loss_mask"][at : at + size]
            assert counted.tolist() == [*answers[1:], 0.0]
            learned += sample["labels"][at : at + size][counted == 1].tolist()
            seen.append(document)
            at += size
        assert not sample["loss_mask"][at:].any()
    kept = [number for number, (_, answers) in enumerate(given) if any(answers)]
    assert sorted(seen) == kept
    assert sorted(learned) == sorted(id for number in kept for id, answer in zip(*given[number], strict=True) if answer)


@pytest.mark.slow
def test_a_packed_rows_loss_is_transformers_mean_over_answers(
    chat_tokens: Path, tiny_qwen3: Callable[..., Path], tmp_path: Path
) -> None:
    """transformers is given each conversation by itself, with labels of -100 where nothing is learned."""
    model = Qwen3ForCausalLM.from_pretrained(tiny_qwen3(), dtype=torch.float32)
    given, dataset = conversations(chat_tokens), one_epoch(chat_tokens, tmp_path, "packed")
    with torch.no_grad():
        for number in range(3):
            sample = {name: torch.as_tensor(np.asarray(value)) for name, value in dataset[number].items()}
            borders = sample["cu_seqlens"].unique()
            block = torch.bucketize(torch.arange(SEQ), borders[1:], right=True)
            mask = (block[:, None] == block) & torch.ones(SEQ, SEQ, dtype=torch.bool).tril()
            logits = model(
                sample["tokens"][None], attention_mask=mask[None, None], position_ids=sample["position_ids"][None]
            ).logits[0]
            losses = cross_entropy(logits, sample["labels"], reduction="none")
            ours = (losses * sample["loss_mask"]).sum() / sample["loss_mask"].sum()
            total, count = 0.0, 0
            for document, _, _ in dataset.pieces(number):
                ids, answers = (torch.tensor(each) for each in given[document])
                labels = torch.where(answers == 1, ids, -100)
                total += float(model(ids[None], labels=labels[None]).loss) * int(answers.sum())
                count += int(answers.sum())
            assert float(ours) == pytest.approx(total / count, rel=1e-5)


def test_a_filler_of_a_validation_counts_nothing(chat_tokens: Path, tmp_path: Path) -> None:
    dataset = one_epoch(chat_tokens, tmp_path, "packed")
    filled = Repeated(dataset, len(dataset) + 1)[len(dataset)]
    assert not filled["loss_mask"].any()


def test_a_run_says_what_it_cuts_and_refuses_what_cannot_be(
    chat_tokens: Path, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = Inputs(chat_tokens)
    (fitted,) = cut_conversations(chat_tokens, Data(seq_length=SEQ))
    assert fitted.cut > 0
    (member,) = check_inputs(recipe(recipe_file), inputs)
    message = f"{fitted.cut} conversations of more than {SEQ} tokens are cut there: {fitted.lost:,} tokens of answers"
    assert message in capsys.readouterr().err
    assert member.tokens == fitted.lengths.sum()
    assert filling(recipe(recipe_file), chat_tokens).fill == member.tokens / (member.sequences * SEQ)
    assert valid_sequences(chat_tokens, Data(seq_length=SEQ)) > 0
    check_bytes(recipe(recipe_file), inputs)
    for refused in (check_inputs, lambda given, inputs: filling(given, inputs.tokens)):
        with pytest.raises(UserError, match=r"the layout concat would cut anywhere\n  where: data.layout"):
            refused(recipe(recipe_file, "data.layout=concat"), inputs)
    with pytest.raises(UserError, match=r"no conversation of chats has an answer among its first 6 tokens"):
        train_blend(chat_tokens, Data(seq_length=6), 1)
