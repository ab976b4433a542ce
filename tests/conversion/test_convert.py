"""The bridge: bit for bit there and back, and nothing taken that is not a whole Qwen3."""

import json
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pdapt.conversion import convert
from pdapt.conversion.convert import export_hf, import_hf
from pdapt.conversion.distcp import Checkpoint
from pdapt.core.errors import UserError
from pdapt.core.hf_weights import Writer

Maker = Callable[..., Path]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {name: t for path in folder.glob("*.safetensors") for name, t in load_file(path).items()}


def assert_identical(first: Path, second: Path) -> None:
    a, b = tensors(first), tensors(second)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        assert torch.equal(a[name], b[name]), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [True, False])
def test_there_and_back_is_bit_identical(tiny_qwen3: Maker, tmp_path: Path, tied: bool, dtype: str) -> None:
    source = tiny_qwen3(tied=tied, dtype=dtype)
    import_hf(source, tmp_path / "mcore")
    export_hf(tmp_path / "mcore", tmp_path / "back")
    assert_identical(source, tmp_path / "back")
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / "back" / name).read_bytes() == (source / name).read_bytes()


def test_transformers_loads_the_export_without_a_missing_or_unexpected_tensor(
    tiny_qwen3: Maker, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer, Qwen3ForCausalLM

    source = tiny_qwen3(tied=False)
    import_hf(source, tmp_path / "mcore")
    export_hf(tmp_path / "mcore", tmp_path / "back")
    loaded: Any = Qwen3ForCausalLM.from_pretrained(tmp_path / "back", output_loading_info=True)
    info = loaded[1]
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert AutoTokenizer.from_pretrained(tmp_path / "back")("dose")["input_ids"]


def test_shards_are_read_and_written_with_an_index(
    tiny_qwen3: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tiny_qwen3()
    import_hf(source, tmp_path / "mcore")
    monkeypatch.setattr(convert, "Writer", partial(Writer, shard_bytes=100_000))
    export_hf(tmp_path / "mcore", tmp_path / "sharded")
    assert len(list((tmp_path / "sharded").glob("model-*-of-*.safetensors"))) > 1
    assert_identical(source, tmp_path / "sharded")
    index = json.loads((tmp_path / "sharded" / "model.safetensors.index.json").read_text())
    assert index["weight_map"].keys() == tensors(source).keys()
    import_hf(tmp_path / "sharded", tmp_path / "again")
    export_hf(tmp_path / "again", tmp_path / "back")
    assert_identical(source, tmp_path / "back")


def edit_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_another_architecture_is_named(tiny_qwen3: Maker, tmp_path: Path) -> None:
    source = tiny_qwen3()
    edit_config(source, model_type="llama", architectures=["LlamaForCausalLM"])
    with pytest.raises(UserError, match=r"not Qwen3.*llama.*LlamaForCausalLM"):
        import_hf(source, tmp_path / "out")


def test_a_missing_and_an_unknown_tensor_are_named(tiny_qwen3: Maker, tmp_path: Path) -> None:
    source = tiny_qwen3()
    weights = tensors(source)
    weights["model.layers.0.extra"] = weights.pop("model.norm.weight")
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"missing: model\.norm\.weight; unknown: model\.layers\.0\.extra"):
        import_hf(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_another_shape_is_named(tiny_qwen3: Maker, tmp_path: Path) -> None:
    source = tiny_qwen3()
    edit_config(source, intermediate_size=96)
    with pytest.raises(UserError, match=r"mlp\.(gate|up|down)_proj\.weight is \("):
        import_hf(source, tmp_path / "out")


def test_a_truncated_file_is_refused(tiny_qwen3: Maker, tmp_path: Path) -> None:
    source = tiny_qwen3()
    path = source / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(UserError, match="not a whole safetensors file"):
        import_hf(source, tmp_path / "out")


def test_an_index_may_not_leave_its_folder(tiny_qwen3: Maker, tmp_path: Path) -> None:
    source = tiny_qwen3()
    index = {"weight_map": dict.fromkeys(tensors(source), "../model.safetensors")}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UserError, match="outside its folder"):
        import_hf(source, tmp_path / "out")


def test_metadata_that_would_run_code_is_refused(tiny_qwen3: Maker, tmp_path: Path) -> None:
    import_hf(tiny_qwen3(), tmp_path / "mcore")
    ran = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {ran}",)

    (tmp_path / "mcore" / "release" / ".metadata").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match=r"asks for (posix|os|nt)\.system"):
        Checkpoint(tmp_path / "mcore" / "release")
    with pytest.raises(UserError, match="refused"):
        export_hf(tmp_path / "mcore", tmp_path / "out")
    assert not ran.exists()


@pytest.mark.parametrize("content", [b"", b"\x80\x04", pickle.dumps({"a": 1})])
def test_metadata_that_is_none_is_said(tiny_qwen3: Maker, tmp_path: Path, content: bytes) -> None:
    import_hf(tiny_qwen3(), tmp_path / "mcore")
    (tmp_path / "mcore" / "release" / ".metadata").write_bytes(content)
    with pytest.raises(UserError, match=r"the checkpoint's \.metadata"):
        export_hf(tmp_path / "mcore", tmp_path / "out")


@pytest.mark.parametrize("what", ["folder", "format", "fsdp", "configuration"])
def test_what_cannot_be_exported_is_said(tiny_qwen3: Maker, tmp_path: Path, what: str) -> None:
    import_hf(tiny_qwen3(), tmp_path / "mcore")
    if what == "folder":
        with pytest.raises(UserError, match="no Megatron checkpoint"):
            export_hf(tmp_path, tmp_path / "out")
    elif what == "format":
        (tmp_path / "mcore" / "release" / "metadata.json").write_text('{"sharded_backend": "fsdp_dtensor"}')
        with pytest.raises(UserError, match="format is 'fsdp_dtensor'"):
            export_hf(tmp_path / "mcore", tmp_path / "out")
    elif what == "fsdp":  # a run with parallel.fsdp saves like this
        (tmp_path / "mcore" / "release" / "metadata.json").unlink()
        with pytest.raises(UserError, match=r"Megatron-FSDP, in its own format \(fsdp_dtensor\)"):
            export_hf(tmp_path / "mcore", tmp_path / "out")
    else:
        edit_config(tmp_path / "mcore" / "hf", hidden_size=32)
        with pytest.raises(UserError, match="the configuration makes it"):
            export_hf(tmp_path / "mcore", tmp_path / "out")
    assert not (tmp_path / "out").exists()


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
    assert_identical(tmp_path / "out", tmp_path / "other")
