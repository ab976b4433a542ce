"""Folders that the version before the rooms were laid out anew has made: read, known as finished, and gone on with.

`tests/fixtures/README.md` says how they were made.
"""

import json
import tarfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from pdapt.conversion.convert import export_hf, import_hf
from pdapt.core.manifest import Manifest
from pdapt.data_prep.corpus import build_corpus
from pdapt.data_prep.documents.discover import discover
from pdapt.data_prep.tokens.build import Options, build_tokens
from pdapt.recipes.load import load
from pdapt.training.run.folder import METRICS, checkpoints, iteration
from pdapt.training.train import train

ARCHIVE = Path(__file__).parent / "fixtures" / "made_before_the_rooms.tar.xz"
OPTIONS = Options(valid_fraction=0.1)


@pytest.fixture
def before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which that version was run, as the working directory."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_corpus_is_finished_work(before: Path) -> None:
    there = contents(before / "corpus")
    manifest = build_corpus(discover(["notes.jsonl"]), Path("corpus"))
    assert manifest == Manifest.read(before / "corpus")
    assert contents(before / "corpus") == there


def test_tokens_are_finished_work(before: Path) -> None:
    there = contents(before / "tokens")
    assert build_tokens(["corpus"], Path("tokenizer"), Path("tokens"), OPTIONS) == Manifest.read(before / "tokens")
    assert contents(before / "tokens") == there


def test_a_corpus_gives_the_tokens_that_it_gave(before: Path) -> None:
    build_tokens(["corpus"], Path("tokenizer"), Path("again"), OPTIONS)
    there, again = contents(before / "tokens"), contents(before / "again")
    names = [name for name in there if name.endswith((".bin", ".idx"))]
    assert len(names) == 4
    assert {name: again[name] for name in names} == {name: there[name] for name in names}


def test_a_base_is_finished_work_and_has_the_weights_it_was_made_of(before: Path) -> None:
    there = contents(before / "base")
    assert import_hf(Path("hf"), Path("base")) == Manifest.read(before / "base")
    assert contents(before / "base") == there
    export_hf(Path("base"), Path("back"))
    first, second = (load_file(before / name / "model.safetensors") for name in ("hf", "back"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_run_s_checkpoint_is_exported(before: Path) -> None:
    assert [iteration(path) for path in checkpoints(Path("run"))] == [2]
    export_hf(Path("run/checkpoints"), Path("tuned"))
    base, tuned = (load_file(before / name / "model.safetensors") for name in ("hf", "tuned"))
    assert {name: value.shape for name, value in base.items()} == {name: value.shape for name, value in tuned.items()}
    assert not any(torch.equal(base[name], tuned[name]) for name in base if "norm" not in name)


@pytest.mark.slow
def test_a_run_goes_on_as_it_would_have(before: Path) -> None:
    """To the rounding of BF16, which depends on the processor: a step changes the loss by ten times as much."""
    manifest = train(load("recipe.yaml"), Path("tokens"), Path("run"), base=Path("base"))
    assert manifest is not None
    whole, run = (
        [json.loads(line) for line in path.read_text().splitlines()]
        for path in (before / "whole_metrics.jsonl", before / "run" / METRICS)
    )
    assert len(whole) == 5
    assert run[:2] == whole[:2], "the steps that were done are not done again"
    for ours, theirs in zip(run, whole, strict=True):
        assert ours.keys() == theirs.keys()
        name = "loss" if "loss" in ours else "valid_loss"
        assert (ours["iteration"], ours["slots"]) == (theirs["iteration"], theirs["slots"])
        assert ours[name] == pytest.approx(theirs[name], abs=1e-3)
    assert [iteration(path) for path in checkpoints(Path("run"))] == [2, 4]
