"""`pdapt train --dry-run`: every recipe, offline, without a GPU or tokens."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from unittest.mock import Mock

import pytest
from commands import pdapt

from pdapt.core.errors import UserError
from pdapt.recipes.load import load, names
from pdapt.training import dry_run as dry_run_module
from pdapt.training.dry_run import as_text, dry_run

KEYS = ("recipe", "megatron_args", "memory_gib", "step_seconds", "tokens_per_second_per_gpu")


@pytest.mark.slow
def test_every_recipe_says_what_it_would_do(subtests: pytest.Subtests) -> None:
    for name in names():
        with subtests.test(recipe=name):
            recipe = load(name)
            prediction = dry_run(recipe, Path("run"), None)
            found = json.loads(json.dumps(asdict(prediction)))
            assert set(KEYS) <= set(found)
            assert all(isinstance(text, str) and text for text in found["megatron_args"])
            assert not any(" " in text for text in found["megatron_args"])
            assert 3 < found["memory_gib"] < 0.9 * recipe.machine.gpu_gib
            assert (
                found["step_seconds"] is found["tokens_per_second_per_gpu"] is None
            )  # the command line asks the planner
            assert "predicted" in as_text(name, recipe, prediction).lower()
            assert "  a step:" not in as_text(name, recipe, prediction)


@pytest.mark.slow
def test_the_command_prints_one_json_object_and_nothing_else() -> None:
    given = ["train", "qwen3_8b_cpt_48xh100_packed", "optimizer.lr=1e-5", "--dry-run", "--json"]
    command = [sys.executable, "-m", "pdapt.cli.main", *given]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert found["recipe"]["optimizer"]["lr"] == 1e-5
    arguments = found["megatron_args"]
    assert arguments[arguments.index("--lr") + 1] == "1e-05"
    slots = 576 * 2048
    assert found["tokens_per_second_per_gpu"] == pytest.approx(slots / found["step_seconds"] / 48, rel=1e-3)
    assert 1 < found["step_seconds"] < 10


def test_it_states_tokens_epochs_and_that_figures_are_predicted() -> None:
    text = pdapt("train", "qwen3_8b_cpt_48xh100_paper", "--dry-run")
    assert "4,320 steps = 2.53 epochs" in text
    assert "Predicted, not measured" in text


def test_without_a_dry_run_tokens_and_out_are_needed() -> None:
    with pytest.raises(UserError, match="--tokens is missing"):
        pdapt("train", "qwen3_8b_cpt_48xh100_packed", "--out", "run")


def test_with_nemo_it_shows_bridges_container_or_says_why_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = load("qwen3_8b_cpt_48xh100_packed", ["engine=nemo", "checkpoint.asynchronous=false"])
    missing = UserError("engine=nemo cannot run here", fix="install requirements/nemo.txt")
    monkeypatch.setattr(dry_run_module, "check_installed", Mock(side_effect=missing))
    monkeypatch.setattr(dry_run_module, "container_yaml", lambda _, places: f"train: {places.checkpoints}")
    assert "Megatron's arguments:" in as_text("8b", recipe, dry_run(recipe, Path("run"), None))
    said = capsys.readouterr().err
    assert "container of the recipe is not shown: engine=nemo cannot run here" in said
    assert "requirements/nemo.txt" in said
    monkeypatch.setattr(dry_run_module, "check_installed", Mock())
    text = as_text("8b", recipe, dry_run(recipe, Path("run"), None))
    assert "Megatron-Bridge's ConfigContainer:\n  train: run/checkpoints" in text
    assert "Megatron's arguments" not in text
    recipe.validation.batches = "all"
    assert dry_run(recipe, Path("run"), None).bridge_container is None
    assert "give --tokens" in capsys.readouterr().err
