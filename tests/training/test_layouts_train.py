"""Each layout in a real run: the first losses are those of transformers on what the layout says the model sees."""

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import Qwen3ForCausalLM

from pdapt.conversion.convert import export_hf, import_hf
from pdapt.core.files import read_json
from pdapt.recipes.load import load
from pdapt.recipes.schema import Recipe
from pdapt.training.blend import valid_sequences
from pdapt.training.megatron.sequences import read_of_recipe
from pdapt.training.run.folder import ACHIEVED, METRICS
from pdapt.training.train import train

pytestmark = pytest.mark.slow
Maker = Callable[..., Path]
TWO = "parallel.ranks_per_node=2"


def expected_loss(model: Qwen3ForCausalLM, recipe: Recipe, tokens: Path, split: str, numbers: range) -> float:
    """transformers' mean loss over the labels that count, each piece by itself where there are masks."""
    total, count = 0.0, 0
    for found in read_of_recipe(tokens, recipe, split, numbers):
        sample = {name: torch.from_numpy(np.array(value)) for name, value in found.sample.items()}
        borders = sample.get("cu_seqlens", torch.tensor([0, recipe.data.seq_length])).unique().tolist()
        for start, stop in pairwise(borders):
            counted = sample["loss_mask"][start:stop].bool()
            if counted.any():
                logits = model(sample["tokens"][None, start:stop]).logits[0][counted]
                total += cross_entropy(logits, sample["labels"][start:stop][counted], reduction="sum").item()
                count += int(counted.sum())
    return total / count


@pytest.mark.parametrize(
    "overrides",
    [
        ["data.layout=packed"],
        ["data.layout=packed", TWO, "parallel.pp=2", "batch.micro_size=1"],
        ["data.layout=concat", TWO],
        ["data.layout=concat", "data.document_masks=false"],
        ["data.layout=paper", TWO, "parallel.tp=2"],
    ],
    ids=["packed", "packed-pp2", "concat-dp2", "concat-unmasked", "paper-tp2"],
)
def test_the_first_losses_are_those_of_transformers(
    overrides: list[str], tiny_qwen3: Maker, tokens: Path, recipe_file: Path, tmp_path: Path
) -> None:
    source = tiny_qwen3()
    import_hf(source, tmp_path / "base")
    still = ["optimizer.lr=1e-12", "checkpoint.every=1", "validation.every=1", "steps=2", "model.precision=fp32"]
    still.append("validation.batches=all")  # their number is no multiple of the batch
    blend = "data.blend=[{sources: [soins], weight: 0.6}, {sources: [ville], weight: 0.4}]"
    recipe = load(str(recipe_file), [*still, blend, *overrides])
    manifest = train(recipe, tokens, tmp_path / "run", base=tmp_path / "base")
    rows = [json.loads(line) for line in (tmp_path / "run" / METRICS).read_text().splitlines()]
    found, validated = ([row[name] for row in rows if name in row] for name in ("loss", "valid_loss"))
    export_hf(tmp_path / "run", tmp_path / "hf")
    model = Qwen3ForCausalLM.from_pretrained(source, dtype=torch.float32)
    exported = Qwen3ForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    held_out = valid_sequences(tokens, recipe.data)
    assert held_out % recipe.batch.global_size
    with torch.no_grad():
        expected = [expected_loss(model, recipe, tokens, "train", numbers) for numbers in (range(8), range(8, 16))]
        valid = expected_loss(exported, recipe, tokens, "valid", range(held_out))
    assert found == pytest.approx(expected, rel=1e-5)
    assert validated == pytest.approx([valid, valid], rel=1e-5)  # every time the same sequences, each once

    assert manifest is not None
    read = read_json(tmp_path / "run" / ACHIEVED)
    assert [row["step"] for row in read] == [1, 2]
    assert manifest.counts["sources"] == read[-1]["sources"]
    real = sum(found.real_tokens for found in read_of_recipe(tokens, recipe, "train", range(16)))
    assert manifest.counts["tokens"] == sum(source["tokens"] for source in read[-1]["sources"].values()) == real
    assert manifest.counts["slots"] == 2 * 8 * 128
