"""A Megatron-Bridge checkpoint is exported by the configuration that it holds itself."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from fuzzing import ALIASES

from pdapt.conversion.convert import export_hf, import_hf
from pdapt.conversion.trainer_config import RUN_CONFIG, read_run_config
from pdapt.conversion.verify import verify
from pdapt.core.checkpoint import TRACKER
from pdapt.core.errors import UserError
from pdapt.core.qwen3 import Qwen3Config, read_config

Maker = Callable[..., Path]


def model_of(shape: Qwen3Config) -> dict[str, Any]:
    """The fields of Bridge's `model` section that are read."""
    return {
        "_target_": "megatron.bridge.models.gpt_provider.GPTModelProvider",
        "num_layers": shape.layers,
        "hidden_size": shape.hidden,
        "ffn_hidden_size": shape.ffn,
        "num_attention_heads": shape.heads,
        "num_query_groups": shape.kv_heads,
        "kv_channels": shape.head_dim,
        "vocab_size": shape.vocab,
        "seq_length": shape.max_positions,
        "share_embeddings_and_output_weights": shape.tied,
        "rotary_base": shape.rope_base,
        "layernorm_epsilon": shape.norm_eps,
        "qk_layernorm": True,
        "normalization": "RMSNorm",
        "gated_linear_unit": True,
        "add_bias_linear": False,
        "num_moe_experts": None,
    }


@pytest.fixture
def source(tiny_qwen3: Maker) -> Path:
    """A Hugging Face folder."""
    return tiny_qwen3(tied=False)


@pytest.fixture
def checkpoint(source: Path, tmp_path: Path) -> Path:
    """Its weights as Bridge saves them: a root without `hf/`, with the configuration within."""
    import_hf(source, tmp_path / "imported")
    folder = tmp_path / "bridge" / "iter_0000005"
    shutil.copytree(tmp_path / "imported" / "release", folder)
    (folder.parent / TRACKER).write_text("5")
    (folder / RUN_CONFIG).write_text(yaml.safe_dump({"model": model_of(read_config(source))}))
    (folder / "tokenizer").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, folder / "tokenizer" / name)
    return folder


def edit(checkpoint: Path, **values: object) -> None:
    path = checkpoint / RUN_CONFIG
    model = yaml.safe_load(path.read_text())["model"] | values
    path.write_text(yaml.safe_dump({"model": model}))


def test_a_bridge_checkpoint_is_exported_without_a_reference(
    source: Path, checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export_hf(checkpoint.parent, tmp_path / "out")
    assert verify(source, tmp_path / "out").identical
    assert verify(checkpoint, source).identical
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (source / name).read_bytes()
    assert "max_position_embeddings is set to that of training" in capsys.readouterr().err
    inputs = json.loads((tmp_path / "out" / "manifest.json").read_text())["inputs"]
    assert RUN_CONFIG in inputs, "the export says what it took the configuration from"


def test_what_aliases_stand_for_is_never_written_out(source: Path, checkpoint: Path, tmp_path: Path) -> None:
    path = checkpoint / RUN_CONFIG
    text = path.read_text().replace("normalization: RMSNorm", "normalization: *y")
    path.write_text(ALIASES.decode() + text)
    with pytest.raises(UserError, match="normalization is a list of 9"):
        export_hf(checkpoint.parent, tmp_path / "out")


def test_a_comparison_leaves_out_what_bridge_does_not_state(
    source: Path, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its seq_length is that of training, not the model's longest; what it states is compared."""
    edit(checkpoint, seq_length=16)
    assert verify(checkpoint, source).identical
    assert "does not state them: attention_dropout" in capsys.readouterr().err
    edit(checkpoint, rotary_base=500.0)
    assert list(verify(source, checkpoint).config) == ["rope_theta"]


def test_a_missing_tokenizer_is_said(checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(checkpoint / "tokenizer")
    export_hf(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out" / "tokenizer.json").exists()
    assert "holds no tokenizer" in capsys.readouterr().err


def test_the_layers_fields_may_lie_within_the_models(source: Path, checkpoint: Path) -> None:
    """Megatron's own class of a model has them there: so writes a run of `engine=nemo`."""
    model = model_of(read_config(source))
    outer = {name: model.pop(name) for name in ("vocab_size", "share_embeddings_and_output_weights", "rotary_base")}
    (checkpoint / RUN_CONFIG).write_text(yaml.safe_dump({"model": outer | {"transformer": model}}))
    assert read_run_config(checkpoint) == read_config(source)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_moe_experts": 8}, "num_moe_experts is 8"),
        ({"normalization": "LayerNorm"}, 'normalization is "LayerNorm"'),
        ({"add_qkv_bias": True}, "add_qkv_bias is true"),
        ({"num_layers": None}, "num_layers is missing"),
        ({"hidden_size": "64"}, "hidden_size is"),
        ({"rotary_base": 0}, "not both above 0"),
        ({"transformer": [1]}, "is not a JSON object"),
        ({"hidden_size": 32}, "by the configuration"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_by_name(
    checkpoint: Path, tmp_path: Path, values: dict[str, Any], message: str
) -> None:
    edit(checkpoint, **values)
    with pytest.raises(UserError, match=message):
        export_hf(checkpoint, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content", ["model: [", "- 1", "model: !!python/object/apply:os.system [true]", "", "a: &a {b: 1}\nmodel: {<<: *a}"]
)
def test_a_damaged_configuration_is_refused_and_calls_nothing(checkpoint: Path, tmp_path: Path, content: str) -> None:
    (checkpoint / RUN_CONFIG).write_text(content)
    with pytest.raises(UserError) as caught:
        export_hf(checkpoint, tmp_path / "out")
    assert caught.value.where.startswith(str(checkpoint / RUN_CONFIG))
    assert not (tmp_path / "out").exists()


def test_fuzz_run_config(fuzz: Callable[..., None], checkpoint: Path) -> None:
    fuzz(checkpoint / RUN_CONFIG, lambda: read_run_config(checkpoint), share=4)
