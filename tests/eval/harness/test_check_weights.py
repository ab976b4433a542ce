"""Whether a model is whole: against transformers' own report of a load, on several architectures."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from pdapt.core.errors import UserError
from pdapt.core.files import read_json
from pdapt.eval.benchmark.run import run_benchmark
from pdapt.eval.harness.check_weights import check_weights
from pdapt.eval.harness.job import LmEvalJob
from pdapt.eval.heldout import proxy
from pdapt.eval.heldout.build_tasks import build_tasks
from pdapt.eval.heldout.evaluate import evaluate
from pdapt.eval.heldout.proxy import run_proxy
from pdapt.eval.models import Model, Role
from pdapt.eval.tasks.all_tasks import choose_tasks

SHAPE: dict[str, Any] = {
    "vocab_size": 200,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
}
FAMILIES = {
    "Llama": {},
    "Mistral": {},
    "Gemma": {},
    "Gemma2": {},
    "Qwen3": {"tie_word_embeddings": True},
    "Mixtral": {"num_local_experts": 4},
}
Weights = dict[str, torch.Tensor]
Maker = Callable[..., Path]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A tiny random model of a family, saved by transformers."""
    place = tmp_path_factory.mktemp("models")

    def make(family: str, shards: str = "1GB") -> Path:
        folder = place / f"{family}-{shards}"
        if not folder.exists():
            config = getattr(transformers, f"{family}Config")(**SHAPE | FAMILIES[family])
            transformers.AutoModelForCausalLM.from_config(config).save_pretrained(folder, max_shard_size=shards)
        return folder

    return make


def _changed(folder: Path, out: Path, change: Callable[[Weights], Any], **config: Any) -> Path:
    out.mkdir()
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(read_json(folder / "config.json") | config))
    return out


def _told(folder: Path) -> dict[str, Any]:
    """The report of transformers on a load, values and all."""
    loaded: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    return loaded[1]


def _refused(folder: Path) -> str:
    with pytest.raises(UserError) as refused:
        check_weights({"m": folder})
    return str(refused.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_whole_models_of_any_family_pass(models, family: str) -> None:
    check_weights({"m": models(family)})
    check_weights({"m": models(family, "20KB")})


@pytest.mark.parametrize("family", ["Llama", "Gemma", "Qwen3"])
def test_missing_and_unknown_tensors_are_those_that_transformers_reports(models, tmp_path: Path, family: str) -> None:
    """A layer's tensor that is not there would be drawn at random; the layers of a deeper model would be dropped."""
    name = "model.layers.1.mlp.up_proj.weight"
    spoilt = _changed(models(family), tmp_path / "missing", lambda weights: weights.pop(name))
    assert _told(spoilt)["missing_keys"] == {name}
    assert f"1 missing: {name}" in _refused(spoilt)
    config = {"num_hidden_layers": 1} | ({"layer_types": ["full_attention"]} if family == "Qwen3" else {})
    deeper = _changed(models(family), tmp_path / "deeper", lambda _: None, **config)
    dropped = _told(deeper)["unexpected_keys"]
    assert f"{len(dropped)} not of this model: {min(dropped)}" in _refused(deeper)


def test_experts_are_missed_by_name(models, tmp_path: Path) -> None:
    """transformers packs them into one tensor, and cannot where one is missing."""
    name = "model.layers.0.block_sparse_moe.experts.1.w1.weight"
    spoilt = _changed(models("Mixtral"), tmp_path / "m", lambda weights: weights.pop(name))
    assert "it cannot make model.layers.0.mlp.experts.gate_up_proj of the tensors that are there" in _refused(spoilt)


def test_a_missing_shard_and_a_tensor_missing_in_one_are_named(models, tmp_path: Path) -> None:
    folder = models("Llama", "20KB")
    spoilt = tmp_path / "m"
    spoilt.mkdir()
    shards = sorted(folder.glob("*.safetensors"))
    for path in (*shards, folder / "config.json", folder / "model.safetensors.index.json"):
        (spoilt / path.name).write_bytes(path.read_bytes())
    weights = load_file(spoilt / shards[1].name)
    dropped = min(weights)
    del weights[dropped]
    save_file(weights, spoilt / shards[1].name, metadata={"format": "pt"})
    assert f"the index puts {dropped} in {shards[1].name}" in _refused(spoilt)
    (spoilt / shards[1].name).write_bytes(shards[1].read_bytes()[:-8])
    assert f"{shards[1].name} is not a complete safetensors file" in _refused(spoilt)
    (spoilt / shards[1].name).unlink()
    assert f"1 of {len(shards)} shards cannot be found: {shards[1].name}" in _refused(spoilt)


def test_another_shape_a_nan_and_a_wrong_tie_are_named(models, tmp_path: Path) -> None:
    def spoil(name: str, family: str, key: str, value: torch.Tensor) -> str:
        return _refused(_changed(models(family), tmp_path / name, lambda weights: weights.update({key: value})))

    assert "model.norm.weight is (16,), config.json makes it (32,)" in spoil(
        "shape", "Llama", "model.norm.weight", torch.ones(16)
    )
    for number, value in enumerate((math.nan, math.inf, -math.inf)):
        for dtype in (torch.float32, torch.bfloat16, torch.float16):
            norm = torch.ones(32, dtype=dtype)
            norm[7] = value
            told = spoil(f"nan-{number}-{dtype}", "Mistral", "model.norm.weight", norm)
            assert "model.norm.weight holds a NaN or an infinity" in told
    head = load_file(models("Qwen3") / "model.safetensors")["model.embed_tokens.weight"].clone()
    same = _changed(models("Qwen3"), tmp_path / "same", lambda weights: weights.update({"lm_head.weight": head}))
    check_weights({"m": same})
    assert "config.json ties lm_head.weight" in spoil("tie", "Qwen3", "lm_head.weight", head + 1)


@pytest.mark.slow
@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "nothing"},
        {"model_type": "nothing", "auto_map": {"AutoConfig": "code.Config", "AutoModelForCausalLM": "code.Model"}},
        {"model_type": "t5"},
        {"hidden_size": "wide"},
        {"num_attention_heads": 0},
        {"num_hidden_layers": None},
    ],
)
def test_configurations_that_transformers_cannot_use_are_refused(
    models, tmp_path: Path, config: dict[str, Any]
) -> None:
    """None of them ends in a traceback, runs code of the folder, or asks on the terminal whether it may."""
    assert "transformers cannot load the model" in _refused(
        _changed(models("Llama"), tmp_path / "m", lambda _: None, **config)
    )


def test_quantized_models_have_other_tensors(models, tmp_path: Path) -> None:
    """Their kernels need not be here. A norm is not quantized, so it is missed as ever."""

    def pack(weights: Weights) -> None:
        for name in [name for name in weights if "proj" in name]:
            weights[name.replace(".weight", ".qweight")] = weights.pop(name)[:4].to(torch.int32)
            weights[name.replace(".weight", ".scales")] = torch.ones(4)

    def lose(weights: Weights) -> None:
        pack(weights)
        del weights["model.norm.weight"]

    quantization = {"quantization_config": {"quant_method": "gptq", "bits": 4}}
    check_weights({"m": _changed(models("Llama"), tmp_path / "packed", pack, **quantization)})
    assert "1 missing: model.norm.weight" in _refused(
        _changed(models("Llama"), tmp_path / "lost", lose, **quantization)
    )


@pytest.fixture
def incomplete(tiny_qwen3: Maker) -> Path:
    folder = tiny_qwen3(max_position_embeddings=4096)
    weights = load_file(folder / "model.safetensors")
    del weights["model.layers.1.self_attn.q_proj.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def test_every_evaluation_refuses_before_the_first_task(
    incomplete: Path,
    heldout: dict[str, list[Path]],
    small_data: Path,
    started: list[LmEvalJob],
    tiny_qwen3: Maker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole model beside it is not begun with either, and nothing is left behind."""
    build_tasks(heldout, tmp_path / "tasks")
    monkeypatch.setattr(proxy, "run_evaluations", lambda *_: pytest.fail("a task was begun"))
    both = [Model("whole", Role.BASE, tiny_qwen3(seed=1)), Model("half", Role.CHECKPOINT, incomplete)]
    missing = r"half: .*1 missing: model\.layers\.1\.self_attn\.q_proj\.weight"
    with pytest.raises(UserError, match=missing):
        evaluate(both, tmp_path / "tasks", tmp_path / "scores")
    with pytest.raises(UserError, match=missing):
        run_proxy(both, tmp_path / "tasks", tmp_path / "proxy")
    with pytest.raises(UserError, match=missing):
        run_benchmark(both, choose_tasks(["mmlu_anatomy"]), small_data, tmp_path / "benchmark")
    assert started == []
    assert not [path for path in tmp_path.iterdir() if path.name in ("scores", "proxy", "benchmark")]
