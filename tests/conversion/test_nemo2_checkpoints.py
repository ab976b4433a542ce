"""Checkpoints of NeMo 2: made for it to start from, and exported by the configuration that they hold themselves."""

import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from test_bridge_settings import model_of
from torch.distributed.checkpoint.metadata import Metadata

from pdapt.conversion.convert import export_hf, import_hf
from pdapt.conversion.trainer_config import MODEL_CONFIG, read_model_config
from pdapt.conversion.verify import verify
from pdapt.core.checkpoint import NEMO2, TRACKER
from pdapt.core.dcp import METADATA, read_metadata
from pdapt.core.errors import UserError
from pdapt.core.qwen3 import read_config

Maker = Callable[..., Path]
CLASSES = "megatron.core.dist_checkpointing.strategies.torch"


@pytest.fixture
def source(tiny_qwen3: Maker) -> Path:
    """A Hugging Face folder."""
    return tiny_qwen3(tied=False)


@pytest.fixture
def checkpoint(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its weights as NeMo 2 saves them: without `hf/`, with the configuration in `context`, and its own metadata."""
    folder = tmp_path / "cpt" / "checkpoints" / "step=4-consumed_samples=40.0"
    import_hf(source, tmp_path / "imported", nemo2=True)
    shutil.copytree(tmp_path / "imported" / NEMO2, folder / NEMO2)
    model = model_of(read_config(source)) | {"max_position_embeddings": 512, "seq_length": 16}
    (folder / "context" / "tokenizer").mkdir(parents=True)
    (folder / "context" / MODEL_CONFIG).write_text(yaml.safe_dump({"config": model}))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, folder / "context" / "tokenizer" / name)
    save_as_megatron_did(folder / NEMO2 / METADATA, monkeypatch)
    return folder


def save_as_megatron_did(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write `.metadata` again as an object of the class that Megatron-Core had of its own until 0.15."""

    @dataclass
    class MCoreMetadata(Metadata):
        mcore_data: dict[str, dict[str, Any]] | None = None

    MCoreMetadata.__module__, MCoreMetadata.__qualname__ = CLASSES, "MCoreMetadata"
    module = ModuleType(CLASSES)
    module.MCoreMetadata = MCoreMetadata  # pyright: ignore[reportAttributeAccessIssue]
    loaded = pickle.loads(path.read_bytes())  # noqa: S301
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, CLASSES, module)
        path.write_bytes(pickle.dumps(MCoreMetadata(**vars(loaded), mcore_data={"module.norm": {}})))


def test_an_import_for_nemo_2_has_its_folders_and_names(source: Path, tmp_path: Path) -> None:
    import_hf(source, tmp_path / "nemo", nemo2=True)
    assert {path.name for path in (tmp_path / "nemo").iterdir()} == {NEMO2, "hf", "manifest.json"}
    assert not (tmp_path / "nemo" / TRACKER).exists()
    names = read_metadata(tmp_path / "nemo" / NEMO2).tensors
    assert all(name.startswith("module.") for name in names)
    assert torch.load(tmp_path / "nemo" / NEMO2 / "common.pt") == {}
    assert verify(tmp_path / "nemo", source).identical
    import_hf(source, tmp_path / "ours")
    assert verify(tmp_path / "nemo", tmp_path / "ours").identical


def test_a_damaged_import_for_nemo_2_is_refused_by_its_hash(source: Path, tmp_path: Path) -> None:
    import_hf(source, tmp_path / "nemo", nemo2=True)
    path = sorted((tmp_path / "nemo" / NEMO2).glob("*.distcp"))[0]
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match=path.name):
        export_hf(tmp_path / "nemo", tmp_path / "out")


@pytest.mark.parametrize("within", ["", NEMO2])
def test_its_checkpoint_is_exported_without_a_reference(
    source: Path, checkpoint: Path, tmp_path: Path, within: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The model's longest sequence is stated, too."""
    export_hf(checkpoint / within, tmp_path / "out")
    assert verify(source, tmp_path / "out").identical
    assert verify(checkpoint, source).identical
    assert "longest sequence" not in capsys.readouterr().err
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
    assert f"checkpoint `{checkpoint.name}`" in (tmp_path / "out" / "README.md").read_text()


def test_what_it_states_is_compared(source: Path, checkpoint: Path) -> None:
    edit(checkpoint, max_position_embeddings=16, rotary_base=500.0)
    assert sorted(verify(source, checkpoint).config) == ["max_position_embeddings", "rope_theta"]


def edit(checkpoint: Path, **values: object) -> None:
    path = checkpoint / "context" / MODEL_CONFIG
    path.write_text(yaml.safe_dump({"config": yaml.safe_load(path.read_text())["config"] | values}))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"add_qkv_bias": True}, "add_qkv_bias is true"),
        ({"seq_len_interpolation_factor": 4.0}, "seq_len_interpolation_factor is 4.0"),
        ({"max_position_embeddings": None}, "max_position_embeddings is missing"),
        ({"hidden_size": 32}, "by the configuration"),
    ],
)
def test_another_model_is_refused_by_name(
    checkpoint: Path, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    edit(checkpoint, **values)
    with pytest.raises(UserError, match=message):
        export_hf(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fuzz_model_config(fuzz: Callable[..., None], checkpoint: Path) -> None:
    context = checkpoint / "context"
    fuzz(context / MODEL_CONFIG, lambda: read_model_config(context), share=4)
