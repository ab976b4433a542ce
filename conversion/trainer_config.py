"""The model of a checkpoint of Megatron-Bridge or NeMo 2, from their own file, if there is no `config.json`.

It is read as plain YAML: what it names as a call (`_target_`) is compared by name, and never imported.
"""

from pathlib import Path
from typing import Any

import yaml

from ..core.errors import UserError, first_line
from ..core.files import read_bytes
from ..core.jsonio import JsonObject, shorten
from ..core.qwen3 import Qwen3Config

RUN_CONFIG = "run_config.yaml"
"""Bridge's file in a checkpoint's folder with the whole configuration of the training."""
TOKENIZER = "tokenizer"
"""Folder of a checkpoint in which Bridge keeps the tokenizer's files."""
CONTEXT, MODEL_CONFIG = "context", "model.yaml"
"""NeMo 2's folder of a checkpoint, beside that of the weights, and its file with the model's configuration."""
MOST_BYTES = 2**20
"""Largest size of a configuration; Bridge's have some 20 KB, NeMo's 10."""
MERGE = "<<"
_LARGEST = 2**31 - 1
_SIZES = {
    "layers": "num_layers",
    "hidden": "hidden_size",
    "ffn": "ffn_hidden_size",
    "heads": "num_attention_heads",
    "kv_heads": "num_query_groups",
    "head_dim": "kv_channels",
    "vocab": "vocab_size",
}
"""Sizes of `Qwen3Config` -> Megatron's."""
_REQUIRED: dict[str, Any] = {"qk_layernorm": True, "normalization": "RMSNorm", "gated_linear_unit": True}
_ABSENT = (
    "add_bias_linear",
    "add_qkv_bias",
    "num_moe_experts",
    "multi_latent_attention",
    "rope_scaling",
    "seq_len_interpolation_factor",
)
"""Fields that switch on what a dense Qwen3 does not have."""


def read_run_config(checkpoint: Path) -> Qwen3Config:
    """Read the shape of a Bridge checkpoint's model. Its longest sequence is that of training: no other is stated.

    Raises:
        UserError: the file is damaged, lacks a size, or describes a model other than a dense Qwen3.
    """
    path = checkpoint / RUN_CONFIG
    content = _read(path)
    stated = JsonObject(content, str(path)).object("model").values
    # Megatron's own class of a model holds the layers' fields one level deeper, Bridge's classes beside the others.
    layers = JsonObject(stated.get("transformer") or {}, f"{path}: model.transformer").values
    return _shape(JsonObject(layers | stated, f"{path}: model"), path, longest="seq_length")


def read_model_config(context: Path) -> Qwen3Config:
    """Read the shape of a NeMo 2 checkpoint's model from its folder `context`.

    Raises:
        UserError: as of `read_run_config`.
    """
    path = context / MODEL_CONFIG
    stated = JsonObject(_read(path), str(path)).object("config").values
    return _shape(JsonObject(stated, f"{path}: config"), path, longest="max_position_embeddings")


def _shape(model: JsonObject, path: Path, *, longest: str) -> Qwen3Config:
    """The shape that Megatron's fields state; `longest` is the one of the longest sequence."""
    _check_qwen3(model, path)
    names = _SIZES | {"max_positions": longest}
    sizes = {ours: model.integer(theirs, minimum=1, maximum=_LARGEST) for ours, theirs in names.items()}
    shape = Qwen3Config(
        **sizes,
        tied=model.flag("share_embeddings_and_output_weights"),
        rope_base=model.number("rotary_base"),
        norm_eps=model.number("layernorm_epsilon"),
    )
    if shape.rope_base <= 0 or shape.norm_eps <= 0:
        raise UserError("rotary_base and layernorm_epsilon are not both above 0", where=str(path))
    return shape


def _read(path: Path) -> dict[str, Any]:
    """Read the sections. Both writers use aliases, but no merges: a few lines of merges can expand to terabytes."""
    try:
        text = read_bytes(path, MOST_BYTES).decode()
        if MERGE in text:
            raise UserError(f"{path.name} merges mappings ({MERGE})", where=str(path), fix="write the values out")
        content = yaml.safe_load(text)
    except UserError:
        raise
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        raise UserError(f"{path.name} is not valid YAML: {first_line(error)}", where=str(path)) from None
    if not isinstance(content, dict):
        raise UserError(f"{path.name} is not a configuration", where=str(path), allowed="sections by name")
    return content


def _check_qwen3(model: JsonObject, path: Path) -> None:
    """Refuse a model whose layers are not those of a dense Qwen3; the message names the fields."""
    values = model.values
    wrong = [name for name, wanted in _REQUIRED.items() if values.get(name) != wanted]
    wrong += [name for name in _ABSENT if values.get(name)]
    if wrong:
        raise UserError(
            f"the model is not Qwen3: {', '.join(f'{name} is {shorten(values.get(name))}' for name in wrong)}",
            where=str(path),
            allowed="a dense Qwen3: RMSNorm, norms of queries and keys, a gated MLP, no biases, plain rotary positions",
        )
