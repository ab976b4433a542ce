"""The files of a training run's folder, damaged."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from pdapt.core.checkpoint import CHECKPOINTS, HASHES_FILE, IDENTITY
from pdapt.core.errors import UserError
from pdapt.recipes.load import load
from pdapt.recipes.schema import Engine, Recipe
from pdapt.training.announce import announce_weights
from pdapt.training.run.begun_saves import note_save
from pdapt.training.run.folder import (
    ACHIEVED,
    SKIPPED,
    checkpoints,
    read_achieved,
    skipped,
)
from pdapt.training.run.hashes import recover
from pdapt.training.run.identity import RunIdentity, check_same, recipe_values, steps_before
from pdapt.training.run.provenance import check_resharding, device_of, layers_of, provenance, steps_of
from pdapt.training.run.run_state import STATE, read_state

Fuzz = Callable[..., None]
INPUTS = {"tokens": "0" * 64, "tokenizer": "1" * 64, "base": None}


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load("qwen3_tiny_cpt_2xcpu")


def test_fuzz_identity(fuzz: Fuzz, tmp_path: Path, recipe: Recipe) -> None:
    found = RunIdentity(recipe_values(recipe), **INPUTS)
    (tmp_path / IDENTITY).write_text(json.dumps(asdict(found)))
    fuzz(tmp_path / IDENTITY, lambda: (check_same(tmp_path, found, other_data=False), steps_before(tmp_path, found)))


def test_a_run_of_a_release_without_a_key_of_the_blend_is_the_same_run(tmp_path: Path, recipe: Recipe) -> None:
    """Topics, as of the runs before them, are the default's; other topics make another run."""
    held = asdict(RunIdentity(recipe_values(recipe), **INPUTS))
    assert [part.pop("topics") for part in held["recipe"]["data"]["blend"]] == [["*"]]
    (tmp_path / IDENTITY).write_text(json.dumps(held))
    check_same(tmp_path, RunIdentity(recipe_values(recipe), **INPUTS), other_data=False)
    divided = load("qwen3_tiny_cpt_2xcpu", ["data.blend=[{topics: [cardiology]}]"])
    other = RunIdentity(recipe_values(divided), **INPUTS)
    with pytest.raises(UserError, match=r"another run: data\.blend: "):
        check_same(tmp_path, other, other_data=False)


def test_fuzz_state(fuzz: Fuzz, tmp_path: Path) -> None:
    (tmp_path / STATE).write_text(json.dumps({"state": "stop", "step": 3, "reason": "loss nan"}))
    fuzz(tmp_path / STATE, lambda: read_state(tmp_path))


def test_fuzz_skipped(fuzz: Fuzz, tmp_path: Path) -> None:
    (tmp_path / SKIPPED).write_text("[3, 14]")
    assert skipped(tmp_path) == [3, 14]
    fuzz(tmp_path / SKIPPED, lambda: [*map(str, skipped(tmp_path)), *[7]])


def test_fuzz_achieved(fuzz: Fuzz, tmp_path: Path) -> None:
    sources = {"medical": {"tokens": 5120, "epochs": 0.5}, "general": {"tokens": 1024, "epochs": 0.125}}
    (tmp_path / ACHIEVED).write_text(json.dumps([{"step": step, "sources": sources} for step in (2, 4)]))

    def read() -> None:
        found = read_achieved(tmp_path, 4)
        assert sum(source.values["tokens"] for source in found.values()) >= 0

    fuzz(tmp_path / ACHIEVED, read)
    with pytest.raises(UserError, match="has no entry for step 3"):
        read_achieved(tmp_path, 3)


def test_fuzz_provenance(fuzz: Fuzz, tmp_path: Path, recipe: Recipe) -> None:
    """The part of a checkpoint's record of hashes that another start takes from it."""
    checkpoint, tokens = tmp_path / "iter_0000004", tmp_path / "tokens"
    checkpoint.mkdir()
    tokens.write_text("tokens")
    files = {"metadata.json": "2" * 64}
    record = {"step": 4, "provenance": json.loads(json.dumps(provenance(recipe, INPUTS))), "files": files}
    (checkpoint / HASHES_FILE).write_text(json.dumps(record))

    def read() -> None:
        found = steps_of(checkpoint), device_of(checkpoint), layers_of(checkpoint)
        if not (checkpoint / HASHES_FILE).is_file():
            assert found == (None, None, None)
            raise UserError("no hashes: `recover` writes them again")
        announce_weights(recipe, tokens, checkpoint)
        check_resharding(checkpoint, recipe)

    fuzz(checkpoint / HASHES_FILE, read)


def test_what_is_no_checkpoint_is_left_alone(tmp_path: Path) -> None:
    """A run that goes on removes what it had not finished, and nothing that its user has put beside that."""
    for name in ("iter_0000002", "iter_backup", "iter_0000002.old"):
        (tmp_path / CHECKPOINTS / name).mkdir(parents=True)
        (tmp_path / CHECKPOINTS / name / "metadata.json.part").write_text("{}")
    note_save(tmp_path, 2, Engine.MEGATRON)
    (tmp_path / CHECKPOINTS / "iter_backup" / "metadata.json").write_text("{}")
    assert checkpoints(tmp_path) == []
    assert recover(tmp_path, fsdp=False) is None
    assert sorted(path.name for path in (tmp_path / CHECKPOINTS).iterdir()) == ["iter_0000002.old", "iter_backup"]
