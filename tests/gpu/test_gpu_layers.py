"""A GPU's layers against the CPU's, which tests/training/megatron/test_parity.py compares with transformers'.

On the GPU those of Transformer Engine, where it is installed, and the local ones; on the CPU these in FP32. Their own
BF16 differs from that by up to 1.3 % of the logits' RMS, 4e-4 nats of loss and 3 % of a gradient's norm on this model
(measured on a CPU). Where attention forgets the documents' borders it is 100 %, 1e-2 and 70 %.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from pdapt.conversion.convert import import_hf
from pdapt.core.qwen3 import read_config
from pdapt.training.megatron.parity import measure_checkpoint

pytestmark = pytest.mark.gpu
Tensors = dict[str, torch.Tensor]
Figure = Callable[..., None]

# A document of one token has nothing to predict and still takes its place in the pack.
LENGTHS = (200, 100, 1, 150, 61)


def documents(*lengths: int, seed: int = 0) -> list[list[int]]:
    torch.manual_seed(seed)
    return [torch.randint(0, 1000, (length,)).tolist() for length in lengths]


def relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    """RMS of the difference over that of what is expected."""
    return ((found.float() - expected.float()).norm() / expected.float().norm()).item()


def compare(name: str, found: Tensors, expected: Tensors, allowed: tuple[float, float, float], figure: Figure) -> None:
    """Logits, loss and the gradient of every parameter."""
    gradients = [key for key in expected if key.startswith("grad.")]
    assert sorted(gradients) == sorted(key for key in found if key.startswith("grad."))
    logits, loss, gradient = allowed
    figure(f"{name}: logits", relative(found["logits"], expected["logits"]), "of their RMS", allowed=logits)
    figure(f"{name}: loss", abs(found["loss"] - expected["loss"]).item(), "nats", allowed=loss)
    worst = max(relative(found[key], expected[key]) for key in gradients)
    figure(f"{name}: worst gradient", worst, "of its norm", allowed=gradient)


def first_pack(found: Tensors) -> Tensors:
    return {name.removeprefix("0."): tensor for name, tensor in found.items()}


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_bf16_layers_are_the_cpus_to_rounding(
    tied: bool,
    layers: str,
    tiny: Callable[..., Path],
    gpu_layers: Callable[..., Tensors],
    figure: Figure,
    tmp_path: Path,
) -> None:
    source, pack = tiny(tied), documents(*LENGTHS)
    import_hf(source, tmp_path / "base")
    expected = measure_checkpoint(tmp_path / "base", read_config(source), pack)
    found = first_pack(gpu_layers(tmp_path / "base", read_config(source), [pack], "bf16"))
    # BF16's own rounding and as much again, for another order of the same operations.
    compare(f"{layers} in BF16, {'' if tied else 'un'}tied", found, expected, (2e-2, 2e-3, 6e-2), figure)


def test_fp32_layers_are_the_cpus(base: Path, layers: str, gpu_layers: Callable[..., Tensors], figure: Figure) -> None:
    """With attention that is not fused: the fused kernels know no FP32."""
    shape, pack = read_config(base / "hf"), documents(*LENGTHS)
    expected = measure_checkpoint(base, shape, pack)
    # Transformer Engine asks cuBLAS for TF32. Should that not heed the variable, TF32 rounds to 1/8 of BF16's error.
    found = first_pack(gpu_layers(base, shape, [pack], "fp32", NVIDIA_TF32_OVERRIDE="0"))
    compare(f"{layers} in FP32", found, expected, (3e-3, 3e-4, 8e-3), figure)


def test_a_documents_logits_do_not_change_with_its_neighbours(
    base: Path, gpu_layers: Callable[..., Any], figure: Figure
) -> None:
    """To the bit: a masked score adds exactly nothing, and all else is computed a token at a time."""
    first, second, other, third = documents(200, 101, 101, 150)
    packs = [
        [first, second, third],
        [first, other, third],
        [[*first, *second, *third]],  # the same as one document: what a leak looks like
        [[*first, *other, *third]],
    ]
    found = gpu_layers(base, read_config(base / "hf"), packs, "bf16")
    with_second, with_other, joined_second, joined_other = (found[f"{n}.logits"] for n in range(4))
    changed = (with_second - with_other).abs().amax(1)
    assert changed[200:301].min() > 0
    figure("documents: change of the others' logits", torch.cat([changed[:200], changed[301:]]).max().item(), allowed=0)
    leak = (joined_second - joined_other).abs().amax(1)
    assert leak[:200].max() == 0
    assert leak[301:].min() > 0
