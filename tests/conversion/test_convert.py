"""The bridge: bit for bit there and back, and nothing taken that is not a whole Qwen3."""

import json
import logging
import re
import shutil
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict_saver import save

from pdapt.conversion import convert
from pdapt.conversion.checkpoint_as_hf import Unfolded
from pdapt.conversion.convert import export_hf, import_hf
from pdapt.conversion.distcp_read import FORMAT, Checkpoint
from pdapt.conversion.tensor_names import EMBEDDING, megatron_shapes
from pdapt.core.checkpoint import HF, RELEASE
from pdapt.core.errors import UserError
from pdapt.core.files import sha256
from pdapt.core.hf.writer import Writer
from pdapt.core.manifest import fingerprint
from pdapt.core.qwen3 import read_config

Maker = Callable[..., Path]


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {name: t for path in folder.glob("*.safetensors") for name, t in load_file(path).items()}


def assert_identical(first: Path, second: Path) -> None:
    a, b = tensors(first), tensors(second)
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        assert torch.equal(a[name], b[name]), name


def edit_config(folder: Path, **values: object) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("tied", [True, False])
def test_an_import_exported_again_is_bit_identical(tiny_qwen3: Maker, tmp_path: Path, tied: bool, dtype: str) -> None:
    source = tiny_qwen3(tied=tied, dtype=dtype)
    import_hf(source, tmp_path / "mcore")
    export_hf(tmp_path / "mcore", tmp_path / "back")
    assert_identical(source, tmp_path / "back")
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json"):
        assert (tmp_path / "back" / name).read_bytes() == (source / name).read_bytes()
    config = json.loads((source / "config.json").read_text())
    both = {"rope_theta": 1e6, "rope_parameters": config["rope_parameters"], "dtype": dtype, "torch_dtype": dtype}
    assert json.loads((tmp_path / "back" / "config.json").read_text()) == config | both


def test_transformers_loads_the_export_without_a_missing_or_unexpected_tensor(
    tiny_qwen3: Maker, tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    from transformers import AutoTokenizer, Qwen3ForCausalLM

    source = tiny_qwen3(tied=False)
    import_hf(source, tmp_path / "mcore")
    export_hf(tmp_path / "mcore", tmp_path / "back")
    loaded: Any = Qwen3ForCausalLM.from_pretrained(tmp_path / "back", output_loading_info=True)
    info = loaded[1]
    assert not any(info[name] for name in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert AutoTokenizer.from_pretrained(tmp_path / "back")("dose")["input_ids"]
    assert not [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert not [str(warning.message) for warning in recwarn if "torch.jit" not in str(warning.message)]


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
    # What vLLM's loader goes by: every shard is in the index, holds what the index says, and is torch's.
    shards = {path.name for path in (tmp_path / "sharded").glob("*.safetensors")}
    assert set(index["weight_map"].values()) == shards
    assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in tensors(source).values())
    for shard in shards:
        with safe_open(tmp_path / "sharded" / shard, framework="pt") as file:
            assert file.metadata() == {"format": "pt"}
            assert set(file.keys()) == {name for name, held in index["weight_map"].items() if held == shard}
    import_hf(tmp_path / "sharded", tmp_path / "again")
    export_hf(tmp_path / "again", tmp_path / "back")
    assert_identical(source, tmp_path / "back")


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
    with pytest.raises(UserError, match=r"mlp\.(gate|up|down)_proj\.weight is \(.*\) in the file, but \("):
        import_hf(source, tmp_path / "out")


@pytest.mark.parametrize("what", ["folder", "format", "fsdp", "configuration"])
def test_what_cannot_be_exported_is_said(tiny_qwen3: Maker, tmp_path: Path, what: str) -> None:
    import_hf(tiny_qwen3(), tmp_path / "mcore")
    if what == "folder":
        with pytest.raises(UserError, match=r"not a Megatron checkpoint(.|\n)*which has no \.metadata"):
            export_hf(tmp_path, tmp_path / "out")
    elif what == "format":
        (tmp_path / "mcore" / "release" / "metadata.json").write_text('{"sharded_backend": "fsdp_dtensor"}')
        with pytest.raises(UserError, match="format is 'fsdp_dtensor'"):
            export_hf(tmp_path / "mcore", tmp_path / "out", verify=False)
    elif what == "fsdp":  # a run with parallel.fsdp saves like this
        (tmp_path / "mcore" / "release" / "metadata.json").unlink()
        with pytest.raises(UserError, match=r"Megatron-FSDP, in its own format \(fsdp_dtensor\)"):
            export_hf(tmp_path / "mcore", tmp_path / "out", verify=False)
    else:
        edit_config(tmp_path / "mcore" / "hf", hidden_size=32)
        with pytest.raises(UserError, match=r"in the checkpoint, and \(.*\) by the configuration"):
            export_hf(tmp_path / "mcore", tmp_path / "out", verify=False)
    assert not (tmp_path / "out").exists()


def test_a_tied_head_that_is_another_tensor_is_refused(tiny_qwen3: Maker, tmp_path: Path) -> None:
    source = tiny_qwen3(tied=True)
    weights = tensors(source)
    head = weights["model.embed_tokens.weight"].clone()
    save_file(weights | {"lm_head.weight": head}, source / "model.safetensors", metadata={"format": "pt"})
    import_hf(source, tmp_path / "same")
    head[3, 5] += 1
    save_file(weights | {"lm_head.weight": head}, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match="ties the output layer to the embedding"):
        import_hf(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("dtypes", "message"),
    [
        ({"model.norm.weight": torch.float64}, r"model\.norm\.weight has the type F64.*\n.*BF16, F16, F32"),
        ({"model.norm.weight": torch.float16}, "the tensors are of several types: F16, F32"),
    ],
)
def test_types_that_are_not_handled_are_named(
    tiny_qwen3: Maker, tmp_path: Path, dtypes: dict[str, torch.dtype], message: str
) -> None:
    source = tiny_qwen3()
    weights = tensors(source)
    save_file(
        weights | {name: weights[name].to(dtype) for name, dtype in dtypes.items()},
        source / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(UserError, match=re.compile(message, re.DOTALL)):
        import_hf(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def save_as(folder: Path, weights: dict[str, torch.Tensor], other: Checkpoint) -> None:
    """Save weights as torch does, in the format of another checkpoint."""
    with warnings.catch_warnings():  # one process saves the whole, which torch warns of although it is told so
        warnings.simplefilter("ignore")
        save(weights, checkpoint_id=folder, no_dist=True)
    shutil.copyfile(other.folder / FORMAT, folder / FORMAT)


def test_the_first_five_tensors_that_a_checkpoint_lacks_are_named(tiny_qwen3: Maker, tmp_path: Path) -> None:
    import_hf(tiny_qwen3(), tmp_path / "mcore")
    release = Checkpoint(tmp_path / "mcore" / RELEASE)
    shape = read_config(tmp_path / "mcore" / HF)
    names = list(megatron_shapes(shape))
    weights = release.read(names)
    for missing, more in ((1, ""), (5, ""), (6, " and 1 more"), (8, " and 3 more")):
        save_as(tmp_path / str(missing), {name: weights[name] for name in names[missing:]}, release)
        lacking = ", ".join(names[: min(5, missing)])
        with pytest.raises(UserError, match=f"the checkpoint has no tensor {re.escape(lacking)}{more}\n"):
            Unfolded(Checkpoint(tmp_path / str(missing)), shape)


def test_only_the_vocabulary_may_be_padded(tiny_qwen3: Maker, tmp_path: Path) -> None:
    import_hf(tiny_qwen3(), tmp_path / "mcore")
    release = Checkpoint(tmp_path / "mcore" / RELEASE)
    shape = read_config(tmp_path / "mcore" / HF)
    weights = release.read(list(release.entries))
    norm = "decoder.final_layernorm.weight"
    for number, (name, change, fits) in enumerate(
        (
            (EMBEDDING, lambda rows: torch.cat([rows, rows[:3]]), True),
            (EMBEDDING, lambda rows: rows[:-1], False),
            (norm, lambda rows: torch.cat([rows, rows[:3]]), False),
        )
    ):
        save_as(tmp_path / str(number), weights | {name: change(weights[name])}, release)
        if fits:
            Unfolded(Checkpoint(tmp_path / str(number)), shape)
            continue
        with pytest.raises(UserError, match=f"{name} has the shape .* in the checkpoint, and .* by the configuration"):
            Unfolded(Checkpoint(tmp_path / str(number)), shape)


@pytest.mark.parametrize(
    ("dtypes", "message"),
    [
        ([torch.float64], "the checkpoint's weights are of 1 type: float64"),
        ([torch.bfloat16, torch.float32], "the checkpoint's weights are of 2 types: bfloat16, float32"),
    ],
)
def test_a_checkpoint_of_types_that_are_not_handled_is_refused(
    tiny_qwen3: Maker, tmp_path: Path, dtypes: list[torch.dtype], message: str
) -> None:
    import_hf(tiny_qwen3(dtype="bfloat16"), tmp_path / "mcore")
    release = Checkpoint(tmp_path / "mcore" / RELEASE)
    weights = release.read(list(release.entries))
    shape = read_config(tmp_path / "mcore" / HF)
    assert Unfolded(release, shape).dtype == torch.bfloat16
    typed = {name: tensor.to(dtypes[place % len(dtypes)]) for place, (name, tensor) in enumerate(weights.items())}
    save_as(tmp_path / "other", typed, release)
    with pytest.raises(UserError, match=f"{message}(.|\n)*allowed: all of one type: bfloat16, float16, float32"):
        Unfolded(Checkpoint(tmp_path / "other"), shape)


def test_an_output_folder_that_is_not_empty_is_left_alone(tiny_qwen3: Maker, tmp_path: Path) -> None:
    source = tiny_qwen3()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(UserError, match="the output exists and no stage wrote it"):
        import_hf(source, tmp_path / "out")
    import_hf(source, tmp_path / "mcore")
    with pytest.raises(UserError, match="the output exists and no stage wrote it"):
        export_hf(tmp_path / "mcore", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "ema"}, "there are no weights called 'ema'"),
        ({"source": "master"}, "has no optimizer state"),
        ({"dtype": "float8"}, "weights cannot be written as 'float8'"),
    ],
)
def test_sources_and_types_that_there_are_not_are_refused(
    tiny_qwen3: Maker, tmp_path: Path, options: dict[str, str], message: str
) -> None:
    import_hf(tiny_qwen3(), tmp_path / "mcore")
    with pytest.raises(UserError, match=message):
        export_hf(tmp_path / "mcore", tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_megatrons_older_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "iter_0000001" / "mp_rank_00").mkdir(parents=True)
    with pytest.raises(UserError, match=r"not a Megatron checkpoint.*\n(.*\n)*.*mp_rank_"):
        export_hf(tmp_path / "iter_0000001", tmp_path / "out")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_type_of_what_is_written_is_chosen(tiny_qwen3: Maker, tmp_path: Path, dtype: str) -> None:
    source = tiny_qwen3(tied=False)
    import_hf(source, tmp_path / "mcore")
    export_hf(tmp_path / "mcore", tmp_path / "out", dtype=dtype)
    expected = {name: tensor.to(getattr(torch, dtype)) for name, tensor in tensors(source).items()}
    found = tensors(tmp_path / "out")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["dtype"] == config["torch_dtype"] == dtype


def test_what_fp16_does_not_hold_is_refused(tiny_qwen3: Maker, tmp_path: Path) -> None:
    source = tiny_qwen3()
    weights = tensors(source)
    weights["model.norm.weight"][0] = 1e5
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    import_hf(source, tmp_path / "mcore")
    with pytest.raises(UserError, match=r"model\.norm\.weight has values that are too large for FP16"):
        export_hf(tmp_path / "mcore", tmp_path / "out", dtype="float16")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("tied", [True, False])
def test_a_padded_vocabulary_is_cut_to_the_configurations(tiny_qwen3: Maker, tmp_path: Path, tied: bool) -> None:
    source = tiny_qwen3(tied=tied)
    import_hf(source, tmp_path / "mcore")
    edit_config(tmp_path / "mcore" / "hf", vocab_size=1000)
    with pytest.raises(UserError, match=r"config\.json: another SHA-256 than was written with it"):
        export_hf(tmp_path / "mcore", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] in ([], [".out.lock"])
    export_hf(tmp_path / "mcore", tmp_path / "out", verify=False)
    found, expected = tensors(tmp_path / "out"), tensors(source)
    for name in ("model.embed_tokens.weight", *(() if tied else ("lm_head.weight",))):
        assert torch.equal(found[name], expected[name][:1000])


def test_what_torch_reads_of_a_checkpoint_is_what_is_read_here(tiny_qwen3: Maker, tmp_path: Path) -> None:
    """torch's own reader, on a checkpoint whose chunks overlap no other's."""
    from torch.distributed.checkpoint.filesystem import FileSystemReader
    from torch.distributed.checkpoint.state_dict_loader import load

    import_hf(tiny_qwen3(tied=False, dtype="bfloat16"), tmp_path / "mcore")
    checkpoint = Checkpoint(tmp_path / "mcore" / "release")
    theirs = {
        name: torch.empty(entry.size, dtype=getattr(torch, entry.dtype)) for name, entry in checkpoint.entries.items()
    }
    load(theirs, storage_reader=FileSystemReader(tmp_path / "mcore" / "release"), no_dist=True)
    ours = checkpoint.read(list(theirs))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_hashes_in_the_manifest_are_those_of_the_files(tiny_qwen3: Maker, tmp_path: Path) -> None:
    """They are taken while the files are written, not from the files."""
    source = tiny_qwen3()
    for folder, manifest in (
        (tmp_path / "mcore", import_hf(source, tmp_path / "mcore")),
        (tmp_path / "out", export_hf(tmp_path / "mcore", tmp_path / "out")),
    ):
        for name, expected in manifest.outputs.items():
            assert sha256(folder / name) == expected, name


def test_the_same_model_gives_the_same_bytes_wherever_they_are_written(tiny_qwen3: Maker, tmp_path: Path) -> None:
    source = tiny_qwen3(num_hidden_layers=4)
    places = [tmp_path / "base", tmp_path / "elsewhere" / "of-another-name"]
    manifests = [import_hf(source, place) for place in places]
    assert manifests[0].outputs == manifests[1].outputs
    assert "release/.metadata" in manifests[0].outputs
    for name in manifests[0].outputs:
        assert (places[0] / name).read_bytes() == (places[1] / name).read_bytes(), name
    assert fingerprint(places[0]) == fingerprint(places[1])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "name", ["model.layers.1.self_attn.k_proj.weight", "model.layers.0.mlp.up_proj.weight", "model.norm.weight"]
)
def test_a_weight_that_is_no_number_is_refused_by_name(
    name: str, value: float, tiny_qwen3: Maker, tmp_path: Path
) -> None:
    """Also where it is one of several that become one of Megatron's."""
    source = tiny_qwen3(dtype="bfloat16")
    weights = tensors(source)
    weights[name].view(-1)[-1] = value
    save_file(weights, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=f"{re.escape(name)} holds 1 value that is not a finite number.* {value}"):
        import_hf(source, tmp_path / "base")
    assert not (tmp_path / "base").exists()
