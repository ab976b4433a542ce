"""A run's checkpoints can be exported, however they were split and saved; and a run can be followed while it trains."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pdapt.conversion.convert import export_hf
from pdapt.conversion.follow import DONE, follow
from pdapt.conversion.verify import Comparison, verify
from pdapt.core.checkpoint import CHECKPOINTS, HASHES_FILE
from pdapt.core.errors import UserError
from pdapt.core.files import read_json, write_json
from pdapt.core.manifest import MANIFEST_FILE
from pdapt.recipes.load import load
from pdapt.training.run.folder import checkpoints
from pdapt.training.train import train

pytestmark = pytest.mark.slow
Trained = Callable[..., Path]
SHORT = ["steps=3", "checkpoint.every=3", "parallel.ranks_per_node=2"]
BY_BUCKET, BY_TENSOR = "checkpoint.reshardable=false", "checkpoint.reshardable=true"


@pytest.fixture(scope="module")
def trained(tokens: Path, recipe_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """The newest checkpoint of a run of three steps, given what is to be otherwise: of one run for all that ask."""
    made: dict[tuple[str, ...], Path] = {}

    def make(*overrides: str) -> Path:
        if overrides not in made:
            made[overrides] = tmp_path_factory.mktemp("trained") / "run"
            train(load(str(recipe_file), [*SHORT, *overrides]), tokens, made[overrides])
        return checkpoints(made[overrides])[-1]

    return make


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


@pytest.mark.parametrize(
    "split",
    [[], ["parallel.tp=2"], ["parallel.pp=2", "batch.micro_size=1"], ["parallel.tp=2", "model.shape.tied=false"]],
    ids=["dp2", "tp2", "pp2-tied", "tp2-untied"],
)
def test_master_weights_are_the_same_from_either_kind_of_save(
    trained: Trained, tmp_path: Path, split: list[str]
) -> None:
    """By bucket, for a change of DP alone, and tensor by tensor: the same run, so the same FP32 values."""
    by_bucket, by_tensor = trained(BY_BUCKET, *split), trained(BY_TENSOR, *split)
    export_hf(by_bucket, tmp_path / "by-bucket", source="master")
    export_hf(by_tensor, tmp_path / "by-tensor", source="master")
    export_hf(by_tensor, tmp_path / "parameters")
    tensors = 24 + ("model.shape.tied=false" in split)
    assert verify(tmp_path / "by-bucket", tmp_path / "by-tensor") == Comparison(True, tensors, [], {})
    masters, parameters = weights(tmp_path / "by-bucket"), weights(tmp_path / "parameters")
    assert all(tensor.dtype == torch.float32 for tensor in masters.values())
    assert any(not torch.equal(tensor.bfloat16().float(), tensor) for tensor in masters.values()), (
        "FP32 has more to say"
    )
    for name, tensor in masters.items():
        assert torch.equal(tensor.bfloat16(), parameters[name]), name


def test_master_weights_that_lie_elsewhere_are_not_taken_for_some(trained: Trained, tmp_path: Path) -> None:
    """As from a GPU, whose layers have another order."""
    run = shutil.copytree(trained(BY_BUCKET).parents[1], tmp_path / "run")
    checkpoint = checkpoints(run)[-1]
    record = read_json(checkpoint / HASHES_FILE)
    del record["sha256"]
    record["provenance"]["device"] = "gpu"
    write_json(checkpoint / HASHES_FILE, record)
    with pytest.raises(UserError, match=r"the order of .*'s master weights is unknown"):
        export_hf(checkpoint, tmp_path / "out", source="master")
    assert not (tmp_path / "out").exists()
    del record["provenance"]["device"]
    write_json(checkpoint / HASHES_FILE, record)
    with pytest.raises(UserError, match="says how the model was split"):
        export_hf(checkpoint, tmp_path / "out", source="master")
    (checkpoint / HASHES_FILE).unlink()
    with pytest.raises(UserError, match=r"has no pdapt\.json that says how the model was split"):
        export_hf(checkpoint, tmp_path / "out", source="master")


def test_the_card_says_where_the_weights_come_from(trained: Trained, tmp_path: Path) -> None:
    checkpoint = trained(BY_TENSOR)
    manifest = export_hf(checkpoint, tmp_path / "out", dtype="float32")
    assert manifest.counts["step"] == 3
    card = (tmp_path / "out" / "README.md").read_text()
    provenance = read_json(checkpoint / HASHES_FILE)["provenance"]
    for said in (
        "`iter_0000003`",
        "3 steps of 8 sequences of 128 tokens",
        "as float32",
        provenance["inputs"]["tokens"],
    ):
        assert said in card
    assert read_json(tmp_path / "out" / "config.json")["torch_dtype"] == "float32"


def test_a_run_is_followed_while_it_trains_and_whoever_is_killed(
    tokens: Path, recipe_file: Path, tmp_path: Path
) -> None:
    """The follower is killed again and again: in the end every checkpoint's export is that of an undisturbed one."""
    run, out = tmp_path / "run", tmp_path / "hf"
    command = [
        sys.executable,
        "-m",
        "pdapt.cli.main",
        "train",
        str(recipe_file),
        "--tokens",
        str(tokens),
        "--out",
        str(run),
    ]
    follower = [
        sys.executable,
        "-m",
        "pdapt.cli.main",
        "convert",
        "follow",
        str(run),
        "--out",
        str(out),
        "--poll",
        "0.1",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as training:
        while not (run / "run.json").is_file():
            assert training.poll() is None
            time.sleep(0.1)
        kills = 0
        while training.poll() is None:
            with subprocess.Popen(follower, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as following:
                time.sleep(2.0 + kills % 3)
                if following.poll() is None:
                    os.kill(following.pid, signal.SIGKILL)
                    kills += 1
        assert training.returncode == 0
    assert kills > 0
    done = subprocess.run([*follower, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    json.loads(done.stdout)
    names = [path.name for path in checkpoints(run)]
    assert len(names) == 5
    assert sorted(read_json(out / DONE)) == names
    assert sorted(path.name for path in out.glob("iter_*")) == names
    for name in names:
        export_hf(run / CHECKPOINTS / name, tmp_path / "alone" / name)
        assert verify(out / name, tmp_path / "alone" / name).identical
        assert (
            read_json(out / name / MANIFEST_FILE)["outputs"]
            == read_json(tmp_path / "alone" / name / MANIFEST_FILE)["outputs"]
        )
    assert not list(out.glob(".*.partial"))
    assert follow(run, out) == [], "nothing is done twice"
