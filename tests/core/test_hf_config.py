"""Configurations: what is refused by name, and what is written so that every reader understands it."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from transformers import Qwen3Config as TheirConfig

from pdapt.core.errors import UserError
from pdapt.core.hf.config import DEFAULTS, both_spellings, check_supported, rope_base, write_settings
from pdapt.core.qwen3 import SIZES, read_config

PUBLISHED = SIZES["0p6b"].to_hf("bfloat16")
PLAIN: list[dict[str, Any]] = [
    {"rope_scaling": {"rope_type": "default"}},
    {"rope_scaling": {"type": "default", "rope_theta": 1e6}},
    {"rope_scaling": {"rope_type": "default", "factor": 1.0}, "rope_parameters": None},
    {"rope_parameters": {"rope_type": "default", "rope_theta": 1_000_000, "partial_rotary_factor": 1.0}},
    {"rope_parameters": {}, "rope_scaling": {}},
    {"sliding_window": 4096, "use_sliding_window": False, "max_window_layers": 4},
    {"layer_types": ["full_attention"] * 28, "partial_rotary_factor": 1.0, "architectures": None},
]


@pytest.mark.parametrize("changes", PLAIN)
def test_what_transformers_computes_as_the_plain_rotary_embedding_is_accepted(changes: dict[str, Any]) -> None:
    config = PUBLISHED | changes
    check_supported(config, "config.json")
    theirs = TheirConfig(**json.loads(json.dumps(config)))
    parameters: Any = theirs.rope_parameters
    assert parameters["rope_type"] == "default"
    assert parameters["rope_theta"] == rope_base(config, "config.json") == 1e6
    assert set(theirs.layer_types or []) == {"full_attention"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_scaling.rope_type = "),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling.type = "),
        ({"rope_scaling": {"factor": 2.0}}, "rope_scaling.factor = 2"),
        ({"rope_scaling": "linear"}, "is not a JSON object"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6}}, "rope_parameters.rope_type"),
        ({"rope_parameters": {"rope_type": "default", "mrope_section": [1, 2]}}, "rope_parameters.mrope_section"),
        ({"rope_parameters": {"full_attention": {"rope_type": "default"}}}, "rope_parameters.full_attention"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "rope_parameters.partial_rotary_factor = 0.5"),
        ({"partial_rotary_factor": 0.5}, "partial_rotary_factor = 0.5"),
        ({"rotary_pct": 0.25}, "rotary_pct = 0.25"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e6}}, "rotary base is stated twice: .* = 5e\\+06"),
        ({"rotary_emb_base": 10_000}, "rotary base is stated twice"),
        ({"rope_theta": "1e6", "rope_parameters": None}, "rope_theta is"),
        ({"rope_theta": -1, "rope_parameters": None}, "rope_theta is -1"),
        ({"use_sliding_window": True, "sliding_window": 4096}, "use_sliding_window = true"),
        ({"layer_types": ["full_attention"] * 27 + ["sliding_attention"]}, 'layer_types = "sliding_attention"'),
        ({"layer_types": ["full_attention"] * 27}, "layer_types = a list of 27"),
        ({"quantization_config": {"quant_method": "fp8"}}, "quantization_config = "),
        ({"attention_bias": True}, "attention_bias = true"),
        ({"rms_norm_eps": 0}, "rms_norm_eps is 0"),
        ({"rms_norm_eps": -1e-6}, "rms_norm_eps is -1e-06"),
        ({"num_attention_heads": 16, "num_key_value_heads": 3}, "num_attention_heads is 16, num_key_value_heads 3"),
        ({"hidden_act": "gelu"}, 'hidden_act = "gelu"'),
        ({"is_causal": False}, "is_causal = false"),
        ({"dual_chunk_attention_config": {"chunk_size": 8192}}, "dual_chunk_attention_config"),
        ({"architectures": ["Qwen3ForSequenceClassification"]}, "architectures = .*ForSequenceClassification"),
        ({"model_type": "qwen3_moe", "architectures": ["Qwen3MoeForCausalLM"]}, "not Qwen3.*qwen3_moe"),
    ],
)
def test_what_the_code_here_does_not_compute_is_refused_by_its_name(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED | changes))
    with pytest.raises(UserError, match=message):
        read_config(tmp_path)


@pytest.mark.parametrize(
    "kept",
    [
        {"rope_theta": 5_000_000, "torch_dtype": "bfloat16"},
        {"rope_parameters": {"rope_type": "default", "rope_theta": 5e6}, "dtype": "bfloat16"},
        {"rope_scaling": {"rope_type": "default", "rope_theta": 5e6}},
        {"rope_theta": 5_000_000, "rope_scaling": {"rope_type": "default"}, "mine": [1]},
    ],
)
def test_every_spelling_becomes_both_and_no_key_is_lost(kept: dict[str, Any]) -> None:
    spelled = ("rope_theta", "rope_parameters", "rope_scaling", "dtype", "torch_dtype")
    config = {key: value for key, value in PUBLISHED.items() if key not in spelled} | kept
    found = both_spellings(config, "float32")
    assert found["rope_theta"] == found["rope_parameters"]["rope_theta"] == 5e6
    assert found["dtype"] == found["torch_dtype"] == "float32"
    assert not found.get("rope_scaling")
    assert {key: value for key, value in found.items() if key not in spelled} == {
        key: value for key, value in config.items() if key not in spelled
    }
    assert config.keys() <= found.keys()
    assert both_spellings(found, "float32") == found


def test_a_config_without_a_base_gets_the_one_that_transformers_takes() -> None:
    config = {key: value for key, value in PUBLISHED.items() if not key.startswith("rope_")}
    theirs: Any = TheirConfig(**config).rope_parameters
    assert both_spellings(config, "float32")["rope_theta"] == theirs["rope_theta"] == 10_000


def test_what_has_code_run_is_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "source"
    source.mkdir()
    code = {"auto_map": {"AutoModelForCausalLM": "modeling.Mine"}}
    (source / "config.json").write_text(json.dumps(PUBLISHED | code))
    (source / "tokenizer_config.json").write_text(json.dumps({"eos_token": "x", "trust_remote_code": True} | code))
    (source / "generation_config.json").write_text('{"top_p":0.8}')
    (source / "chat_template.jinja").write_text("{{ messages }}")
    (source / "modeling.py").write_text("raise SystemExit")
    write_settings(source, tmp_path / "target", "bfloat16")
    said = capsys.readouterr().err
    assert "config.json asks for code that comes with a model (auto_map): left out" in said
    assert "tokenizer_config.json asks for code that comes with a model (auto_map, trust_remote_code): left out" in said
    assert json.loads((tmp_path / "target" / "config.json").read_text()) == PUBLISHED
    assert json.loads((tmp_path / "target" / "tokenizer_config.json").read_text()) == {"eos_token": "x"}
    for name in ("generation_config.json", "chat_template.jinja"):
        assert (tmp_path / "target" / name).read_bytes() == (source / name).read_bytes()
    assert not (tmp_path / "target" / "modeling.py").exists()


@pytest.mark.parametrize(
    "key",
    ["num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim"],
)
def test_a_size_is_at_least_one(key: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED | {"num_key_value_heads": 1, key: 1}))
    assert 1 in asdict(read_config(tmp_path)).values()
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED | {key: 0}))
    with pytest.raises(UserError, match=f"{key} is 0"):
        read_config(tmp_path)


def test_a_value_that_a_config_leaves_out_is_the_one_that_transformers_takes(tmp_path: Path) -> None:
    optional = ("head_dim", "max_position_embeddings", "rms_norm_eps", "tie_word_embeddings")
    stated = {key: value for key, value in PUBLISHED.items() if key not in optional}
    (tmp_path / "config.json").write_text(json.dumps(stated))
    ours, theirs = read_config(tmp_path), TheirConfig()
    read = (ours.head_dim, ours.max_positions, ours.norm_eps, ours.tied)
    assert read == tuple(getattr(theirs, key) for key in optional)


def test_a_size_fits_into_32_bits(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED | {"vocab_size": 2_147_483_647}))
    assert read_config(tmp_path).vocab == 2_147_483_647
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED | {"vocab_size": 2_147_483_648}))
    with pytest.raises(UserError, match="vocab_size is 2147483648"):
        read_config(tmp_path)


def test_defaults_are_those_of_transformers() -> None:
    """The name of the class is left out: transformers adds it when it saves."""
    theirs = TheirConfig()
    keys = DEFAULTS.keys() - {"architectures"}
    assert {key: DEFAULTS[key] for key in keys} == {key: getattr(theirs, key) for key in keys}
