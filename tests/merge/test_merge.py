"""The merge stage against an independent SLERP, the parents themselves, and mergekit's own command."""

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Qwen3ForCausalLM

from pdapt.core.errors import UserError
from pdapt.core.files import list_files, sha256
from pdapt.core.hf.config import SIDE_FILES
from pdapt.merge.run import merge

Maker = Callable[..., Path]


def slerp(a: torch.Tensor, b: torch.Tensor, t: float) -> torch.Tensor:
    """SLERP in FP64: the angle by atan2, sin((1-t) angle)/sin(angle) as cos(t angle) - cot(angle) sin(t angle)."""
    x, y = a.double().flatten(), b.double().flatten()
    cosine = float(x @ y / (x.norm() * y.norm()))
    across = y / y.norm() - cosine * x / x.norm()
    angle = math.atan2(float(across.norm()), cosine)
    share_y = math.sin(t * angle) / math.sin(angle)
    share_x = math.cos(t * angle) - math.cos(angle) * share_y
    return (x + t * (y - x) if abs(cosine) > 0.9995 else share_x * x + share_y * y).view(a.shape)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def bf16_steps(value: torch.Tensor, exact: torch.Tensor) -> torch.Tensor:
    """Distance in units of the last place of BF16 (8 significant bits) at the exact value."""
    ulp = torch.exp2(torch.floor(torch.log2(exact.abs().clamp_min(1e-30))) - 7)
    return (value.double() - exact).abs() / ulp


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("t", [0.3, 0.5])
def test_fp32_merge_is_slerp(tiny_qwen3: Maker, tmp_path: Path, tied: bool, t: float) -> None:
    base, tuned = tiny_qwen3(0, tied), tiny_qwen3(1, tied)
    merge(base, tuned, tmp_path / "merged", t=t)
    first, second, merged = weights(base), weights(tuned), weights(tmp_path / "merged")
    assert merged.keys() == first.keys()
    for name, tensor in merged.items():
        torch.testing.assert_close(tensor.double(), slerp(first[name], second[name], t), rtol=0, atol=1e-6, msg=name)


def test_bf16_merge_is_slerp_to_the_last_place(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned = tiny_qwen3(0, dtype="bfloat16"), tiny_qwen3(1, dtype="bfloat16")
    merge(base, tuned, tmp_path / "merged", t=0.4)
    first, second, merged = weights(base), weights(tuned), weights(tmp_path / "merged")
    for name, tensor in merged.items():
        assert tensor.dtype == torch.bfloat16
        assert bf16_steps(tensor, slerp(first[name], second[name], 0.4)).max() <= 1, name


def test_nearly_parallel_parents_are_interpolated_linearly(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned = tiny_qwen3(0), tiny_qwen3(0)
    first = weights(base)
    second = {name: tensor * 3 for name, tensor in first.items()}
    save_file(second, tuned / "model.safetensors", metadata={"format": "pt"})
    merge(base, tuned, tmp_path / "merged", t=0.25)
    for name, tensor in weights(tmp_path / "merged").items():
        torch.testing.assert_close(tensor, first[name] * 1.5, rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_ends_are_the_parents(tiny_qwen3: Maker, tmp_path: Path, tied: bool, dtype: str) -> None:
    parents = tiny_qwen3(0, tied, dtype), tiny_qwen3(1, tied, dtype)
    for t, parent in zip((0, 1), parents, strict=True):
        merge(*parents, tmp_path / f"merged-{t}", t=t)
        expected, merged = weights(parent), weights(tmp_path / f"merged-{t}")
        assert merged.keys() == expected.keys()
        assert all(torch.equal(merged[name], expected[name]) for name in expected)


@pytest.mark.parametrize("tied", [True, False])
def test_transformers_loads_the_result_without_a_word(
    tiny_qwen3: Maker, tmp_path: Path, tied: bool, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    base, tuned = tiny_qwen3(0, tied, "bfloat16"), tiny_qwen3(1, tied, "bfloat16")
    merge(base, tuned, tmp_path / "merged")
    recwarn.clear()
    with caplog.at_level("WARNING"):
        loaded: Any = Qwen3ForCausalLM.from_pretrained(tmp_path / "merged", output_loading_info=True)
        AutoTokenizer.from_pretrained(tmp_path / "merged")
    model, notes = loaded
    assert not caplog.records
    assert not recwarn.list
    assert not any(notes.values()), notes
    assert model.dtype == torch.bfloat16
    assert model.config.tie_word_embeddings is tied
    assert model.config.rope_parameters == Qwen3ForCausalLM.from_pretrained(base).config.rope_parameters


def test_a_merge_has_the_bases_tokenizer_and_a_card_without_paths(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned, out = tiny_qwen3(0), tiny_qwen3(1), tmp_path / "merged"
    manifest = merge(base, tuned, out, t=0.5)
    copied = [name for name in SIDE_FILES if (base / name).is_file()]
    assert {"tokenizer.json", "tokenizer_config.json", "generation_config.json"} <= set(copied)
    for name in copied:
        assert sha256(out / name) == sha256(base / name)
    card = (out / "README.md").read_text(encoding="utf-8")
    assert manifest.inputs["base"] in card
    assert manifest.inputs["tuned"] in card
    assert manifest.counts["parameters"] == Qwen3ForCausalLM.from_pretrained(base).num_parameters()
    texts = [path for path in list_files(out) if path.suffix in {".md", ".yml", ".json"}]
    assert not [path.name for path in texts if str(tmp_path) in path.read_text(encoding="utf-8")]


def test_a_finished_merge_is_not_redone_and_another_is_refused(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned, out = tiny_qwen3(0), tiny_qwen3(1), tmp_path / "merged"
    manifest = merge(base, tuned, out, t=0.5)
    written = (out / "model.safetensors").stat().st_mtime_ns
    assert merge(base, tuned, out, t=0.5) == manifest
    assert (out / "model.safetensors").stat().st_mtime_ns == written
    with pytest.raises(UserError, match=r"made by another run: t: 0\.5 there, 0\.6 now"):
        merge(base, tuned, out, t=0.6)


def test_an_interrupted_merge_leaves_no_trace_in_the_next(
    tiny_qwen3: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, tuned = tiny_qwen3(0), tiny_qwen3(1)
    undisturbed = merge(base, tuned, tmp_path / "model").outputs
    (tmp_path / "model").rename(tmp_path / "undisturbed")

    def stop_half_way(_config: object, work: str, _options: object) -> None:
        (Path(work) / "model-1.safetensors").write_bytes(b"half a shard")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mergekit.merge.run_merge", stop_half_way)
        with pytest.raises(KeyboardInterrupt):
            merge(base, tuned, tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert merge(base, tuned, tmp_path / "model").outputs == undisturbed


def test_parents_are_found_though_mergekit_would_split_their_paths(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base = tiny_qwen3(0).rename(tmp_path / "base@main")
    tuned = tiny_qwen3(1).rename(tmp_path / "base+tuned")
    merge(base, tuned, tmp_path / "merged", t=1)
    assert torch.equal(weights(tmp_path / "merged")["model.norm.weight"], weights(tuned)["model.norm.weight"])


def test_a_tied_output_layer_that_one_parent_writes_out_is_merged_as_the_embedding(
    tiny_qwen3: Maker, tmp_path: Path
) -> None:
    base, tuned = tiny_qwen3(0), tiny_qwen3(1)
    tensors = weights(tuned)
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
    save_file(tensors, tuned / "model.safetensors", metadata={"format": "pt"})
    merge(base, tuned, tmp_path / "merged")
    model = Qwen3ForCausalLM.from_pretrained(tmp_path / "merged")
    expected = slerp(weights(base)["model.embed_tokens.weight"], tensors["model.embed_tokens.weight"], 0.5)
    torch.testing.assert_close(model.lm_head.weight.double(), expected, rtol=0, atol=1e-6)


def test_sharded_parents_merge_as_whole_ones(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned = tiny_qwen3(0), tiny_qwen3(1)
    merge(base, tuned, tmp_path / "whole")
    for folder in (base, tuned):
        Qwen3ForCausalLM.from_pretrained(folder).save_pretrained(
            tmp_path / "sharded" / folder.name, max_shard_size="100KB"
        )
        for name in SIDE_FILES:
            if (folder / name).is_file():
                shutil.copy(folder / name, tmp_path / "sharded" / folder.name)
    parents = [tmp_path / "sharded" / folder.name for folder in (base, tuned)]
    assert len(list(parents[0].glob("model-*.safetensors"))) > 2
    merge(*parents, tmp_path / "merged")
    assert sha256(tmp_path / "merged" / "model.safetensors") == sha256(tmp_path / "whole" / "model.safetensors")


@pytest.mark.slow
def test_mergekits_own_command_gives_the_same_files(tiny_qwen3: Maker, tmp_path: Path) -> None:
    """The configuration kept beside the result is all that mergekit's command needs."""
    bench = tmp_path / "bench"
    bench.mkdir()
    tiny_qwen3(0, dtype="bfloat16").rename(bench / "base")
    tiny_qwen3(1, dtype="bfloat16").rename(bench / "tuned")
    merge(bench / "base", bench / "tuned", tmp_path / "merged", t=0.35)
    config = tmp_path / "merged" / "mergekit_config.yml"
    command = [sys.executable, "-m", "mergekit.scripts.run_yaml", str(config), "theirs", "--device", "cpu", "--quiet"]
    # How many threads there are decides the order of its sums, and so their last bits.
    command += ["--num-threads", str(torch.get_num_threads())]
    subprocess.run(command, cwd=bench, check=True, capture_output=True)
    for name in ("model.safetensors", "tokenizer.json", "generation_config.json", config.name):
        assert sha256(bench / "theirs" / name) == sha256(tmp_path / "merged" / name), name


def rewrite_config(folder: Path, **changes: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changes))


def rewrite_tokenizer(folder: Path) -> None:
    value = json.loads((folder / "tokenizer.json").read_text())
    ids = value["model"]["vocab"]
    first, second = list(ids)[:2]
    ids[first], ids[second] = ids[second], ids[first]
    (folder / "tokenizer.json").write_text(json.dumps(value))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def drop_tensor(folder: Path) -> None:
    tensors = weights(folder)
    del tensors["model.norm.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


SPOILED = {
    "another kind of model": (lambda folder: rewrite_config(folder, model_type="llama"), "the model is not Qwen3"),
    "another RoPE": (
        lambda folder: rewrite_config(folder, rope_parameters={"rope_type": "default", "rope_theta": 5e6}),
        "rope_base 1000000.0 and 5000000.0",
    ),
    "another tokenizer": (rewrite_tokenizer, "tokenizers differ"),
    "no tokenizer": (lambda folder: (folder / "tokenizer.json").unlink(), "no such file: tokenizer.json"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "there are no weights"),
    "cut weights": (lambda folder: truncate(folder / "model.safetensors"), "not a complete safetensors file"),
    "a tensor less": (drop_tensor, "the tensors are not Qwen3's: missing: model.norm.weight"),
}


@pytest.mark.parametrize("spoil", SPOILED)
def test_a_spoiled_parent_is_refused(tiny_qwen3: Maker, tmp_path: Path, spoil: str) -> None:
    base, tuned = tiny_qwen3(0), tiny_qwen3(1)
    change, message = SPOILED[spoil]
    change(tuned)
    refused(base, tuned, tmp_path, message)


def refused(base: Path, tuned: Path, tmp_path: Path, message: str, **options: object) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UserError, match=message):
        merge(base, tuned, tmp_path / "merged", **options)  # pyright: ignore[reportArgumentType]
    assert sorted(tmp_path.rglob("*")) == before, "something was written"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"num_hidden_layers": 3}, "layers 2 and 3"),
        ({"vocab_size": 1040}, "vocab 1024 and 1040"),
        ({"intermediate_size": 192}, "ffn 160 and 192"),
        ({"tied": False}, "tied True and False"),
        ({"dtype": "bfloat16"}, "the weights are F32 in .* and BF16 in "),
    ],
)
def test_another_architecture_is_refused(
    tiny_qwen3: Maker, tmp_path: Path, overrides: dict[str, object], message: str
) -> None:
    refused(tiny_qwen3(0), tiny_qwen3(1, **overrides), tmp_path, message)


def test_parents_that_lack_the_same_tensor_are_refused(tiny_qwen3: Maker, tmp_path: Path) -> None:
    parents = tiny_qwen3(0), tiny_qwen3(1)
    for folder in parents:
        drop_tensor(folder)
    refused(*parents, tmp_path, "missing: model.norm.weight")


def test_a_missing_shard_and_a_lying_index_are_refused(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base, tuned = tiny_qwen3(0), tiny_qwen3(1)
    Qwen3ForCausalLM.from_pretrained(tuned).save_pretrained(tuned, max_shard_size="100KB")
    assert (tuned / "model.safetensors").is_file()
    refused(base, tuned, tmp_path, "model.safetensors lies beside .*, which names other files")
    (tuned / "model.safetensors").unlink()
    index = json.loads((tuned / "model.safetensors.index.json").read_text())
    shards = sorted(set(index["weight_map"].values()))
    index["weight_map"]["model.norm.weight"], right = shards[0], index["weight_map"]["model.norm.weight"]
    assert right != shards[0]
    (tuned / "model.safetensors.index.json").write_text(json.dumps(index))
    refused(base, tuned, tmp_path, f"puts model.norm.weight in {shards[0]}, which lacks it")
    (tuned / "model.safetensors.index.json").write_text("{}")
    refused(base, tuned, tmp_path, "has no weight_map")
    (tuned / "model.safetensors.index.json").write_text(json.dumps(index))
    (tuned / shards[1]).unlink()
    refused(base, tuned, tmp_path, f"1 of {len(shards)} shards cannot be found: {shards[1]}")


@pytest.mark.parametrize("t", [-0.1, 1.01, math.nan, math.inf])
def test_t_out_of_range_is_refused(tiny_qwen3: Maker, tmp_path: Path, t: float) -> None:
    refused(tiny_qwen3(0), tiny_qwen3(1), tmp_path, "allowed: from 0", t=t)


def test_an_unknown_method_is_refused(tiny_qwen3: Maker, tmp_path: Path) -> None:
    refused(
        tiny_qwen3(0), tiny_qwen3(1), tmp_path, "allowed: slerp, linear, .*\n.*did you mean 'slerp'", method="slurp"
    )


def test_a_model_is_not_merged_with_itself(tiny_qwen3: Maker, tmp_path: Path) -> None:
    base = tiny_qwen3(0)
    refused(base, base, tmp_path, "the same folder")
