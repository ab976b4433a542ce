"""Training runs on real gloo ranks: any layout, killed and resumed, and refused where it has to be."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
import torch

from pdapt.conversion.convert import import_hf
from pdapt.conversion.distcp_read import Checkpoint
from pdapt.core.errors import UserError
from pdapt.core.files import read_json
from pdapt.core.manifest import Manifest
from pdapt.core.system.lock import locked
from pdapt.recipes.load import load
from pdapt.training import train as train_module
from pdapt.training.input_hashes import Inputs
from pdapt.training.inputs import check_inputs
from pdapt.training.preflight.environment import ENVIRONMENT
from pdapt.training.preflight.start_check import PREFLIGHT
from pdapt.training.requested_run import Run
from pdapt.training.run.folder import METRICS, checkpoints, iteration
from pdapt.training.run.identity import claim
from pdapt.training.train import train

Maker = Callable[..., Path]


def losses(run: Path, name: str = "loss") -> dict[int, float]:
    rows = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    return {row["iteration"]: row[name] for row in rows if name in row}


@pytest.fixture(scope="session")
def whole_run(tokens: Path, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten steps on one rank, never interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    assert train(load(str(recipe_file)), tokens, out) is not None
    return out


@pytest.mark.slow
def test_a_run_leaves_checkpoints_losses_and_a_manifest(whole_run: Path) -> None:
    assert [iteration(path) for path in checkpoints(whole_run)] == [2, 4, 6, 8, 10]
    assert list(losses(whole_run)) == list(range(1, 11))
    assert list(losses(whole_run, "valid_loss")) == [5, 10]
    assert losses(whole_run)[10] < losses(whole_run)[1]
    manifest = read_json(whole_run / "manifest.json")
    counts = manifest["counts"]
    assert counts["slots"] == 10 * 8 * 128
    assert 0.95 * counts["slots"] < counts["tokens"] <= counts["slots"]
    assert counts["tokens"] == sum(source["tokens"] for source in counts["sources"].values())
    assert manifest["counts"]["checkpoints"] == [f"iter_{step:07d}" for step in (2, 4, 6, 8, 10)]
    assert any((whole_run / "tensorboard").glob("events.out.tfevents.*"))
    preflight, environment = read_json(whole_run / PREFLIGHT), read_json(whole_run / ENVIRONMENT)
    assert (preflight["problems"], preflight["all_reduce"]["backend"]) == ([], "gloo")
    assert [node["ranks"] for node in preflight["nodes"]] == [1]
    assert environment["torch"].split()[0] == version("torch")


@pytest.mark.slow
def test_master_weights_and_moments_are_fp32_and_weights_bf16(whole_run: Path) -> None:
    entries = Checkpoint(checkpoints(whole_run)[-1]).entries
    name = "decoder.layers.mlp.linear_fc1.weight"
    assert entries[name].dtype == "bfloat16"
    for kind in ("param", "exp_avg", "exp_avg_sq"):
        assert entries[f"optimizer.state.{kind}.{name}"].dtype == "float32"


@pytest.mark.slow
def test_one_run_goes_through_every_layout(whole_run: Path, tokens: Path, recipe_file: Path, tmp_path: Path) -> None:
    """1 rank -> DP2 -> TP2 -> PP2 -> 1 rank, two steps each, against the run that was never stopped."""
    two = "parallel.ranks_per_node=2"
    stages = [[], [two], [two, "parallel.tp=2"], [two, "parallel.pp=2", "batch.micro_size=1"], []]
    for number, overrides in enumerate(stages, start=1):
        last = number == len(stages)
        manifest = train(
            load(str(recipe_file), overrides), tokens, tmp_path / "run", stop_at=None if last else 2 * number
        )
        assert (manifest is not None) is last
    expected, found = losses(whole_run), losses(tmp_path / "run")
    assert found.keys() == expected.keys()
    for step, loss in expected.items():
        assert found[step] == pytest.approx(loss, abs=1e-3), step


def start(recipe_file: Path, tokens: Path, out: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "pdapt.cli.main", "train", str(recipe_file), "parallel.ranks_per_node=2"]
    return subprocess.Popen([*command, "--tokens", str(tokens), "--out", str(out)], stdout=subprocess.DEVNULL)


@pytest.mark.slow
def test_killed_half_way_and_started_again_the_run_is_the_same(
    whole_run: Path, tokens: Path, recipe_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    process = start(recipe_file, tokens, out)
    deadline = time.monotonic() + 300
    while len(checkpoints(out)) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive, "a killed run must leave no rank behind"
    assert not (out / "manifest.json").exists()

    assert start(recipe_file, tokens, out).wait(timeout=300) == 0
    # DP2 computes what one rank does, in another order of summing: see `whole_run` for the rounding of BF16.
    reference = tmp_path / "reference"
    assert start(recipe_file, tokens, reference).wait(timeout=300) == 0
    assert losses(out) == losses(reference)
    assert losses(out, "valid_loss") == losses(reference, "valid_loss")
    ours, theirs = (Checkpoint(checkpoints(run)[-1]) for run in (out, reference))
    names = list(ours.entries)
    assert names == list(theirs.entries)
    first, second = ours.read(names), theirs.read(names)
    assert all(torch.equal(first[name], second[name]) for name in names)


@pytest.mark.slow
def test_a_finished_run_that_is_made_longer_is_the_longer_run(
    whole_run: Path, tokens: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """To the bit: losses, weights and moments. And a tracker that is not there does not keep it from that."""
    out, ten = tmp_path / "run", load(str(recipe_file))
    assert train(load(str(recipe_file), ["steps=6"]), tokens, out) is not None
    assert train(ten, tokens, out, stop_at=6) is None
    assert "has already reached step 6: --stop-at 6 leaves nothing to do" in capsys.readouterr().err
    assert not (out / "manifest.json").exists(), "it is no longer whole"
    manifest = train(load(str(recipe_file), ["log.mlflow=http://127.0.0.1:9"]), tokens, out)
    assert manifest is not None
    assert manifest.counts["steps"] == 10
    assert "tracker: mlflow is left out" in (out / "train.log").read_text()
    assert losses(out) == losses(whole_run)
    ours, theirs = (Checkpoint(checkpoints(run)[-1]) for run in (out, whole_run))
    names = list(theirs.entries)
    first, second = ours.read(names), theirs.read(names)
    assert all(torch.equal(first[name], second[name]) for name in names)
    with pytest.raises(UserError, match="steps: 10 there, 9 now"):
        train(load(str(recipe_file), ["steps=9"]), tokens, out)


@pytest.mark.slow
def test_killed_after_its_last_step_a_run_is_finished_by_the_same_command(
    whole_run: Path, tokens: Path, recipe_file: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole_run, out)
    (out / "manifest.json").unlink()
    (out / METRICS).unlink()
    assert train(load(str(recipe_file)), tokens, out) is not None
    assert losses(out) == losses(whole_run)
    assert read_json(out / "state.json") == {"state": "finished", "step": 10, "reason": ""}


@pytest.mark.slow
def test_training_starts_from_the_bases_weights(
    tiny_qwen3: Maker, tokens: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """At the first step the loss is transformers' loss of the base on the same text, not that of random weights."""
    from pdapt.core.checkpoint import CHECKPOINTS

    source = tiny_qwen3()
    import_hf(source, tmp_path / "base")
    recipe = load(str(recipe_file), ["optimizer.lr=1e-9", "checkpoint.every=1", "steps=1", "model.precision=fp32"])
    train(recipe, tokens, tmp_path / "run", base=tmp_path / "base")
    before = Checkpoint(tmp_path / "base" / "release")
    after = Checkpoint(checkpoints(tmp_path / "run")[-1])
    names = list(before.entries)
    a, b = before.read(names), after.read(names)
    for name in names:
        torch.testing.assert_close(a[name], b[name], rtol=0, atol=1e-6)
    config = (tmp_path / "run" / CHECKPOINTS / "hf" / "config.json").read_bytes()
    assert config == (tmp_path / "base" / "hf" / "config.json").read_bytes()


@pytest.mark.slow
def test_a_disk_that_fills_up_is_said_and_the_run_goes_on_when_there_is_space(
    whole_run: Path, tokens: Path, recipe_file: Path, small_disk: Callable[[str], Path]
) -> None:
    """On a real small file system: the second save does not fit."""
    small = small_disk("4m")
    with pytest.raises(UserError, match=r"disk: .* expected: .* GB for the 5 checkpoints"):
        train(load(str(recipe_file)), tokens, small / "run")
    with pytest.raises(UserError, match="the disk is full"):  # it may end in time, before the disk is
        train(load(str(recipe_file)), tokens, small / "run", wall_time=60)
    assert not (small / "run" / "manifest.json").exists()
    subprocess.run(["mount", "-o", "remount,size=100m", small], check=True)
    assert train(load(str(recipe_file)), tokens, small / "run") is not None
    assert losses(small / "run") == losses(whole_run)


def claim_of(recipe_file: Path, tokens: Path, out: Path, overrides: list[str]) -> None:
    """Prepare a folder as `train` does before it starts a process."""
    recipe = load(str(recipe_file), overrides)
    claim(out, recipe, Run(recipe, tokens, out, None).identity())


@pytest.mark.slow
def test_a_folder_of_another_recipe_is_refused_and_kept(tokens: Path, recipe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    claim_of(recipe_file, tokens, out, [])
    before = (out / "recipe.yaml").read_bytes()
    with pytest.raises(UserError, match=r"holds another run: optimizer\.lr: 0\.001 there, 0\.002 now"):
        train(load(str(recipe_file), ["optimizer.lr=2e-3"]), tokens, out)
    assert (out / "recipe.yaml").read_bytes() == before


def test_another_global_batch_is_refused_with_the_reason(tokens: Path, recipe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    claim_of(recipe_file, tokens, out, [])
    with pytest.raises(UserError, match=r"batch\.global_size: 8 there, 16 now(.|\n)*decide what a step computes"):
        train(load(str(recipe_file), ["batch.global_size=16"]), tokens, out)


def test_other_data_or_another_tokenizer_are_refused_unless_they_are_meant(
    tokens: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, recipe = tmp_path / "run", load(str(recipe_file))
    found = Run(recipe, tokens, out, None).identity()
    claim(out, recipe, found)
    other = replace(found, tokens="another", tokenizer="another")
    with pytest.raises(UserError, match=r"trained on other data: tokens, tokenizer differ(.|\n)*--other-data"):
        claim(out, recipe, other)
    claim(out, recipe, other, other_data=True)
    assert "continuing on other data" in capsys.readouterr().err
    with pytest.raises(UserError, match="tokens"):
        claim(out, recipe, found)
    with pytest.raises(UserError, match="base"):
        claim(out, recipe, replace(other, base="another"), other_data=True)


def test_another_layout_of_the_same_recipe_is_the_same_run(tokens: Path, recipe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    claim_of(recipe_file, tokens, out, [])
    claim_of(recipe_file, tokens, out, ["parallel.ranks_per_node=2", "parallel.tp=2", "batch.micro_size=1"])


def test_a_folder_that_holds_something_else_is_refused(tokens: Path, recipe_file: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="does not hold a run"):
        train(load(str(recipe_file)), tokens, tmp_path / "run")


def test_two_processes_may_not_train_into_one_folder(tokens: Path, recipe_file: Path, tmp_path: Path) -> None:
    with locked(tmp_path / "run", "training into"), pytest.raises(UserError, match="another process is training"):
        train(load(str(recipe_file)), tokens, tmp_path / "run")


def test_a_model_with_exactly_the_tokens_vocabulary_is_trained_on_them(tokens: Path, recipe_file: Path) -> None:
    size = read_json(tokens / "tokens.json")["vocabulary_size"]
    assert check_inputs(load(str(recipe_file), [f"model.shape.vocab={size}"]), Inputs(tokens))
    with pytest.raises(UserError, match="but the model has only"):
        check_inputs(load(str(recipe_file), [f"model.shape.vocab={size - 1}"]), Inputs(tokens))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.shape.vocab=256"], r"vocabulary has \d+ ids, but the model has only 256"),
        (["data.blend=[{sources: ['mode*']}]"], r"no data set is left.*\n.*\n  allowed: soins \(no type\), ville"),
        (
            ["parallel.nodes=2", "parallel.ranks_per_node=1"],
            "the recipe needs 2 nodes, but `pdapt train` alone runs on one",
        ),
    ],
)
def test_inputs_that_do_not_go_together_are_refused(
    tokens: Path, recipe_file: Path, tmp_path: Path, overrides: list[str], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        train(load(str(recipe_file), overrides), tokens, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("reached", "stop_at", "runs", "said"),
    [
        (5, 6, True, ""),
        (6, 6, False, "has already reached step 6: --stop-at 6 leaves nothing to do"),
        (10, 6, True, ""),  # its last step is done, and its manifest is still to be written
        (6, 10, True, ""),
        (6, 11, True, "--stop-at 11 is past the recipe's last step: training ends at 10"),
        (6, None, True, ""),
    ],
)
def test_what_stop_at_leaves_to_do(
    tokens: Path,
    recipe_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    reached: int,
    stop_at: int | None,
    runs: bool,
    said: str,
) -> None:
    started: list[int | None] = []
    monkeypatch.setattr(train_module, "_prepare", lambda *_: reached)
    monkeypatch.setattr(train_module, "_run_ranks", lambda _, start_: started.append(start_.stop_at))
    monkeypatch.setattr(train_module, "_finish", lambda *_: None)
    assert train(load(str(recipe_file), ["steps=10"]), tokens, tmp_path / "run", stop_at=stop_at) is None
    assert started == [stop_at] * runs
    errors = capsys.readouterr().err
    assert said in errors
    assert bool(said) == ("--stop-at" in errors)


def test_the_settings_of_a_base_are_kept_with_hashes_of_their_own(
    tokens: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """A base that is a run has hashes beside its settings, of its own weights: they are not taken over."""
    for folder in ("base/checkpoints/hf", "run/checkpoints"):
        (tmp_path / folder).mkdir(parents=True)
    settings = tmp_path / "base/checkpoints/hf"
    (settings / "config.json").write_bytes(config := b'{"model_type": "qwen3"}')
    Manifest("settings", {}, {}, {}, outputs={"gone.json": "0" * 64}).write(settings)
    train_module._keep_side(Run(load(str(recipe_file)), tokens, tmp_path / "run", tmp_path / "base"))
    side = tmp_path / "run/checkpoints/hf"
    assert Manifest.read(side).outputs == {"config.json": sha256(config).hexdigest()}
    assert [path.name for path in side.parent.iterdir()] == ["hf"]


def test_a_base_of_another_shape_is_refused(tiny_qwen3: Maker, tokens: Path, recipe_file: Path, tmp_path: Path) -> None:
    import_hf(tiny_qwen3(num_hidden_layers=3), tmp_path / "base")
    with pytest.raises(UserError, match="layers: 3 in the base, 2 in the recipe"):
        train(load(str(recipe_file)), tokens, tmp_path / "run", base=tmp_path / "base")


def test_a_hugging_face_folder_is_no_base_yet(
    tiny_qwen3: Maker, tokens: Path, recipe_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="pdapt convert import"):
        train(load(str(recipe_file)), tokens, tmp_path / "run", base=tiny_qwen3())


def test_torchruns_world_has_to_be_the_recipes(
    tokens: Path, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "3", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="torchrun started 3 ranks, but the recipe needs 1"):
        train(load(str(recipe_file)), tokens, tmp_path / "run")


@pytest.mark.slow
def test_torchrun_starts_the_same_run(whole_run: Path, tokens: Path, recipe_file: Path, tmp_path: Path) -> None:
    """As a Slurm script does: torchrun outside, `pdapt train` in each rank."""
    out = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "pdapt.cli.main", "train", str(recipe_file), "parallel.ranks_per_node=2", "parallel.tp=2"]
    environment = os.environ | {"CUDA_DEVICE_MAX_CONNECTIONS": "1", "OMP_NUM_THREADS": "1"}
    command += ["--tokens", str(tokens), "--out", str(out)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert list(losses(out)) == list(losses(whole_run))
    assert (out / "manifest.json").is_file()
