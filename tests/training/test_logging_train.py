"""The records of a run: by data set, speed, stalls, goodput, profiles, and for those who follow it."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from pdapt.core.files import read_json
from pdapt.core.flops import flops_per_step
from pdapt.recipes.load import load
from pdapt.recipes.schema import shape_of
from pdapt.training.megatron.sequences import read_of_recipe
from pdapt.training.run.failures.rank_file import FOLDER, read_records
from pdapt.training.run.folder import METRICS
from pdapt.training.run.journal import JOURNAL_FILE, Event, Row, kept, read
from pdapt.training.train import train

pytestmark = pytest.mark.slow
TWO = "parallel.ranks_per_node=2"
BLEND = "data.blend=[{sources: [soins], weight: 0.5}, {sources: [ville], weight: 0.5}]"


def rows(out: Path, event: str) -> list[Row]:
    return [row for row in read(out / JOURNAL_FILE) if row["event"] == event]


@pytest.fixture(scope="module")
def run(recipe_file: Path, tokens: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten steps on two ranks, validated at the fifth and the tenth, with a profile of steps 3 and 4."""
    out = tmp_path_factory.mktemp("logged") / "run"
    train(load(str(recipe_file), [TWO, BLEND, "log.profile=[3, 4]", "log.profile_ranks=[1]"]), tokens, out)
    return out


def test_the_data_sets_losses_make_up_the_batchs(run: Path) -> None:
    for kind in (Event.STEP, Event.VALIDATION):
        for row in kept(read(run / JOURNAL_FILE), kind).values():
            assert set(row["sources"]) == {"soins", "ville"}
            tokens = sum(found["tokens"] for found in row["sources"].values())
            mean = sum(found["loss"] * found["tokens"] for found in row["sources"].values()) / tokens
            assert mean == pytest.approx(row["loss"], rel=1e-5)


def test_tokens_that_count_slots_and_operations_are_those_of_the_sequences(
    run: Path, recipe_file: Path, tokens: Path
) -> None:
    recipe = load(str(recipe_file), [TWO, BLEND])
    for row in rows(run, "step")[:3]:
        numbers = range(8 * row["step"] - 8, 8 * row["step"])
        samples = [found.sample for found in read_of_recipe(tokens, recipe, "train", numbers)]
        assert row["tokens"] == sum(int(sample["loss_mask"].sum()) for sample in samples)
        assert row["slots"] == 8 * 128
        lengths = np.concatenate([np.diff(sample["cu_seqlens"]) for sample in samples]).astype(np.int64)
        squares = int((lengths**2).sum())
        operations = flops_per_step(shape_of(recipe), row["slots"], squares)
        assert row["tflops_per_rank"] == pytest.approx(operations / row["seconds"] / 2 / 1e12)
        assert row["tokens_per_second"] == pytest.approx(row["tokens"] / row["seconds"])
        assert row["mfu"] is row["joules"] is None, "there is no GPU here"


def test_goodput_is_the_steps_time_over_all_time(run: Path) -> None:
    (begun,) = rows(run, "start")
    steps = rows(run, "step")
    productive = sum(row["seconds"] - row["data_wait"] for row in steps)
    wall = steps[-1]["time"] - begun["time"]
    assert steps[-1]["goodput"] == pytest.approx(productive / wall, rel=0.01)
    assert 0 < steps[-1]["goodput"] < 1
    assert steps[0]["goodput"] < steps[-1]["goodput"], "starting takes longer than ten steps"


def test_saves_say_how_long_they_held_training_up(run: Path) -> None:
    saves = rows(run, "save")
    assert [row["step"] for row in saves] == [2, 4, 6, 8, 10]
    assert all(0 < row["stall_seconds"] <= row["seconds"] + 1e-3 for row in saves)
    assert not any(row["asynchronous"] for row in saves)


def test_metrics_hold_the_losses_by_data_set_too(run: Path) -> None:
    found = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    assert [row["iteration"] for row in found if "loss" in row] == list(range(1, 11))
    assert [row["iteration"] for row in found if "valid_loss" in row] == [5, 10]
    assert all(set(row["sources"]) == {"soins", "ville"} for row in found)


def test_tensorboard_has_the_losses_and_rates(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (path,) = (run / "tensorboard").glob("events.out.tfevents.*")
    events = EventAccumulator(str(path)).Reload()
    names = set(events.Tags()["scalars"])
    assert {
        "train/goodput",
        "train/tokens_per_second",
        "train/source_loss/soins",
        "valid/source_loss/ville",
        "lm loss",
    } <= names
    written = [event.value for event in events.Scalars("train/source_loss/soins")]
    assert written == pytest.approx([row["sources"]["soins"]["loss"] for row in rows(run, "step")], rel=1e-6)


def test_the_profile_of_the_chosen_steps_and_rank_is_there(run: Path) -> None:
    (trace,) = (run / "torch_profile").iterdir()
    assert trace.name == "rank-1.json.gz"
    with gzip.open(trace) as file:
        names = [event.get("name", "") for event in json.load(file)["traceEvents"]]
    assert sorted({name for name in names if name.startswith("ProfilerStep")}) == ["ProfilerStep#3", "ProfilerStep#4"]


def test_a_hashes_record_says_which_command_and_code_wrote_a_checkpoint(run: Path) -> None:
    found = read_json(run / "checkpoints" / "iter_0000010" / "pdapt.json")
    assert found["provenance"]["recipe"]["log"]["profile"] == [3, 4]
    assert set(found["provenance"]["inputs"]) == {"tokens", "tokenizer", "base"}
    assert {"metadata.json", ".metadata"} < set(found["files"])


@pytest.mark.alone
def test_a_rank_that_is_slow_for_long_is_reported(recipe_file: Path, tokens: Path, tmp_path: Path) -> None:
    """Rank 1 is stopped and let go on by turns."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "pdapt.cli.main", "train", str(recipe_file), TWO, "steps=60"]
    command += ["guard.straggler=1.5", "checkpoint.every=1000", "validation.every=1000"]
    process = subprocess.Popen([*command, "--tokens", str(tokens), "--out", str(out)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 200
    while not rows(out, "step"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    victim = psutil.Process(read_records(out / FOLDER)[1].pid)
    while process.poll() is None and not rows(out, "straggler"):
        assert time.monotonic() < deadline
        for number, pause in ((signal.SIGSTOP, 0.3), (signal.SIGCONT, 0.02)):
            if victim.is_running():
                os.kill(victim.pid, number)
            time.sleep(pause)
    if victim.is_running():
        os.kill(victim.pid, signal.SIGCONT)
    assert process.wait(timeout=200) == 0
    reported = rows(out, "straggler")
    assert reported
    assert reported[0]["rank"] == 1
    assert reported[0]["ratio"] > 1.5
    assert "straggler: rank 1 computed" in (out / "train.log").read_text()


def test_weights_and_biases_and_mlflow_log_where_they_are_chosen(
    recipe_file: Path, tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both offline, into the run's folder."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")  # MLflow would rather have a database
    out, store = tmp_path / "run", tmp_path / "mlruns"
    recipe = load(str(recipe_file), ["steps=2", "log.wandb=adapting", f"log.mlflow={store.as_uri()}"])
    train(recipe, tokens, out)
    assert list(out.glob("wandb/offline-run-*/*.wandb"))
    import mlflow

    (found,) = mlflow.MlflowClient(store.as_uri()).search_runs(
        [experiment.experiment_id for experiment in mlflow.MlflowClient(store.as_uri()).search_experiments()]
    )
    assert found.data.metrics["train/loss"] == pytest.approx(rows(out, "step")[-1]["loss"])
    assert "train/source_loss/soins" in found.data.metrics
