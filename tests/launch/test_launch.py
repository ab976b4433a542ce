"""The script of a recipe, and what is refused before it waits in a queue."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pdapt.cli.main import app
from pdapt.core.checkpoint import HF, IDENTITY, TRACKER
from pdapt.core.errors import UserError
from pdapt.core.files import write_json
from pdapt.core.qwen3 import SIZES
from pdapt.data_prep.tokens.build import build_tokens

RECIPE = "qwen3_8b_cpt_48xh100_packed"


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """The parts of a base that `launch` reads: which checkpoint is its newest, and its shape."""
    (tmp_path / "base" / HF).mkdir(parents=True)
    (tmp_path / "base" / TRACKER).write_text("release")
    write_json(tmp_path / "base" / HF / "config.json", SIZES["8b"].to_hf("bfloat16"))
    return tmp_path / "base"


@pytest.fixture(scope="module")
def built_tokens(tmp_path_factory: pytest.TempPathFactory, tokenizer_folder: Path) -> Path:
    folder = tmp_path_factory.mktemp("built")
    rows = [json.dumps({"text": f"Le patient {n} va mieux."}) for n in range(60)]
    (folder / "a.jsonl").write_text("\n".join(rows))
    build_tokens([f"a={folder / 'a.jsonl'}"], tokenizer_folder, folder / "tokens")
    return folder / "tokens"


@pytest.fixture
def tokens(tmp_path: Path, built_tokens: Path) -> Path:
    return shutil.copytree(built_tokens, tmp_path / "t okens")


@pytest.fixture
def launch(tokens: Path, base: Path, tmp_path: Path) -> Callable[..., str]:
    def run(*arguments: object, recipe: str = RECIPE, base: Path | None = base, tokens: Path = tokens) -> str:
        command = ["launch", recipe, "--tokens", str(tokens), "--out", str(tmp_path / "run"), "--print"]
        done = CliRunner().invoke(app, [*command, *(["--base", str(base)] if base else []), *map(str, arguments)])
        if done.exception:
            raise done.exception
        return done.stdout

    return run


def test_a_recipe_becomes_a_slurm_script(launch: Callable[..., str], tokens: Path, base: Path, tmp_path: Path) -> None:
    script = launch("data.blend=[{sources: ['*']}]")
    for line in ("#SBATCH --nodes=12", "#SBATCH --gpus-per-node=4", "--ntasks-per-node=4", "WORLD_SIZE=48"):
        assert line in script
    words = f"""pdapt train {RECIPE} 'data.blend=[{{sources: ['"'"'*'"'"']}}]' --tokens '{tokens}'"""
    assert f"{words} --out {tmp_path / 'run'} --base {base} &\n" in script
    path = tmp_path / "job.sh"
    path.write_text(script)
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0
    assert not (tmp_path / "run").exists()


def test_what_training_is_told_is_in_the_script(
    launch: Callable[..., str], monkeypatch: pytest.MonkeyPatch, tokenizer_folder: Path
) -> None:
    monkeypatch.setenv("ACCOUNT", "lab-7")
    item = "job.account=${oc.env:ACCOUNT}"
    with pytest.raises(UserError, match="allow-env"):
        launch(item)
    script = launch(item, "--allow-env", "--tokenizer", tokenizer_folder)
    assert "#SBATCH --account=lab-7" in script
    assert f"--tokenizer {tokenizer_folder} --allow-env" in script
    assert f"'{item}'" in script


def test_the_site_gives_what_the_recipe_does_not_say(launch: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="ends in @h100"):
        launch("--site", "jean_zay_h100")
    script = launch("--site", "jean_zay_h100", "job.account=abc@h100", "job.cpus_per_rank=12")
    for line in ("--account=abc@h100", "--constraint=h100", "--gres=gpu:4", "--cpus-per-task=12"):
        assert f"#SBATCH {line}\n" in script


def test_what_a_run_takes_is_said_before_it_is_submitted(tokens: Path, base: Path, tmp_path: Path) -> None:
    command = ["launch", RECIPE, "job.time=2:00:00", "--base", str(base), "--tokens", str(tokens), "--print"]
    said = CliRunner().invoke(app, [*command, "--out", str(tmp_path / "run")]).stderr
    assert re.search(r"predicted \d\.\d h \(.* on 48 GPUs: \d jobs of 2:00:00", said)
    assert re.search(r"about \d+ GPU-hours", said)


def another_shape(tokens: Path, base: Path, run: Path) -> dict[str, Any]:
    del tokens, run
    write_json(base / HF / "config.json", SIZES["4b"].to_hf("bfloat16"))
    return {}


def no_tokens(tokens: Path, base: Path, run: Path) -> dict[str, Any]:
    del base, run
    return {"tokens": tokens / "nowhere"}


def a_cut_index(tokens: Path, base: Path, run: Path) -> dict[str, Any]:
    del base, run
    path = next(tokens.rglob("train/*.idx"))
    path.write_bytes(path.read_bytes()[:-9])
    return {}


def no_base(tokens: Path, base: Path, run: Path) -> dict[str, Any]:
    del tokens, base, run
    return {"base": None}


def no_root(tokens: Path, base: Path, run: Path) -> dict[str, Any]:
    del run
    (base / TRACKER).unlink()
    return {}


def another_folder(tokens: Path, base: Path, run: Path) -> dict[str, Any]:
    del tokens, base
    run.mkdir()
    (run / "mine.txt").write_text("mine")
    return {}


def another_run(tokens: Path, base: Path, run: Path) -> dict[str, Any]:
    del tokens
    (base / "release").mkdir()
    (base / "release" / "weights").write_text("weights")
    write_json(run / IDENTITY, {"recipe": {"steps": 1}, "tokens": "0", "tokenizer": "0", "base": "0"})
    return {}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (another_shape, "the recipe's model differs from the base's"),
        (no_tokens, r"tokens\.json is missing"),
        (a_cut_index, "not a complete index"),
        (no_base, "--base is missing"),
        (no_root, "neither a run with a checkpoint nor"),
        (another_folder, "is not empty and does not hold a run"),
        (another_run, "was trained on other data"),
    ],
)
def test_what_training_would_refuse_is_refused_before_the_queue(
    launch: Callable[..., str], tokens: Path, base: Path, tmp_path: Path, spoil: Callable[..., Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        launch(**spoil(tokens, base, tmp_path / "run"))


@pytest.mark.parametrize("time", ["banana", "", "-1", "1:2:3:4"])
def test_a_time_that_slurm_does_not_know_is_refused(launch: Callable[..., str], time: str) -> None:
    with pytest.raises(UserError, match=r"time"):
        launch(f"job.time='{time}'")


def test_a_recipe_that_continues_nothing_needs_no_base(launch: Callable[..., str], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: {size: 0p6b}\nbatch: {micro_size: 1, global_size: 8}\nsteps: 5\noptimizer: {lr: 1e-4}\n")
    assert "--base" not in launch(recipe=str(path), base=None)
