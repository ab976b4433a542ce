"""Checkpoints between GPU and CPU, and out to transformers."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from pdapt.conversion.convert import export_hf
from pdapt.conversion.distcp_read import Checkpoint
from pdapt.recipes.load import load
from pdapt.training.run.folder import checkpoints

pytestmark = pytest.mark.gpu
Run = Callable[..., Path]
Losses = Callable[..., dict[int, float]]
Figure = Callable[..., None]

# Nats. Rounding alone moves these steps' losses by 5e-4; where the optimizer's state is lost on the way, they are off
# by 2e-2 after three steps and 5e-2 after six (both measured on a CPU).
TOLERANCE = 1e-2


@pytest.mark.parametrize("direction", ["GPU to CPU", "CPU to GPU"])
def test_a_run_goes_on_elsewhere(
    direction: str, on_gpu: Run, on_cpu: Run, gpu_run: Path, losses: Losses, figure: Figure, tmp_path: Path
) -> None:
    """Ten steps here and ten there, against twenty on the GPU."""
    first, second = (on_gpu, on_cpu) if direction == "GPU to CPU" else (on_cpu, on_gpu)
    run = first(tmp_path / "run", stop_at=10)
    assert list(losses(run)) == list(range(1, 11))
    second(run)
    found, expected = losses(run), losses(gpu_run)
    assert found.keys() == expected.keys()
    here, there = checkpoints(run)
    assert stored(here) == stored(there)
    worst = max(abs(found[step] - expected[step]) for step in expected)
    figure(f"{direction}: loss - the GPU's alone", worst, "nats", allowed=TOLERANCE)


def stored(checkpoint: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Names, shapes and types of a checkpoint's tensors."""
    entries = Checkpoint(checkpoint).entries
    return {name: (tuple(entry.size), entry.dtype) for name, entry in entries.items()}


def test_transformers_loads_what_a_gpu_trained(
    gpu_run: Path,
    recipe_file: Path,
    losses: Losses,
    transformers_loss: Callable[..., float],
    figure: Figure,
    tmp_path: Path,
) -> None:
    """The export's loss on the validation samples is the one that the run ended with."""
    from transformers import Qwen3ForCausalLM

    export_hf(checkpoints(gpu_run)[-1], tmp_path / "hf")
    model = Qwen3ForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    with torch.no_grad():
        expected = transformers_loss(model, load(str(recipe_file)), "valid", range(8))
    found = losses(gpu_run, "valid_loss")[20]
    figure("export: validation loss - transformers'", abs(found - expected), "nats", allowed=2e-3)
