"""A run as it is requested, as its ranks are told of it."""

from pathlib import Path

import pytest

from pdapt.data_prep.tokens.tokens_record import read_record
from pdapt.recipes.load import load
from pdapt.training.requested_run import Run, Start


def test_ranks_are_told_where_a_start_reads_and_writes(
    tokens: Path, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Absolute paths, whatever folder a rank is started in."""
    monkeypatch.chdir(tmp_path)
    recipe = load(str(recipe_file), ["validation.batches=1"])
    task = Run(recipe, tokens, Path("run"), None).task(Start(begun=5.0, stop_at=3, deadline=60.0))
    out, places = tmp_path.resolve() / "run", task.places
    assert (places.checkpoints, places.tensorboard, places.cache) == (
        out / "checkpoints",
        out / "tensorboard",
        out / "cache",
    )
    assert places.achieved.parent == out
    assert places.base is None
    assert places.eod == read_record(tokens).eod_id
    assert places.valid_batches == 1
    assert (task.recipe, task.tokens, task.base_step) == (recipe, tokens.resolve(), None)
    assert (task.begun, task.stop_at, task.deadline) == (5.0, 3, 60.0)
