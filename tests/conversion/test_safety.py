"""Limits of a folder or a checkpoint: it may not run code, leave its folder, or be taken for whole."""

import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.checkpoint.filesystem import FileSystemReader

from pdapt.conversion.convert import export_hf, import_hf
from pdapt.conversion.distcp_read import Checkpoint
from pdapt.conversion.stored_tensor import map_tensor
from pdapt.conversion.verify import verify
from pdapt.core.checkpoint import HASHES_FILE
from pdapt.core.errors import UserError

Maker = Callable[..., Path]


class Evil:
    """Leaves a mark where its pickle is loaded."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def test_the_planted_code_would_leave_its_mark_if_it_ran(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Evil(tmp_path / "ran")))  # noqa: S301 - so that the tests below could fail
    assert (tmp_path / "ran").exists()


def test_a_truncated_file_is_refused(tiny_qwen3: Maker, tmp_path: Path) -> None:
    source = tiny_qwen3()
    path = source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="not a complete safetensors file"):
        import_hf(source, tmp_path / "out")


def test_an_index_may_not_leave_its_folder(tiny_qwen3: Maker, tmp_path: Path) -> None:
    source = tiny_qwen3()
    index = {"weight_map": dict.fromkeys(load_file(source / "model.safetensors"), "../model.safetensors")}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="outside its folder"):
        import_hf(source, tmp_path / "out")


def test_metadata_that_would_run_code_is_refused(tiny_qwen3: Maker, tmp_path: Path) -> None:
    import_hf(tiny_qwen3(), tmp_path / "mcore")
    ran = tmp_path / "ran"

    (tmp_path / "mcore" / "release" / ".metadata").write_bytes(pickle.dumps(Evil(ran)))
    with pytest.raises(UserError, match=r"refers to (posix|os|nt)\.system"):
        Checkpoint(tmp_path / "mcore" / "release")
    with pytest.raises(UserError, match="refused"):
        export_hf(tmp_path / "mcore", tmp_path / "out", verify=False)
    assert not ran.exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04", pickle.dumps({"a": 1})])
def test_metadata_that_is_none_is_said(tiny_qwen3: Maker, tmp_path: Path, content: bytes) -> None:
    import_hf(tiny_qwen3(), tmp_path / "mcore")
    (tmp_path / "mcore" / "release" / ".metadata").write_bytes(content)
    with pytest.raises(UserError, match=r"the checkpoint's \.metadata"):
        export_hf(tmp_path / "mcore", tmp_path / "out", verify=False)


@pytest.mark.slow
def test_an_interrupted_import_is_not_taken_for_whole(tiny_qwen3: Maker, tmp_path: Path) -> None:
    """Killed while it writes: no output; run again: the same hashes as an undisturbed one's."""
    source = tiny_qwen3()
    script = (
        "import os, sys; from pathlib import Path; from pdapt.conversion import convert, tensor_names as names\n"
        "make = names.Folded.make\n"
        "def dying(self, get):\n"
        "    if self.layer == 1: os.kill(os.getpid(), 9)\n"
        "    return make(self, get)\n"
        "names.Folded.make = dying\n"
        "convert.import_hf(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, source, tmp_path / "out"], check=False)
    assert done.returncode == -9
    assert not (tmp_path / "out").exists()
    again, other = import_hf(source, tmp_path / "out"), import_hf(source, tmp_path / "other")
    assert again.outputs == other.outputs
    assert verify(source, tmp_path / "out").identical


@pytest.mark.slow
def test_an_interrupted_export_is_not_taken_for_whole(tiny_qwen3: Maker, tmp_path: Path) -> None:
    """Killed while it writes: no output folder; run again: the same bytes as an undisturbed export."""
    import_hf(tiny_qwen3(), tmp_path / "mcore")
    script = (
        "import os, sys; from pathlib import Path; from pdapt.conversion import convert\n"
        "write = convert.Writer.write\n"
        "def dying(self, name, values):\n"
        "    write(self, name, values)\n"
        "    if 'layers.1' in name: os.kill(os.getpid(), 9)\n"
        "convert.Writer.write = dying\n"
        "convert.export_hf(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "mcore", tmp_path / "out"], check=False)
    assert done.returncode == -9
    assert not (tmp_path / "out").exists()
    export_hf(tmp_path / "mcore", tmp_path / "out")
    export_hf(tmp_path / "mcore", tmp_path / "other")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in (tmp_path / "other").iterdir()
    )
    assert verify(tmp_path / "out", tmp_path / "other").identical


def test_a_stored_tensor_that_would_run_code_is_refused(tiny_qwen3: Maker, tmp_path: Path) -> None:
    """The pickle inside a chunk, which is not the one of `.metadata`."""
    import_hf(tiny_qwen3(), tmp_path / "mcore")
    ran = tmp_path / "ran"

    path = tmp_path / "evil.distcp"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil(ran)))
        archive.writestr("archive/data/0", bytes(64))
    with pytest.raises(UserError, match=r"asks for (posix|os)\.system, which is not part of weights"):
        map_tensor(path, 0, path.stat().st_size)
    assert not ran.exists()


def test_a_checkpoint_may_not_name_files_outside_its_folder(tiny_qwen3: Maker, tmp_path: Path) -> None:
    import_hf(tiny_qwen3(), tmp_path / "mcore")
    path = tmp_path / "mcore" / "release" / ".metadata"
    metadata = FileSystemReader(path.parent).read_metadata()
    for info in (metadata.storage_data or {}).values():
        info.relative_path = f"../{info.relative_path}"
    path.write_bytes(pickle.dumps(metadata))
    with pytest.raises(UserError, match=r"names a file outside its folder: \.\./"):
        export_hf(tmp_path / "mcore", tmp_path / "out", verify=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("spoil", ["missing", "short", "zeros"])
def test_a_damaged_checkpoint_gives_no_output(tiny_qwen3: Maker, tmp_path: Path, spoil: str) -> None:
    import_hf(tiny_qwen3(), tmp_path / "mcore")
    path = max((tmp_path / "mcore" / "release").glob("*.distcp"), key=lambda path: path.stat().st_size)
    if spoil == "missing":
        path.unlink()
    else:
        size = path.stat().st_size
        path.write_bytes(path.read_bytes()[: size // 2] + (bytes(size // 2) if spoil == "zeros" else b""))
    with pytest.raises(UserError, match=r"missing|ends early|damaged|other than a plain tensor"):
        export_hf(tmp_path / "mcore", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tensor_of_which_a_part_is_not_there_is_refused_by_name(tiny_qwen3: Maker, tmp_path: Path) -> None:
    import_hf(tiny_qwen3(), tmp_path / "mcore")
    whole = Checkpoint(tmp_path / "mcore" / "release")
    name = next(name for name, entry in whole.entries.items() if len(entry.chunks) > 1)
    assert whole.read([name])[name].shape == torch.Size(whole.entries[name].size)
    for left in (whole.entries[name].chunks[:-1], whole.entries[name].chunks[:0]):
        damaged = Checkpoint(tmp_path / "mcore" / "release")
        damaged.entries[name] = replace(damaged.entries[name], chunks=left)
        with pytest.raises(UserError, match=f"chunks do not fill {name}"):
            damaged.read([name])


@pytest.mark.parametrize("sharded", [False, True])
def test_bin_files_are_read_where_that_is_said(tiny_qwen3: Maker, tmp_path: Path, sharded: bool) -> None:
    source = tiny_qwen3(tied=False)
    weights = load_file(source / "model.safetensors")
    other = tmp_path / "bin"
    shutil.copytree(source, other, ignore=shutil.ignore_patterns("*.safetensors"))
    if sharded:
        names = sorted(weights)
        parts = {"pytorch_model-00001-of-00002.bin": names[:5], "pytorch_model-00002-of-00002.bin": names[5:]}
        for file, held in parts.items():
            torch.save({name: weights[name] for name in held}, other / file)
        weight_map = {name: file for file, held in parts.items() for name in held}
        (other / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    else:
        torch.save(weights, other / "pytorch_model.bin")
    with pytest.raises(UserError, match="--bin"):
        import_hf(other, tmp_path / "refused")
    import_hf(other, tmp_path / "mcore", bin_files=True)
    assert verify(source, tmp_path / "mcore").identical


def test_a_bin_file_that_would_run_code_is_refused(tiny_qwen3: Maker, tmp_path: Path) -> None:
    source = tiny_qwen3()
    ran = tmp_path / "ran"

    torch.save({"model.norm.weight": Evil(ran)}, source / "pytorch_model.bin")
    with pytest.raises(UserError, match="is incomplete, or holds something other than weights"):
        import_hf(source, tmp_path / "out", bin_files=True)
    assert not ran.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [
        "{}",
        "[]",
        '{"files": {}}',
        "{",
        '{"step": 1, "files": {}, "provenance": []}',
        '{"step": 1, "files": [], "provenance": {}}',
        '{"step": 1, "files": {}, "provenance": {}}',
    ],
)
def test_a_damaged_hashes_record_is_named_before_anything_is_written(
    tiny_qwen3: Maker, tmp_path: Path, content: str
) -> None:
    import_hf(tiny_qwen3(), tmp_path / "mcore")
    (tmp_path / "mcore" / "release" / HASHES_FILE).write_text(content)
    with pytest.raises(UserError, match="is damaged"):
        export_hf(tmp_path / "mcore", tmp_path / "out", verify=False)
    assert not [path.name for path in tmp_path.iterdir() if "out" in path.name]
