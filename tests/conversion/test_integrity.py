"""Every file of a finished folder, damaged in every way, against every stage: only what was written is read."""

import json
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_saver import save

from pdapt.conversion import distcp_write
from pdapt.conversion.convert import export_hf, import_hf
from pdapt.conversion.distcp_read import FORMAT, Checkpoint
from pdapt.conversion.verify import verify
from pdapt.core import integrity
from pdapt.core.checkpoint import HASHES_FILE
from pdapt.core.dcp import weight_spans
from pdapt.core.errors import UserError
from pdapt.core.files import sha256
from pdapt.core.integrity import checking
from pdapt.core.manifest import Manifest
from pdapt.merge.run import average, merge
from pdapt.merge.sweep import sweep
from pdapt.training.run import hashes as run_hashes

PROVENANCE = {
    "recipe": {"batch": {"global_size": 1}, "data": {"seq_length": 8}, "optimizer": {"lr": 0.1}},
    "inputs": {},
    "commit": None,
    "versions": {},
}
Maker = Callable[..., Path]
Damage = Callable[[Path, Path], None]


def flip_one_bit(path: Path, _: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def flip_the_last_bit(path: Path, _: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def cut(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def append(path: Path, _: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\n")


def remove(path: Path, _: Path) -> None:
    path.unlink()


def swap(path: Path, other: Path) -> None:
    shutil.copyfile(other, path)


DAMAGES: list[Damage] = [flip_one_bit, flip_the_last_bit, cut, append, remove, swap]


@pytest.fixture
def hf(tiny_qwen3: Maker, tmp_path: Path) -> Callable[[int], Path]:
    """Make Hugging Face folders that a stage wrote, so that there are hashes."""

    def make(seed: int) -> Path:
        import_hf(tiny_qwen3(seed, num_hidden_layers=1), tmp_path / f"root-{seed}")
        export_hf(tmp_path / f"root-{seed}", tmp_path / f"written-{seed}")
        return tmp_path / f"written-{seed}"

    return make


def damaged(folder: Path, other: Path, names: list[str]) -> Iterator[str]:
    """Damage one file after the other in every way, and put it back."""
    for name in names:
        path = folder / name
        whole = path.read_bytes()
        for damage in DAMAGES:
            damage(path, other / name)
            if not path.exists() or path.read_bytes() != whole:  # else the other folder has the same file
                yield f"{name}: {damage.__name__}"
            path.write_bytes(whole)


def read_names(folder: Path) -> list[str]:
    return [name for name in Manifest.read(folder).outputs if name != "README.md" and not name.startswith("latest")]


def refused(stage: Callable[[Path], Any], name: str, out: Path) -> None:
    file = name.split(":")[0].rsplit("/")[-1]
    with pytest.raises(UserError) as caught:
        stage(out)
    assert file in str(caught.value), name
    assert not out.exists(), name
    assert not out.with_name(f".{out.name}.partial").exists(), name


@pytest.mark.slow
def test_import_refuses_every_damage_to_what_a_stage_wrote(hf: Callable[[int], Path], tmp_path: Path) -> None:
    folder, other = hf(0), hf(1)
    for name in damaged(folder, other, read_names(folder)):
        refused(lambda out: import_hf(folder, out), name, tmp_path / "out")
    assert import_hf(folder, tmp_path / "out").counts["verified"] == len(read_names(folder))


@pytest.mark.slow
def test_export_refuses_every_damage_to_a_base(hf: Callable[[int], Path], tmp_path: Path) -> None:
    hf(0), hf(1)
    root, other = tmp_path / "root-0", tmp_path / "root-1"
    for name in damaged(root, other, read_names(root)):
        refused(lambda out: export_hf(root / "release", out), name, tmp_path / "out")
    assert export_hf(root, tmp_path / "out").counts["verified"] == len(read_names(root))


@pytest.mark.slow
@pytest.mark.parametrize("way", ["merge", "average", "sweep"])
def test_merges_refuse_every_damage_to_what_a_stage_wrote(hf: Callable[[int], Path], tmp_path: Path, way: str) -> None:
    folder, other = hf(0), hf(1)
    stages: dict[str, Callable[[Path], Any]] = {
        "merge": lambda out: merge(other, folder, out),
        "average": lambda out: average([folder, other], out),
        "sweep": lambda out: sweep(folder, other, out, [0.5]),
    }
    for name in damaged(folder, other, read_names(folder)):
        if "tokenizer.json: swap" not in name:
            refused(stages[way], name, tmp_path / "out")
    stages[way](tmp_path / "out")


def test_verify_refuses_damage_and_compares_all_the_same_where_that_is_asked(
    hf: Callable[[int], Path], tmp_path: Path
) -> None:
    folder, root = hf(0), tmp_path / "root-0"
    assert verify(root, folder).identical
    path = max((root / "release").glob("*.distcp"), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=f"{path.name}: another SHA-256"):
        verify(folder, root)
    found = verify(folder, root, hashes=False)
    assert len(found.different) == 1
    assert found.different[0].values == 1


@pytest.mark.slow
def test_a_runs_checkpoint_is_checked_against_its_own_hashes(
    tiny_qwen3: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another step's file under a right name, which torch reads without a word."""
    roots = []
    for seed in (0, 1):
        import_hf(tiny_qwen3(seed), tmp_path / f"run-{seed}")
        roots.append(tmp_path / f"run-{seed}")
        (roots[-1] / "manifest.json").unlink()
        folder = roots[-1] / "release"
        hashes = {path.name: sha256(path) for path in folder.iterdir()}
        (folder / HASHES_FILE).write_text(json.dumps({"step": 3, "provenance": PROVENANCE, "files": hashes}))
    assert export_hf(roots[0], tmp_path / "whole").counts["verified"] == len(list((roots[0] / "release").iterdir())) - 1
    names = sorted(path.name for path in (roots[0] / "release").glob("*.distcp"))
    others = {name: (roots[1] / "release" / name).read_bytes() for name in names}
    differing = [name for name in names if (roots[0] / "release" / name).read_bytes() != others[name]]
    assert differing
    for name in differing:
        whole = (roots[0] / "release" / name).read_bytes()
        shutil.copyfile(roots[1] / "release" / name, roots[0] / "release" / name)
        refused(lambda out: export_hf(roots[0], out), name, tmp_path / "out")
        (roots[0] / "release" / name).write_bytes(whole)
    capsys.readouterr()
    (roots[0] / "release" / HASHES_FILE).unlink()
    assert export_hf(roots[0], tmp_path / "unhashed").counts["verified"] == 0
    said = capsys.readouterr().err
    assert [said.count(f"{roots[0] / name} holds no hashes of its files") for name in ("release", "hf")] == [1, 1]


@pytest.fixture
def of_run(hf: Callable[[int], Path], tmp_path: Path) -> Path:
    """A run's hashed checkpoint whose one file holds weights among the optimizer's state, as torch writes it."""
    hf(0)
    root = tmp_path / "root-0"
    release, checkpoint = Checkpoint(root / "release"), root / "iter_0000003"
    weights = release.read(list(release.entries))
    moments = {f"optimizer.state.exp_avg.{name}": torch.rand(64) for name in weights}
    with warnings.catch_warnings():  # one process saves the whole, which torch warns of although it is told so
        warnings.simplefilter("ignore")
        save(weights | moments, checkpoint_id=checkpoint, no_dist=True)
    shutil.copyfile(root / "release" / FORMAT, checkpoint / FORMAT)
    run_hashes.write_hashes(checkpoint, PROVENANCE)
    return checkpoint


def flip_within(checkpoint: Path, prefix: str) -> None:
    """Flip a bit in the middle of each stored tensor whose name begins so, by torch's own reading of `.metadata`."""
    for index, stored in FileSystemReader(checkpoint).read_metadata().storage_data.items():
        if index.fqn.startswith(prefix):
            with (checkpoint / stored.relative_path).open("r+b") as file:
                file.seek(stored.offset + stored.length // 2)
                byte = file.read(1)[0]
                file.seek(-1, 1)
                file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize("prefix", ["embedding", "decoder.layers.mlp.linear_fc2", "decoder.final_layernorm"])
def test_a_bit_of_a_runs_weights_is_found_where_they_alone_are_compared(
    of_run: Path, tmp_path: Path, prefix: str
) -> None:
    flip_within(of_run, prefix)
    for read in (lambda: export_hf(of_run, tmp_path / "out"), lambda: verify(of_run, of_run)):
        with pytest.raises(UserError, match="another SHA-256 than was written with it"):
            read()
    assert not (tmp_path / "out").exists()


def test_the_optimizers_bytes_are_left_to_who_reads_them(of_run: Path, tmp_path: Path) -> None:
    """An export does not read them; a run that goes on from the checkpoint does, and finds the damage."""
    export_hf(of_run, tmp_path / "sound")
    assert run_hashes.damage(of_run) == ""
    flip_within(of_run, "optimizer.")
    export_hf(of_run, tmp_path / "out")
    assert (tmp_path / "out/model.safetensors").read_bytes() == (tmp_path / "sound/model.safetensors").read_bytes()
    assert "another SHA-256" in run_hashes.damage(of_run)


def test_a_hashes_record_of_an_earlier_version_has_the_whole_checkpoint_compared(of_run: Path, tmp_path: Path) -> None:
    written = json.loads((of_run / HASHES_FILE).read_text())
    del written["weights"], written["sha256"]
    (of_run / HASHES_FILE).write_text(json.dumps(written))
    export_hf(of_run, tmp_path / "sound")
    flip_within(of_run, "optimizer.")
    with pytest.raises(UserError, match="another SHA-256 than was written with it"):
        export_hf(of_run, tmp_path / "out")


def test_spans_are_the_weights_as_torch_states_them(of_run: Path) -> None:
    stored = FileSystemReader(of_run).read_metadata().storage_data
    weights = [value for index, value in stored.items() if not index.fqn.startswith("optimizer.")]
    bytes_of_weights = {place for value in weights for place in range(value.offset, value.offset + value.length)}
    spans = weight_spans(of_run)["__0_0.distcp"]
    assert {place for begin, end in spans for place in range(begin, end)} == bytes_of_weights
    assert sum(end - begin for begin, end in spans) == len(bytes_of_weights) < (of_run / "__0_0.distcp").stat().st_size


def test_of_a_folder_that_others_wrote_nothing_is_claimed(
    tiny_qwen3: Maker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tiny_qwen3()
    assert import_hf(source, tmp_path / "out").counts["verified"] == 0
    said = capsys.readouterr().err
    assert said.count(f"{source} holds no hashes of its files, so they cannot be checked") == 1
    assert "the SHA-256" not in said
    assert import_hf(source, tmp_path / "again", verify=False).counts["verified"] is None


def test_a_file_that_nobody_wrote_is_refused(hf: Callable[[int], Path], tmp_path: Path) -> None:
    folder = hf(0)
    save_file({"x": torch.zeros(1)}, folder / "model-00002-of-00002.safetensors")
    refused(lambda out: import_hf(folder, out), "model-00002-of-00002.safetensors", tmp_path / "out")
    import_hf(folder, tmp_path / "out", verify=False)


def test_the_damage_is_told_and_not_what_a_library_made_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_bytes(b"damaged")
    monkeypatch.setattr(integrity, "recorded", lambda _: {"data": "0" * 64})
    with pytest.raises(UserError, match="data: another SHA-256"), checking("stage", {tmp_path: ["data"]}):
        raise IndexError("whatever a library says of bytes it cannot read")
    monkeypatch.setattr(integrity, "recorded", lambda _: {"data": sha256(tmp_path / "data")})
    with pytest.raises(IndexError), checking("stage", {tmp_path: ["data"]}):
        raise IndexError("a defect, not the file's")


def test_no_check_reads_what_is_not_read(hf: Callable[[int], Path], tmp_path: Path) -> None:
    """A card may be edited."""
    folder = hf(0)
    (folder / "README.md").write_text("mine")
    import_hf(folder, tmp_path / "out")
    assert load_file(folder / "model.safetensors")


@pytest.mark.parametrize("verify", [True, False])
def test_a_source_that_changes_while_it_is_converted_is_refused(
    hf: Callable[[int], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verify: bool
) -> None:
    """Whoever reads a file first may have read another one than who reads it next."""
    folder, write = hf(0), distcp_write.write

    def touched(*arguments: Any, **options: Any) -> Any:
        (folder / "model.safetensors").touch()
        return write(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(distcp_write, "write", touched)
        with pytest.raises(UserError, match=r"model\.safetensors: changed while it was read"):
            import_hf(folder, tmp_path / "out", verify=verify)
    assert not (tmp_path / "out").exists()
    import_hf(folder, tmp_path / "out", verify=verify)


def test_a_folder_that_is_linked_to_is_compared_like_any_other(hf: Callable[[int], Path], tmp_path: Path) -> None:
    """Checkpoints are often on another disk than their root."""
    hf(0)
    root, elsewhere = tmp_path / "root-0", tmp_path / "elsewhere"
    (root / "release").rename(elsewhere)
    (root / "release").symlink_to(elsewhere)
    assert export_hf(root, tmp_path / "sound").counts["verified"] > 2
    path = max(elsewhere.glob("*.distcp"), key=lambda path: path.stat().st_size)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    refused(lambda out: export_hf(root, out), path.name, tmp_path / "out")
    path.unlink()
    refused(lambda out: export_hf(root, out), path.name, tmp_path / "out")
