"""Megatron checkpoints, as they are read for an export, damaged."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.distributed.checkpoint.state_dict_saver import save

from pdapt.conversion.bin_folder import INDEX, SINGLE, BinWeights
from pdapt.conversion.card import card, read_training
from pdapt.conversion.distcp_read import FORMAT, Checkpoint, find
from pdapt.conversion.follow import DONE, follow
from pdapt.conversion.stored_tensor import map_tensor
from pdapt.core.checkpoint import CHECKPOINTS, HASHES_FILE
from pdapt.core.errors import UserError
from pdapt.core.manifest import versions
from pdapt.recipes.load import load, to_dict

Fuzz = Callable[..., None]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Two tensors, as torch saves them."""
    folder = tmp_path / "run" / CHECKPOINTS / "iter_0000004"
    weights = {"a.weight": torch.arange(6.0).view(2, 3), "b.weight": torch.ones(5, dtype=torch.bfloat16)}
    save(weights, checkpoint_id=folder, no_dist=True)
    (folder / FORMAT).write_text(json.dumps({"sharded_backend": "torch_dist", "sharded_backend_version": 1}))
    return folder


def use(folder: Path) -> None:
    read = Checkpoint(find(folder))
    for tensor in read.read(list(read.entries)).values():
        assert float(tensor.double().nansum()) is not None


def test_fuzz_distcp(fuzz: Fuzz, checkpoint: Path) -> None:
    fuzz(next(checkpoint.glob("*.distcp")), lambda: use(checkpoint))


def test_fuzz_metadata_as_it_is_read(fuzz: Fuzz, checkpoint: Path) -> None:
    fuzz(checkpoint / ".metadata", lambda: use(checkpoint))


def test_fuzz_format(fuzz: Fuzz, checkpoint: Path) -> None:
    fuzz(checkpoint / FORMAT, lambda: use(checkpoint))


def test_a_stored_tensor_that_would_take_all_memory_is_refused(checkpoint: Path) -> None:
    """Its pickle numbers a value 2,000,000,000: the unpickler would make room for as many."""
    import zipfile

    path = checkpoint / "bomb.distcp"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"\x80\x02Nr" + (2_000_000_000).to_bytes(4, "little") + b".")
        archive.writestr("x/data/0", b"\0" * 8)
    with pytest.raises(UserError, match="numbered 2000000000"):
        map_tensor(path, 0, path.stat().st_size)


def test_fuzz_card(fuzz: Fuzz, checkpoint: Path) -> None:
    """The part of a record of hashes that the model card states."""
    made = {"recipe": to_dict(load("qwen3_tiny_cpt_2xcpu")), "inputs": {"tokens": "0" * 64, "base": None}}
    made |= {"commit": None, "versions": versions()}
    (checkpoint / HASHES_FILE).write_text(json.dumps({"step": 4, "provenance": made, "files": {}}))
    assert "Trained for 4 steps" in card(checkpoint, read_training(checkpoint), "parameters", "bfloat16", {})
    fuzz(checkpoint / HASHES_FILE, lambda: card(checkpoint, read_training(checkpoint), "parameters", "bfloat16", {}))


def test_fuzz_followed(fuzz: Fuzz, tmp_path: Path) -> None:
    run, out = tmp_path / "run", tmp_path / "hf"
    (run / CHECKPOINTS / "iter_0000002").mkdir(parents=True)
    (run / CHECKPOINTS / "iter_0000002" / HASHES_FILE).write_text("{}")
    out.mkdir()
    (out / DONE).write_text(json.dumps(["iter_0000002"]))
    assert follow(run, out, once=True) == []
    fuzz(out / DONE, lambda: follow(run, out, once=True))


def use_bin(folder: Path) -> None:
    weights = BinWeights(folder)
    assert all(weights.get(name).shape == tensor.shape for name, tensor in weights.tensors.items())


def test_fuzz_bin(fuzz: Fuzz, tmp_path: Path) -> None:
    torch.save({"a": torch.arange(6.0).view(2, 3)}, tmp_path / SINGLE)
    fuzz(tmp_path / SINGLE, lambda: use_bin(tmp_path))


def test_fuzz_bin_index(fuzz: Fuzz, tmp_path: Path) -> None:
    torch.save({"a": torch.arange(6.0).view(2, 3)}, tmp_path / "part-1.bin")
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {"a": "part-1.bin"}}))
    fuzz(tmp_path / INDEX, lambda: use_bin(tmp_path))
