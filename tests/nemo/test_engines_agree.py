"""Megatron-Bridge trains a recipe as Megatron-LM's trainer does, on CPU ranks: `make test-nemo`."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch

from pdapt.conversion.convert import export_hf, import_hf
from pdapt.conversion.distcp_read import Checkpoint
from pdapt.conversion.verify import verify
from pdapt.core.exit_codes import ExitCode
from pdapt.core.files import read_json
from pdapt.training.run.folder import METRICS, checkpoints, iteration
from pdapt.training.run.hashes import damage
from pdapt.training.run.journal import JOURNAL_FILE, Event, kept, read
from pdapt.training.run.run_state import STATE

pytestmark = pytest.mark.timeout(3600)
NEMO = "engine=nemo"
RECIPE = """
model:
  shape: {layers: 2, hidden: 64, ffn: 160, heads: 4, kv_heads: 2, head_dim: 16, vocab: 1024, tied: true,
    max_positions: 512}
  precision: fp32
data: {seq_length: 128}
batch: {global_size: 8, micro_size: 1}
optimizer: {lr: 1e-3}
checkpoint: {every: 5, reshardable: true, asynchronous: false}
validation: {every: 10, batches: 1}
steps: 20
"""
FINE_TUNING = [
    *("model.size=null", "model.precision=fp32", "data.seq_length=256", "batch.global_size=8", "batch.micro_size=1"),
    "model.shape={layers: 2, hidden: 64, ffn: 160, heads: 4, kv_heads: 2, head_dim: 16, vocab: 1024, tied: true, "
    "max_positions: 512}",
    *("optimizer.lr=1e-3", "optimizer.warmup_steps=2", "checkpoint.every=6", "checkpoint.keep_every=6"),
    *("checkpoint.asynchronous=false", "validation.every=3", "validation.batches=1", "steps=6"),
]
"""A published recipe for fine-tuning on conversations becomes one of six steps of the tiny model."""
GUARDED = ["steps=40", "optimizer.lr=1e-7", "guard.window=16", "guard.deviations=1.7", "guard.spike=stop"]
LAYOUTS = {
    "DP1": [],
    "DP2": ["parallel.ranks_per_node=2"],
    "TP2": ["parallel.ranks_per_node=2", "parallel.tp=2"],
    "TP2xDP2": ["parallel.ranks_per_node=4", "parallel.tp=2"],
    "PP2": ["parallel.ranks_per_node=2", "parallel.pp=2"],
}


@dataclass(frozen=True)
class Runs:
    """The runs of this session, from one base: each is made once.

    Attributes:
        folder: where they and the base are.
        tokens: what they read.
        recipe: name of a recipe, or its file in the folder.
    """

    folder: Path
    tokens: Path
    recipe: str = "recipe.yaml"

    def command(self, out: Path, *overrides: str) -> list[str]:
        """The command of a run."""
        given = {"--tokens": self.tokens, "--base": self.folder / "base", "--out": out}
        places = [text for name, path in given.items() for text in (name, str(path))]
        file = self.folder / self.recipe
        recipe = str(file) if file.is_file() else self.recipe
        return [sys.executable, "-m", "pdapt.cli.main", "train", recipe, *overrides, *places]

    def of(self, layout: str, *overrides: str) -> Path:
        """The whole run of a layout."""
        out = self.folder / "-".join([layout, *overrides])
        return out if out.exists() else self.train(out, *LAYOUTS[layout], *overrides)

    def train(self, out: Path, *more: str) -> Path:
        """Train into a folder, or go on there."""
        done = subprocess.run(self.command(out, *more), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        return out


@pytest.fixture(scope="session")
def runs(tokens: Path, qwen3_at: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """No run yet, and a base that `convert import` has made."""
    folder = tmp_path_factory.mktemp("engines")
    (folder / "recipe.yaml").write_text(RECIPE)
    import_hf(qwen3_at(folder / "hf"), folder / "base")
    return Runs(folder, tokens)


def losses(run: Path, name: str = "loss") -> dict[int, float]:
    """Losses of a run by step; or its `valid_loss`."""
    rows = [json.loads(line) for line in (run / METRICS).read_text().splitlines()]
    return {row["iteration"]: row[name] for row in rows if name in row}


def assert_equal(one: Path, other: Path, steps: int = 20) -> None:
    """The losses of two runs, in FP32."""
    for name, count in (("loss", steps), ("valid_loss", 2)):
        first, second = losses(one, name), losses(other, name)
        assert len(first) == count
        assert first == pytest.approx(second, abs=1e-6, rel=0)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_twenty_steps_have_the_losses_of_megatrons_trainer(runs: Runs, layout: str) -> None:
    assert_equal(runs.of(layout), runs.of(layout, NEMO))


@pytest.mark.parametrize("layout", ["DP1", "DP2"])
def test_fine_tuning_on_conversations_has_the_losses_of_megatrons_trainer(
    runs: Runs, chat_tokens: Path, layout: str
) -> None:
    """Losses of the answers alone, in packed rows."""
    runs = replace(runs, tokens=chat_tokens, recipe="qwen3_0p6b_sft_8xh100_packed")
    spread = ["parallel.ranks_per_node=1", *LAYOUTS[layout], *FINE_TUNING]
    ours, theirs = (
        runs.train(runs.folder / f"tuned-{layout}-{len(engine)}", *spread, *engine) for engine in ([], [NEMO])
    )
    assert_equal(ours, theirs, steps=6)
    answers = [json.loads(line)["sources"] for line in (ours / METRICS).read_text().splitlines()]
    assert answers == [json.loads(line)["sources"] for line in (theirs / METRICS).read_text().splitlines()]


def test_the_run_folder_is_the_same(runs: Runs) -> None:
    """Files, rows and their keys: whoever reads a run need not know its engine."""
    ours, theirs = runs.of("DP1"), runs.of("DP1", NEMO)
    names = [{path.name for path in run.iterdir()} for run in (ours, theirs)]
    assert names[0] == names[1]
    for file in (METRICS, JOURNAL_FILE):
        keys = [[sorted(json.loads(line)) for line in (run / file).read_text().splitlines()] for run in (ours, theirs)]
        assert keys[0] == keys[1], file
    assert [iteration(path) for path in checkpoints(theirs)] == [5, 10, 15, 20]
    assert [damage(path) for path in checkpoints(theirs)] == [""] * 4
    assert read_json(ours / "achieved.json") == read_json(theirs / "achieved.json")
    provenance = read_json(theirs / "provenance.json")
    assert provenance["recipe"]["engine"] == "nemo"
    assert provenance["versions"]["megatron-bridge"] == "0.6.2"


@pytest.mark.parametrize(("first", "second"), [([], [NEMO]), ([NEMO], [])], ids=["to nemo", "to megatron"])
def test_a_run_goes_on_under_the_other_engine(runs: Runs, first: list[str], second: list[str]) -> None:
    """With weights, optimizer and place in the data: its losses are those of the run that was never stopped."""
    out = runs.folder / f"changed-{len(first)}"
    runs.train(out, *first, "--stop-at", "10")
    assert list(losses(out)) == list(range(1, 11))
    assert_equal(runs.train(out, *second), runs.of("DP1"))


def test_killed_and_started_again_it_is_the_same_run_to_the_bit(runs: Runs) -> None:
    out = runs.folder / "killed"
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(runs.command(out, NEMO), stderr=quiet, stdout=quiet)
    while not checkpoints(out) and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    assert process.wait() == -signal.SIGKILL, "it was killed before its end"
    runs.train(out, NEMO)
    whole = runs.of("DP1", NEMO)
    assert losses(out) == losses(whole)
    assert losses(out, "valid_loss") == losses(whole, "valid_loss")
    one, other = (Checkpoint(checkpoints(run)[-1]) for run in (out, whole))
    names = list(one.entries)
    assert (len(names), names) == (40, list(other.entries))
    first, second = one.read(names), other.read(names)
    assert all(torch.equal(first[name], second[name]) for name in names)


@pytest.mark.parametrize("engine", [[], [NEMO]], ids=["megatron", "nemo"])
def test_autobridges_own_export_is_ours_to_the_bit(runs: Runs, engine: list[str], tmp_path: Path) -> None:
    checkpoint = checkpoints(runs.of("DP1", *engine))[-1]
    arguments = [str(runs.folder / "hf"), str(checkpoint), str(tmp_path / "auto")]
    script = str(Path(__file__).with_name("auto_bridge_export.py"))
    done = subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    export_hf(checkpoint, tmp_path / "ours", dtype="float32")
    assert not verify(tmp_path / "ours", tmp_path / "auto").different
    assert not verify(checkpoint, tmp_path / "auto").different


def test_a_guard_ends_the_run_alike(runs: Runs) -> None:
    """With the same exit code, at the same step, for the same reason, and the same files."""
    ended = []
    for engine in ([], [NEMO]):
        out = runs.folder / "-".join(["guarded", *engine])
        done = subprocess.run(runs.command(out, *engine, *GUARDED), capture_output=True, text=True, check=False)
        assert done.returncode == ExitCode.HALTED, done.stderr[-4000:]
        rows = kept(read(out / JOURNAL_FILE), Event.STEP)
        steps = {step: row["loss"] for step, row in rows.items()}
        ended.append((read_json(out / STATE), steps, {path.name for path in out.iterdir()}))
    assert ended[0] == ended[1]
    assert ended[0][0]["state"] == "stop"
