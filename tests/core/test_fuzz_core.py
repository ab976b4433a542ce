"""The core's readers on damaged files."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch.distributed.checkpoint.filesystem import FileSystemReader
from torch.distributed.checkpoint.state_dict_saver import save

from pdapt.core.checkpoint import HASHES_FILE, TRACKER, newest, read_hashes_record
from pdapt.core.dcp import METADATA, read_metadata, shortened
from pdapt.core.errors import UserError
from pdapt.core.files import read_object
from pdapt.core.hf.config import effective, write_settings
from pdapt.core.hf.turns import end_at_turns, ends_turns
from pdapt.core.hf.weights import INDEX, SINGLE, Weights
from pdapt.core.manifest import KEY, MANIFEST_FILE, Manifest, _interrupted, fingerprint, input_fingerprints, run_stage
from pdapt.core.qwen3 import SIZES, read_config
from pdapt.core.self_hash import SHA256

Fuzz = Callable[..., None]


def test_fuzz_config(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    values = SIZES["8b"].to_hf("bfloat16")
    path.write_text(json.dumps(values | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}))
    fuzz(path, lambda: read_config(tmp_path).parameters)


def test_fuzz_manifest(fuzz: Fuzz, tmp_path: Path) -> None:
    def body(work: Path) -> dict[str, Any]:
        (work / "a").write_text("a")
        return {"files": 1}

    run_stage("demo", {"text": "0" * 64}, {"k": 1}, tmp_path / "out", body)

    path = tmp_path / "out" / MANIFEST_FILE
    fuzz(path, lambda: (fingerprint(tmp_path / "out"), Manifest.read(tmp_path / "out")))
    # As an earlier version wrote it, without the hash that nearly every damage is told by.
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != SHA256}))
    fuzz(path, lambda: (fingerprint(tmp_path / "out"), Manifest.read(tmp_path / "out")))


def test_fuzz_interrupted(fuzz: Fuzz, tmp_path: Path) -> None:
    """The key of an interrupted stage: where it is damaged, nothing is taken up."""
    work = tmp_path / ".out.partial"
    key = {"stage": "demo", "inputs": {"text": "0" * 64}, "config": {"k": 1}}
    work.mkdir()
    (work / KEY).write_text(json.dumps(key))

    def use() -> None:
        if _interrupted(work) != key:
            raise UserError("another run's, or damaged")
        assert input_fingerprints(work) == key["inputs"]

    fuzz(work / KEY, use)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_fuzz_settings(fuzz: Fuzz, tmp_path: Path, name: str) -> None:
    """The files that are carried over from a Hugging Face folder to another."""
    config = SIZES["8b"].to_hf("bfloat16") | {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}
    contents = {"config.json": config, "tokenizer_config.json": {"eos_token": "x", "auto_map": {}}}
    contents["generation_config.json"] = {"temperature": 0.6}
    for file, content in contents.items():
        (tmp_path / file).write_text(json.dumps(content))

    def use() -> None:
        write_settings(tmp_path, tmp_path / "copy", "bfloat16")
        effective(read_object(tmp_path / "config.json").values)

    fuzz(tmp_path / name, use, places=name == "config.json")  # others may be absent


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "generation_config.json"])
def test_fuzz_turns(fuzz: Fuzz, tokenizer_folder: Path, tmp_path: Path, name: str) -> None:
    """The settings of a model that is fine-tuned."""
    contents = {"config.json": {"eos_token_id": 5}, "tokenizer_config.json": {"eos_token": {"content": "x"}}}
    contents["generation_config.json"] = {"eos_token_id": [5], "temperature": 0.6}
    for file, content in contents.items():
        (tmp_path / file).write_text(json.dumps(content))
    shutil.copy(tokenizer_folder / "tokenizer.json", tmp_path)

    def use() -> None:
        ends_turns(tmp_path)
        settings = Path(shutil.copytree(tmp_path, tmp_path / "settings"))
        try:
            end_at_turns(settings, tmp_path)
            assert ends_turns(settings)
        finally:
            shutil.rmtree(settings)

    fuzz(tmp_path / name, use, places=name == "config.json")  # others may be absent


def test_fuzz_hashes_record(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / HASHES_FILE
    path.write_text(json.dumps({"step": 4, "provenance": {"recipe": {}}, "files": {"a": "0" * 64}}))
    fuzz(path, lambda: (read_hashes_record(tmp_path), fingerprint(tmp_path)))


@pytest.mark.parametrize(
    "content", ["", "-5", "٣", "1e3", "iter_0000005", "9" * 90, "release ../..", "5\n6", "\0", "½"]
)
def test_a_tracker_of_rubbish_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / TRACKER).write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=TRACKER):
        newest(tmp_path)


def test_a_tracker_is_read_as_megatron_writes_it(tmp_path: Path) -> None:
    for content, name in (("release", "release"), ("5", "iter_0000005"), ("12345678\n", "iter_12345678")):
        (tmp_path / TRACKER).write_text(content)
        assert newest(tmp_path) == tmp_path / name
    (tmp_path / TRACKER).unlink()
    (tmp_path / TRACKER).symlink_to("/dev/zero")
    assert newest(tmp_path) is None


def test_fuzz_tracker(fuzz: Fuzz, tmp_path: Path) -> None:
    (tmp_path / TRACKER).write_text("5")
    fuzz(tmp_path / TRACKER, lambda: newest(tmp_path))


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    folder = tmp_path / "iter_0000005"
    save({"a.weight": torch.arange(6.0).view(2, 3), "step": {"n": 5}}, checkpoint_id=folder, no_dist=True)
    return folder


def test_fuzz_metadata(fuzz: Fuzz, checkpoint: Path) -> None:
    fuzz(checkpoint / METADATA, lambda: shortened(checkpoint))


def test_metadata_that_would_take_all_memory_is_refused(checkpoint: Path) -> None:
    """A pickle of a few bytes that numbers a value 2,000,000,000: the unpickler would make room for as many."""
    (checkpoint / METADATA).write_bytes(b"\x80\x02Nr" + (2_000_000_000).to_bytes(4, "little") + b".")
    with pytest.raises(UserError, match="numbered 2000000000"):
        read_metadata(checkpoint)


@pytest.mark.parametrize(("attribute", "value"), [("offset", -8), ("length", -1), ("offset", 2**70), ("offset", 1.5)])
def test_metadata_whose_places_lie_are_refused(checkpoint: Path, attribute: str, value: Any) -> None:
    metadata = FileSystemReader(checkpoint).read_metadata()
    assert metadata.storage_data
    object.__setattr__(next(iter(metadata.storage_data.values())), attribute, value)
    (checkpoint / METADATA).write_bytes(pickle.dumps(metadata))
    with pytest.raises(UserError, match="is at byte"):
        read_metadata(checkpoint)


def test_fuzz_safetensors(fuzz: Fuzz, tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 3), "b": torch.zeros(4, dtype=torch.bfloat16)}, tmp_path / SINGLE)

    def read() -> None:
        weights = Weights(tmp_path)
        for name, tensor in weights.tensors.items():
            assert tuple(weights.get(name).shape) == tensor.shape
            weights.release(name)

    fuzz(tmp_path / SINGLE, read)


def test_fuzz_weights_index(fuzz: Fuzz, tmp_path: Path) -> None:
    save_file({"a": torch.ones(2, 3)}, tmp_path / "part-1.safetensors")
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"a": "part-1.safetensors"}}))
    fuzz(tmp_path / INDEX, lambda: Weights(tmp_path).tensors)
