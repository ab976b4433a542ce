"""Instruction data on two ranks: the first loss is transformers' on answers alone; the model then goes on as any."""

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoTokenizer, Qwen3ForCausalLM

from pdapt.conversion.convert import export_hf, import_hf
from pdapt.eval.harness.chat_template import check_rendering
from pdapt.merge.run import merge
from pdapt.recipes.load import load
from pdapt.training.megatron.sequences import read_of_recipe
from pdapt.training.run.journal import JOURNAL_FILE, Event, kept, read
from pdapt.training.train import train

pytestmark = pytest.mark.slow


def labels_of(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    """The ids with -100 for all that is no answer, by where turns begin and end."""
    head, end = tokenizer.encode("<|im_start|>assistant\n").ids, tokenizer.token_to_id("<|im_end|>")
    labels, at = [-100] * len(ids), 0
    while at < len(ids):
        if ids[at : at + len(head)] != head:
            at += 1
            continue
        begin = at + len(head)
        at = ids.index(end, begin) + 1 if end in ids[begin:] else len(ids)
        labels[begin:at] = ids[begin:at]
    return labels


def test_the_first_loss_is_transformers_on_answers_and_export_and_merge_keep_the_chat_template(
    chat_tokens: Path, tiny_qwen3: Callable[..., Path], recipe_file: Path, tmp_path: Path
) -> None:
    source = tiny_qwen3()
    template = (chat_tokens / "tokenizer/chat_template.jinja").read_text()
    (source / "chat_template.jinja").write_text(template)
    import_hf(source, tmp_path / "base")
    two = ["parallel.ranks_per_node=2", "steps=3", "checkpoint.every=3", "validation.every=3", "model.precision=fp32"]
    recipe = load(str(recipe_file), two)
    train(recipe, chat_tokens, tmp_path / "run", base=tmp_path / "base")
    steps = [*kept(read(tmp_path / "run" / JOURNAL_FILE), Event.STEP).values()]
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    model: Any = Qwen3ForCausalLM.from_pretrained(source, dtype=torch.float32)
    total, count = 0.0, 0
    with torch.no_grad():
        for sequence in read_of_recipe(chat_tokens, recipe, "train", range(8)):
            borders = sorted({*sequence.sample["cu_seqlens"].tolist()} - {recipe.data.seq_length})
            for start, stop in pairwise([*borders, sequence.real_tokens]):
                ids = sequence.sample["tokens"][start:stop].tolist()
                labels = torch.tensor(labels_of(ids, tokenizer))
                if learned := int((labels[1:] != -100).sum()):
                    total += float(model(torch.tensor([ids]), labels=labels[None]).loss) * learned
                    count += learned
    assert len(steps) == 3
    assert steps[0]["tokens"] == count
    assert steps[0]["loss"] == pytest.approx(total / count, rel=1e-5)
    assert steps[2]["loss"] < steps[0]["loss"]

    export_hf(tmp_path / "run", tmp_path / "hf")
    merge(source, tmp_path / "hf", tmp_path / "merged")
    for folder in ("hf", "merged"):
        assert AutoTokenizer.from_pretrained(tmp_path / folder).chat_template == template
    check_rendering({"merged": tmp_path / "merged"})  # as `eval run --chat-template` asks
