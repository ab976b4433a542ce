"""Megatron-Bridge's container of a published recipe, as `--dry-run` prints it and a NeMo user's script takes it."""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pdapt.core.errors import UserError
from pdapt.core.files import write_json
from pdapt.recipes.load import load
from pdapt.recipes.megatron_args import Places
from pdapt.recipes.nemo import qwen3_0p6b_cpt, qwen3_8b_cpt
from pdapt.training.nemo import recipe_container
from pdapt.training.rank_task import RankTask

SERVED = ["engine=nemo", "checkpoint.asynchronous=false"]


def test_a_dry_run_prints_the_container_as_yaml(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load("qwen3_8b_cpt_8xh100_packed", SERVED)
    places = Places(tmp_path, None, tensorboard=tmp_path, cache=tmp_path, achieved=tmp_path / "achieved.json", eod=7)
    write_json(tmp_path / "job.json", RankTask(recipe, places, tmp_path, begun=0.0).to_json())
    monkeypatch.setattr(sys, "argv", ["recipe_container", str(tmp_path / "job.json")])
    recipe_container.main()
    values: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    assert values["_target_"] == "megatron.bridge.training.config.ConfigContainer"
    layers = values["model"]["transformer"]
    assert (layers["num_layers"], layers["hidden_size"], layers["tensor_model_parallel_size"]) == (36, 4096, 2)
    assert layers["transformer_impl"] == "transformer_engine"
    assert (values["train"]["global_batch_size"], values["train"]["train_iters"]) == (576, 4194)
    assert (values["optimizer"]["lr"], values["dist"]["distributed_backend"]) == (2e-5, "nccl")


def test_a_recipe_is_a_function_named_and_parameterised_as_nemo_does(tokens: Path, tmp_path: Path) -> None:
    from megatron.bridge.training.config import ConfigContainer

    blend = "data.blend=[{sources: [soins, ville]}]"
    container = qwen3_8b_cpt(
        tokens=tokens,
        base=None,
        dir=tmp_path / "run",
        num_nodes=2,
        num_gpus_per_node=4,
        overrides=["optimizer.lr=1e-5", blend],
    )
    assert type(container) is ConfigContainer
    assert container.optimizer.lr == 1e-5
    assert container.model.transformer.tensor_model_parallel_size == 2
    assert container.checkpoint.save == str(tmp_path / "run" / "checkpoints")
    assert container.dataset.provider.samples == 576 * 4194
    assert "WORLD_SIZE" not in recipe_container.os.environ


def test_a_spread_that_no_recipe_has_is_refused_with_those_there_are(tokens: Path) -> None:
    with pytest.raises(UserError, match="qwen3_0p6b_cpt_24xh100_packed"):
        qwen3_0p6b_cpt(tokens=tokens, base=None, num_nodes=6, num_gpus_per_node=4)
