"""Which checkpoint a run goes on from, and which are kept."""

import json
import shutil
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pdapt.conversion.distcp_write import Part, write
from pdapt.core.checkpoint import CHECKPOINTS, HASHES_FILE, TRACKER
from pdapt.core.errors import UserError
from pdapt.core.files import sha256, write_json
from pdapt.recipes import schema
from pdapt.recipes.load import load, to_dict
from pdapt.recipes.schema import Checkpoint, Engine
from pdapt.training.preflight.kept_code import commit
from pdapt.training.run import provenance as provenance_module
from pdapt.training.run.begun_saves import BEGUN_SAVES, begun_saves, check_own, note_save
from pdapt.training.run.events import Save
from pdapt.training.run.folder import PROVENANCE, checkpoints, iteration
from pdapt.training.run.hashes import DAMAGED, damage, recover, write_hashes, write_missing_hashes
from pdapt.training.run.identity import recipe_values
from pdapt.training.run.journal import JOURNAL_FILE, Event, Journal
from pdapt.training.run.listeners import saves
from pdapt.training.run.listeners.saves import Hashing
from pdapt.training.run.provenance import check_resharding, layers_of, provenance
from pdapt.training.run.retention import retain

RECIPE = replace(load("qwen3_tiny_cpt_2xcpu"), checkpoint=Checkpoint())


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run folder with hashed checkpoints of steps 2, 4 and 6."""
    for step in (2, 4, 6):
        root = tmp_path / CHECKPOINTS
        weight = torch.full((4, 4), float(step))
        write(root, [Part("weight", (4, 4), (0, 0), (4, 4), lambda weight=weight: weight)], torch.float32, [])
        (root / "release").rename(root / f"iter_{step:07d}")
        (root / TRACKER).write_text(str(step))
        note_save(tmp_path, step, Engine.MEGATRON)
    write_json(tmp_path / PROVENANCE, {"command": "pdapt train"})
    for path in checkpoints(tmp_path):
        write_hashes(path, {"command": "pdapt train"})
    return tmp_path


def at(run: Path, step: int) -> Path:
    return run / CHECKPOINTS / f"iter_{step:07d}"


def shard(checkpoint: Path) -> Path:
    return max(checkpoint.glob("*.distcp"), key=lambda path: path.stat().st_size)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_hashes_record_names_every_file_with_its_hash_and_where_it_comes_from(run: Path) -> None:
    found = json.loads((at(run, 4) / HASHES_FILE).read_text())
    assert (found["step"], found["provenance"]) == (4, {"command": "pdapt train"})
    there = {path.name: sha256(path) for path in at(run, 4).iterdir() if path.name != HASHES_FILE}
    assert found["files"] == there
    assert len(there) == 4  # two files of values, what is where in them, and the format


def test_files_of_a_checkpoints_folders_are_hashed_too(run: Path) -> None:
    """Megatron-Bridge keeps the tokenizer in one."""
    (at(run, 6) / "tokenizer").mkdir()
    file = at(run, 6) / "tokenizer" / "tokenizer.json"
    file.write_text("{}")
    write_hashes(at(run, 6), {})
    assert json.loads((at(run, 6) / HASHES_FILE).read_text())["files"]["tokenizer/tokenizer.json"] == sha256(file)
    file.write_text("[]")
    assert damage(at(run, 6)).startswith("tokenizer/tokenizer.json: another SHA-256")


@pytest.mark.parametrize("whole", [True, False])
def test_a_checkpoint_that_the_run_has_not_saved_is_neither_hashed_nor_removed(run: Path, *, whole: bool) -> None:
    """Somebody, or another trainer, has put it there; the newest one too, which would be gone on from."""
    shutil.copytree(at(run, 4), at(run, 8))
    for name in (HASHES_FILE, *([] if whole else ["metadata.json"])):
        (at(run, 8) / name).unlink()
    before = sorted(path.name for path in at(run, 8).iterdir())
    for refusing in (recover, write_missing_hashes):
        with pytest.raises(UserError, match="iter_0000008 was not saved by this run, and has no hashes"):
            refusing(run, fsdp=False)
    assert sorted(path.name for path in at(run, 8).iterdir()) == before
    assert (run / CHECKPOINTS / TRACKER).read_text() == "6"


def test_a_save_is_noted_before_it_is_written_and_of_an_older_run_its_steps_count(run: Path) -> None:
    Hashing(run, RECIPE).save_begins(8)
    shutil.copytree(at(run, 4), at(run, 8))
    (at(run, 8) / HASHES_FILE).unlink()
    check_own(run)
    (run / BEGUN_SAVES).unlink()
    with pytest.raises(UserError, match="iter_0000008"):
        check_own(run)
    Journal(run / JOURNAL_FILE).write(
        Event.STEP, step=8, seconds=1.0, data_wait=0.0, skipped=False, tokens=1, sources={}, loss=1.0
    )
    check_own(run)


def test_a_note_of_a_save_that_was_cut_off_does_not_spoil_the_next(run: Path) -> None:
    with (run / BEGUN_SAVES).open("a") as file:
        file.write("1")  # of 10
    note_save(run, 14, Engine.MEGATRON)
    assert begun_saves(run).keys() == {2, 4, 6, 14}


def test_what_bridge_has_not_written_to_its_end_is_removed_however_much_megatron_has(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without its configuration Bridge would take it for weights alone, and go on without the optimizer's state."""
    shutil.copytree(at(run, 6), at(run, 8))
    (at(run, 8) / HASHES_FILE).unlink()
    for noted in ("0000000008", "0000000008 nemo"):
        with (run / BEGUN_SAVES).open("a") as file:
            file.write(f"\n{noted}\n")
        if noted.endswith("nemo"):
            assert recover(run, fsdp=False) == at(run, 6)
            assert "iter_0000008 was not finished when the run was interrupted: removed" in capsys.readouterr().err
            continue
        assert recover(run, fsdp=False) == at(run, 8), "Megatron's"
        (at(run, 8) / HASHES_FILE).unlink()
    shutil.copytree(at(run, 6), at(run, 8))
    (at(run, 8) / HASHES_FILE).unlink()
    (at(run, 8) / "run_config.yaml").touch()
    assert recover(run, fsdp=False) == at(run, 8)
    assert (at(run, 8) / HASHES_FILE).is_file()


def test_fuzz_begun_saves(fuzz: Callable[..., None], run: Path) -> None:
    (at(run, 6) / HASHES_FILE).unlink()
    fuzz(run / BEGUN_SAVES, lambda: check_own(run))


def test_the_newest_sound_checkpoint_is_gone_on_from(run: Path) -> None:
    assert recover(run, fsdp=False) == at(run, 6)


@pytest.mark.parametrize("name", ["shard", ".metadata", "metadata.json"])
def test_one_flipped_bit_is_found_and_the_one_before_is_used(
    run: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(shard(at(run, 6)) if name == "shard" else at(run, 6) / name)
    assert recover(run, fsdp=False) == at(run, 4)
    assert (run / CHECKPOINTS / TRACKER).read_text() == "4"
    assert (run / CHECKPOINTS / DAMAGED / "iter_0000006.0").is_dir(), "nothing is lost"
    said = capsys.readouterr().err
    assert "iter_0000006 is damaged" in said
    assert "another SHA-256" in said
    assert "continuing from iter_0000004" in said


def test_a_missing_file_and_a_broken_hashes_record_are_damage_too(run: Path) -> None:
    shard(at(run, 6)).unlink()
    (at(run, 4) / HASHES_FILE).write_text("{")
    assert damage(at(run, 6)).endswith("missing")
    assert recover(run, fsdp=False) == at(run, 2)


def test_another_steps_files_under_a_right_name_are_damage(run: Path) -> None:
    """One of them, and all of them with the hashes that they were saved with."""
    shutil.copyfile(shard(at(run, 4)), at(run, 6) / shard(at(run, 4)).name)
    assert "another SHA-256" in damage(at(run, 6))
    shutil.rmtree(at(run, 6))
    shutil.copytree(at(run, 4), at(run, 6))
    assert damage(at(run, 6)) == f"{HASHES_FILE} belongs to step 4"
    assert recover(run, fsdp=False) == at(run, 4)


def test_without_a_sound_checkpoint_a_run_begins_again(run: Path) -> None:
    for step in (2, 4, 6):
        flip(shard(at(run, step)))
    assert recover(run, fsdp=False) is None
    assert not (run / CHECKPOINTS / TRACKER).exists()


def test_a_checkpoint_that_was_not_finished_is_removed(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("metadata.json", HASHES_FILE):
        (at(run, 6) / name).unlink()
    assert recover(run, fsdp=False) == at(run, 4)
    assert not at(run, 6).exists()
    assert "was not finished" in capsys.readouterr().err


def test_a_checkpoint_without_hashes_is_checked_by_its_sizes_and_hashed(run: Path) -> None:
    (at(run, 6) / HASHES_FILE).unlink()
    assert recover(run, fsdp=False) == at(run, 6)
    assert damage(at(run, 6)) == ""
    (at(run, 6) / HASHES_FILE).unlink()
    with shard(at(run, 6)).open("r+b") as file:
        file.truncate(100)
    assert "100 of" in damage(at(run, 6))
    assert recover(run, fsdp=False) == at(run, 4)


def test_a_torn_tracker_is_put_right(run: Path) -> None:
    (run / CHECKPOINTS / TRACKER).write_text("")
    assert recover(run, fsdp=False) == at(run, 6)
    assert (run / CHECKPOINTS / TRACKER).read_text() == "6"


def test_megatron_fsdps_checkpoints_end_with_their_metadata(run: Path) -> None:
    for name in ("metadata.json", HASHES_FILE):
        (at(run, 6) / name).unlink()
    assert recover(run, fsdp=True) == at(run, 6)


@pytest.mark.parametrize(
    ("keep_every", "keep_last", "left"),
    [(None, 1, [2, 4, 6]), (4, 1, [4, 6]), (4, 2, [2, 4, 6]), (6, 1, [4, 6]), (6, 2, [2, 4, 6]), (100, 1, [6])],
)
def test_checkpoints_at_multiples_and_the_last_others_are_kept(
    run: Path, keep_every: int | None, keep_last: int, left: list[int]
) -> None:
    retain(run, keep_every, keep_last)
    assert [iteration(path) for path in checkpoints(run)] == left


def test_a_checkpoint_that_a_kill_left_without_hashes_goes_like_the_others(run: Path) -> None:
    (at(run, 2) / HASHES_FILE).unlink()
    retain(run, 100, 1)
    assert [iteration(path) for path in checkpoints(run)] == [6]


def test_nothing_is_removed_before_a_newer_one_is_hashed(run: Path) -> None:
    (at(run, 6) / HASHES_FILE).unlink()
    retain(run, 100, 1)
    assert [iteration(path) for path in checkpoints(run)] == [4, 6]


def hashed_with(run: Path, overrides: list[str], recipe_file: Path) -> Path:
    write_hashes(at(run, 6), {"recipe": to_dict(load(str(recipe_file), ["parallel.ranks_per_node=4", *overrides]))})
    return at(run, 6)


def test_another_tp_or_pp_needs_a_checkpoint_saved_for_it(run: Path, recipe_file: Path) -> None:
    one = hashed_with(run, ["checkpoint.reshardable=false"], recipe_file)
    check_resharding(one, load(str(recipe_file), ["parallel.ranks_per_node=2"]))
    other = load(str(recipe_file), ["parallel.ranks_per_node=2", "parallel.tp=2"])
    with pytest.raises(
        UserError, match=r"TP 1 x PP 1 with checkpoint\.reshardable=false.*TP 2(.|\n)*checkpoint\.reshardable=true"
    ):
        check_resharding(one, other)
    check_resharding(hashed_with(run, ["checkpoint.reshardable=true"], recipe_file), other)


def test_megatron_fsdp_and_the_others_do_not_go_on_from_each_other(run: Path, recipe_file: Path) -> None:
    one = hashed_with(run, ["parallel.fsdp=true", "checkpoint.reshardable=false"], recipe_file)
    with pytest.raises(UserError, match="format of its own"):
        check_resharding(one, load(str(recipe_file)))


def test_other_layers_go_on_from_what_was_saved_for_a_change(
    run: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Transformer Engine's parameters have another order than local layers', on one device, too."""
    for module in (schema, provenance_module):
        monkeypatch.setattr(module, "has_gpu", lambda: True)
    engine, local = (
        load(str(recipe_file), [f"model.transformer_impl={impl}"]) for impl in ("transformer_engine", "local")
    )
    for reshardable in (False, True):
        saved = replace(local, checkpoint=replace(local.checkpoint, reshardable=reshardable))
        write_hashes(at(run, 6), provenance(saved, {}))
        assert layers_of(at(run, 6)) == "local"
        check_resharding(at(run, 6), local)
        if reshardable:
            check_resharding(at(run, 6), engine)
        else:
            with pytest.raises(UserError, match=r"by local layers(.|\n)*model\.transformer_impl=local"):
                check_resharding(at(run, 6), engine)
    assert recipe_values(local) == recipe_values(engine)


def test_records_that_name_no_layers_are_of_the_devices(run: Path) -> None:
    for device, layers in (("cpu", "local"), ("gpu", "transformer_engine")):
        write_hashes(at(run, 6), {"device": device})
        assert layers_of(at(run, 6)) == layers
    write_hashes(at(run, 6), {})
    assert layers_of(at(run, 6)) is None


def test_provenance_names_versions_commit_and_command(recipe_file: Path) -> None:
    found = provenance(load(str(recipe_file)), {"tokens": "a", "tokenizer": "b", "base": None})
    assert found["versions"]["megatron-core"] == "0.19.2"
    assert found["inputs"] == {"tokens": "a", "tokenizer": "b", "base": None}
    assert found["recipe"]["steps"] == 10
    assert found["command"]
    assert found["commit"] == commit()


def test_hashes_whose_process_was_killed_are_written_with_the_next_ones(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for step in (2, 4, 6):
        (at(run, step) / HASHES_FILE).unlink()
    hashing = Hashing(run, RECIPE)
    hashing.saved(Save(2, asynchronous=False, stall_seconds=0.1, seconds=0.1))
    assert hashing._process
    hashing._process.kill()
    hashing.saved(Save(4, asynchronous=False, stall_seconds=0.1, seconds=0.1))
    hashing.ended(None)
    assert "save: the process that hashes the checkpoint of step 2 was ended by SIGKILL" in capfd.readouterr().out
    assert [(at(run, step) / HASHES_FILE).is_file() for step in (2, 4, 6)] == [True, True, False]
    assert damage(at(run, 2)) == ""


def test_a_signal_to_all_of_a_jobs_processes_does_not_end_the_hashing(
    run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As Slurm sends it: to every process of a step."""
    (at(run, 6) / HASHES_FILE).unlink()
    hashing = Hashing(run, RECIPE)
    hashing.saved(Save(6, asynchronous=False, stall_seconds=0.1, seconds=0.1))
    assert hashing._process
    for number in (signal.SIGUSR1, signal.SIGTERM):
        hashing._process.send_signal(number)
    hashing.ended(None)
    assert "hashes the checkpoint" not in capfd.readouterr().out
    assert damage(at(run, 6)) == ""


def test_a_hashing_process_that_stands_still_is_given_up_and_said(
    run: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saves, "STANDSTILL", 0.4)
    (at(run, 6) / HASHES_FILE).unlink()
    hashing = Hashing(run, RECIPE)
    hashing.saved(Save(6, asynchronous=False, stall_seconds=0.1, seconds=0.1))
    process = hashing._process
    assert process
    process.send_signal(signal.SIGSTOP)
    hashing.ended(None)
    assert process.returncode == -signal.SIGKILL
    said = capfd.readouterr().out
    assert "save: the process that hashes the checkpoint of step 6 stood still for" in said
    assert "minutes and was given up; the checkpoint will be hashed later" in said
    assert write_missing_hashes(run, fsdp=False) == []
    assert damage(at(run, 6)) == ""
    assert (at(run, 6) / HASHES_FILE).is_file()


def test_what_is_left_without_hashes_gets_them_at_the_end_unless_it_is_damaged(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in (2, 6):
        (at(run, step) / HASHES_FILE).unlink()
    shard(at(run, 2)).write_bytes(b"")
    ((path, wrong),) = write_missing_hashes(run, fsdp=False)
    assert path == at(run, 2)
    assert shard(path).parent == at(run, 2)
    assert "bytes" in wrong
    assert not (at(run, 2) / HASHES_FILE).is_file()
    assert damage(at(run, 6)) == ""
    assert (at(run, 6) / HASHES_FILE).is_file()
    assert "iter_0000006 has no hashes, because the hashing process was killed" in capsys.readouterr().err
