"""Recipes as functions for users of NeMo, without NeMo: which recipe they load, and where it reads and writes."""

from pathlib import Path
from typing import Any

import pytest

from pdapt.data_prep.tokens.tokens_record import read_record
from pdapt.recipes.load import load
from pdapt.recipes.nemo import qwen3_0p6b_cpt
from pdapt.training.nemo import installed, recipe_container
from pdapt.training.rank_task import RankTask


def test_a_function_loads_its_published_recipe_and_all_places_are_absolute(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever folder the user's ranks are started in."""

    def container(task: RankTask, *, gpu: bool) -> tuple[RankTask, bool]:
        return task, gpu

    monkeypatch.setattr(installed, "check_installed", lambda _: None)
    monkeypatch.setattr(recipe_container, "recipe_container", container)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "base/checkpoints").mkdir(parents=True)
    place: dict[str, Any] = {"num_nodes": 2, "num_gpus_per_node": 4, "dir": "run"}
    task, gpu = qwen3_0p6b_cpt(tokens=tokens, base="base", overrides=["optimizer.lr=1e-5"], **place)
    wanted = ["engine=nemo", "checkpoint.asynchronous=false", "optimizer.lr=1e-5"]
    spread = ["parallel.nodes=2", "parallel.ranks_per_node=4"]
    assert gpu
    assert (task.recipe, task.tokens) == (load("qwen3_0p6b_cpt_8xh100_packed", [*wanted, *spread]), tokens.resolve())
    out, places = tmp_path.resolve() / "run", task.places
    assert (places.checkpoints, places.tensorboard) == (out / "checkpoints", out / "tensorboard")
    assert (places.cache, places.achieved.parent) == (out / "cache", out)
    assert places.base == tmp_path.resolve() / "base/checkpoints"
    assert places.eod == read_record(tokens).eod_id
    assert qwen3_0p6b_cpt(tokens=tokens, base=None, **place)[0].places.base is None
