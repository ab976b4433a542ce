"""A small Qwen3 whose weights are computed, not drawn, and what transformers says of it on a CPU.

`python tests/gpu/first_look/small.py` writes `expected.json`. No torch draws the same numbers in every version: here a
hash of each weight's place decides it.
"""

import json
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pdapt.conversion.tensor_names import LAYERS, folded, hf_shapes
from pdapt.core.files import write_json
from pdapt.core.qwen3 import Qwen3Config

EXPECTED = Path(__file__).with_name("expected.json")
SHAPE = Qwen3Config(
    layers=2, hidden=128, ffn=384, heads=4, kv_heads=2, head_dim=64, vocab=1024, tied=True, max_positions=512
)
"""With what is peculiar to the real ones: as in the 0.6B, heads x head_dim is not the hidden size."""
LENGTHS = (200, 100, 1, 150, 61)
"""Tokens of the pack's documents. One of a single token has nothing to predict and still takes its place."""
SAMPLES = 48
"""Values of a tensor that are written down."""
LOCAL = {
    "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
    "mlp.linear_fc1.layer_norm_weight": "pre_mlp_layernorm.weight",
}
"""A checkpoint's name -> the local layers'."""


def hashed(count: int, seed: int) -> np.ndarray:
    """So many numbers from 0 to 1, evenly spread, that depend on `seed` and their place alone."""
    mixed = (np.arange(count, dtype=np.uint64) + np.uint64(seed) * np.uint64(1_000_003)) & np.uint64(0xFFFFFFFF)
    for _ in range(2):
        mixed = ((mixed ^ (mixed >> np.uint64(16))) * np.uint64(0x45D9F3B)) & np.uint64(0xFFFFFFFF)
    return (mixed ^ (mixed >> np.uint64(16))).astype(np.float64) / 2**32


def weights() -> dict[str, torch.Tensor]:
    """The model's tensors by their Hugging Face names, FP32: matrices of RMS 0.05, norms from 0.5 to 1.5.

    Larger than Qwen3's 0.02, so that the loss depends on what is attended to; norms of exactly 1 would hide one that is
    left out.
    """
    found = {}
    for seed, (name, size) in enumerate(hf_shapes(SHAPE).items(), start=1):
        values = hashed(int(np.prod(size)), seed) - 0.5
        values = 1 + values if "norm" in name else values * 0.05 * 12**0.5
        found[name] = torch.from_numpy(values.astype(np.float32)).reshape(size)
    return found


def documents(*lengths: int, seed: int = 0) -> list[list[int]]:
    """Documents of random ids."""
    ids = (hashed(sum(lengths), 1000 + seed) * 1000).astype(int).tolist()
    ends = list(accumulate(lengths))
    return [ids[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def write_hf(folder: Path) -> Path:
    """The model as a Hugging Face folder."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True)
    save_file(weights(), folder / "model.safetensors")
    write_json(folder / "config.json", SHAPE.to_hf("float32"))
    return folder


def sample(tensor: torch.Tensor) -> torch.Tensor:
    """Some of a tensor's values, evenly spread over it."""
    flat = tensor.detach().float().cpu().flatten()
    return flat[torch.arange(SAMPLES) * len(flat) // SAMPLES]


def summary(tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """The norm and a sample of `logits`, `loss` and `grad.*`, which are compared."""
    return {
        name: {"norm": tensor.float().norm().item(), "sample": [float(f"{value:.7g}") for value in sample(tensor)]}
        for name, tensor in tensors.items()
    }


def difference(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """The larger relative difference: that of a tensor's sample, or that of its norm."""
    here, there = (torch.tensor(one["sample"], dtype=torch.float64) for one in (found, expected))
    return max(float((here - there).norm() / there.norm()), abs(found["norm"] / expected["norm"] - 1))


def expected() -> dict[str, Any]:
    """Compute transformers' values in FP32 on a CPU, each document by itself, under the local layers' names."""
    from torch.nn.functional import cross_entropy
    from transformers import AutoConfig, Qwen3ForCausalLM

    config: Any = AutoConfig.for_model(**SHAPE.to_hf("float32"))
    model = Qwen3ForCausalLM(config)
    absent, _ = model.load_state_dict(weights(), strict=False)
    assert absent == ["lm_head.weight"], absent  # it is the embedding
    pack = documents(*LENGTHS)
    logits = [model(torch.tensor([ids])).logits[0] for ids in pack]
    losses = [
        cross_entropy(rows[:-1], torch.tensor(ids[1:]), reduction="sum")
        for rows, ids in zip(logits, pack, strict=True)
        if len(ids) > 1
    ]
    loss = torch.stack(losses).sum() / sum(length - 1 for length in LENGTHS)
    loss.backward()
    grads = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    parts: dict[str, list[torch.Tensor]] = {}
    for part in folded(SHAPE):
        name = part.name.removeprefix(LAYERS)
        prefix = "" if part.layer is None else f"{LAYERS}{part.layer}."
        parts.setdefault(f"grad.{prefix}{LOCAL.get(name, name)}", []).append(part.make(grads.__getitem__))
    return summary({"logits": torch.cat(logits), "loss": loss} | {name: torch.cat(parts[name]) for name in parts})


if __name__ == "__main__":
    EXPECTED.write_text(json.dumps(expected(), indent=0) + "\n")
