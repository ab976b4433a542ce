"""Reading a run's sequences outside a run: each when its turn has come, and that is what `bench data` times."""

import time
from pathlib import Path
from typing import Any

import pytest

from pdapt.bench import ceilings as bench_ceilings
from pdapt.recipes.load import load
from pdapt.training.megatron import sequences as stream


def test_only_the_reading_of_samples_is_timed(recipe_file: Path, tokens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from megatron.core.datasets import utils

    monkeypatch.setattr(utils, "compile_helpers", utils.compile_helpers)  # put back afterwards
    recipe = load(str(recipe_file))
    read: list[int] = []
    real = stream._sequence

    def slow(dataset: Any, samples: int, data: Any, number: int) -> stream.Sequence:
        time.sleep(0.01)
        read.append(number)
        return real(dataset, samples, data, number)

    monkeypatch.setattr(stream, "_sequence", slow)
    wanted = recipe.steps * recipe.batch.global_size + 20  # more than the recipe reads
    found = bench_ceilings.data(recipe, tokens, wanted)
    assert read == list(range(wanted + 1))
    assert found.samples == wanted
    assert 0 < found.samples_per_second < 100
    assert found.slots_per_second == pytest.approx(found.samples_per_second * recipe.data.seq_length)
