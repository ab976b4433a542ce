"""Tokens a second and MFU of real sizes, random weights, packed rows of 2,048: printed, not asserted."""

import json
from collections.abc import Callable
from pathlib import Path
from shutil import rmtree
from statistics import median

import pytest

from pdapt.recipes.load import load
from pdapt.training.train import train

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(1800)]

STEPS, WARM = 15, 5
"""Steps of a run, and how many of them are not counted: kernels are chosen and compiled, memory is asked for."""
UNITS = {"tokens_per_second": "tokens/s", "slots_per_second": "slots/s", "seconds": "s a step", "mfu": ""}


@pytest.mark.parametrize("size", ["0p6b", "1p7b"])
def test_tokens_a_second(size: str, long_tokens: Path, figure: Callable[..., None], tmp_path: Path) -> None:
    recipe = f"qwen3_{size}_cpt_1xh100_packed"
    micro = load(recipe).batch.micro_size
    small = [f"steps={STEPS}", f"checkpoint.every={STEPS}", f"validation.every={STEPS}", "validation.batches=1"]
    # Four micro-batches a step. The optimizer's state is not saved: 12 bytes a parameter that nothing reads.
    small += [f"batch.global_size={4 * micro}", "megatron.no-save-optim=true"]
    train(load(recipe, small), long_tokens, tmp_path / "run")
    rows = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    rmtree(tmp_path / "run" / "checkpoints")
    steps = [row for row in rows if row["event"] == "step" and row["step"] > WARM]
    assert len(steps) == STEPS - WARM
    for key, unit in UNITS.items():
        value = median(row[key] for row in steps)
        figure(f"qwen3 {size}, micro-batch {micro}: {key}", value, unit)
        assert value > 0
    assert all(row["loss"] > 0 for row in steps)
