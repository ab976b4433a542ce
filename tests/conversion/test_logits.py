"""The trainer's model, however it is split, against transformers on what is exported."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen3ForCausalLM

from pdapt.conversion.convert import export_hf, import_hf
from pdapt.core.qwen3 import read_config
from pdapt.recipes.load import load
from pdapt.recipes.megatron_args import Places, megatron_args

pytestmark = pytest.mark.slow
Maker = Callable[..., Path]
POSITIONS = 1000
SPLITS = {"tp1": [], "tp2": ["parallel.tp=2"], "pp2": ["parallel.pp=2"]}


@pytest.fixture
def model(tiny_qwen3: Maker) -> Callable[[str], Path]:
    """A tiny model; in BF16 one with two logits no closer than what BF16 tells apart, as random ones would be."""

    def make(dtype: str) -> Path:
        if dtype == "float32":
            return tiny_qwen3(tied=False, max_position_embeddings=1024, initializer_range=0.2)
        folder = tiny_qwen3(tied=True, dtype=dtype, max_position_embeddings=1024, initializer_range=0.05)
        weights = load_file(folder / "model.safetensors")
        weights["model.embed_tokens.weight"] *= 20
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        return folder

    return make


def megatron(
    forked_ranks: Callable[..., None], root: Path, ids: list[int], split: str, precision: str, work: Path
) -> torch.Tensor:
    """Logits of the trainer's model, loaded from a checkpoint root."""
    shape = read_config(root / "hf")
    ranks = 1 if split == "tp1" else 2
    values = vars(shape) | {"tied": str(shape.tied).lower()}
    sizes = ",".join(f"{name}:{values[name]}" for name in values)
    overrides = [f"model.shape={{{sizes}}}".replace(":", ": "), f"parallel.ranks_per_node={ranks}"]
    recipe = load(
        "qwen3_tiny_cpt_2xcpu",
        [
            *overrides,
            f"model.precision={precision}",
            f"data.seq_length={len(ids)}",
            "batch.micro_size=1",
            *SPLITS[split],
        ],
    )
    places = Places(work / "none", root, work / "tensorboard", work / "cache", work / "achieved", eod=0)
    dtype = "float32" if precision == "fp32" else "bfloat16"
    job: dict[str, Any] = {"arguments": megatron_args(recipe, places, gpu=False), "ids": ids}
    (work / "job.json").write_text(json.dumps(job | {"hidden": shape.hidden, "dtype": dtype}))
    forked_ranks(ranks, Path(__file__).with_name("logits.py"), work / "job.json", work / "logits.pt")
    return torch.load(work / "logits.pt", weights_only=True)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("split", SPLITS)
def test_logits_are_transformers(
    forked_ranks: Callable[..., None], model: Callable[[str], Path], tmp_path: Path, split: str, precision: str
) -> None:
    dtype = "float32" if precision == "fp32" else "bfloat16"
    import_hf(model(dtype), tmp_path / "megatron")
    export_hf(tmp_path / "megatron", tmp_path / "back")
    ids = torch.randint(0, 1000, (POSITIONS,), generator=torch.Generator().manual_seed(0)).tolist()
    ours = megatron(forked_ranks, tmp_path / "megatron", ids, split, precision, tmp_path)
    with torch.no_grad():
        loaded = Qwen3ForCausalLM.from_pretrained(tmp_path / "back", dtype="auto")
        theirs = loaded(torch.tensor([ids])).logits[0].float()
    assert theirs.shape == ours.shape == (POSITIONS, 1024)
    assert theirs.std() > 0.5, "the logits are no noise"
    if precision == "fp32":
        assert (ours - theirs).abs().max() < 1e-5
    else:
        assert torch.equal(ours.argmax(-1), theirs.argmax(-1))
