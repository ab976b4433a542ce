"""Qwen3's `config.json`: the settings that are supported, and one spelling that every reader understands.

transformers 4 reads `rope_theta`, `rope_scaling` and `torch_dtype`; transformers 5 reads `rope_parameters` and `dtype`,
and saves only these; transformers 4 then silently takes a base of 10,000. vLLM reads what its transformers gives it:
under 4 `rope_theta` takes precedence over `rope_parameters`, under 5 the other way round. All configurations written
here have both, and they agree.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import log
from ..errors import UserError
from ..files import read_object, write_json
from ..jsonio import JsonObject, shorten

CONFIG = "config.json"
SIDE_FILES = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
)
"""Files that a Hugging Face folder may hold beside config.json and weights; they are copied."""
ARCHITECTURE = "Qwen3ForCausalLM"
DEFAULT_ROPE_BASE = 10_000
"""Rotary base that both lines of transformers assume if a Qwen3's configuration states none."""
FULL = "full_attention"
DEFAULTS = {
    "architectures": [ARCHITECTURE],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "head_dim": 128,
    "hidden_act": "silu",
    "initializer_range": 0.02,
    "max_position_embeddings": 32_768,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    "use_cache": True,
}
"""Values that transformers assumes if a Qwen3's configuration does not state them."""
_SAYS_NOTHING = (
    *("_name_or_path", "transformers_version", "model_type", "torch_dtype", "rope_parameters"),
    *("use_sliding_window", "sliding_window", "max_window_layers", "layer_types"),
)
"""Keys of history, of a second spelling, and those that have a single value once `check_supported` has passed."""
REMOTE_CODE = ("auto_map", "trust_remote_code")
"""Keys that make a library run code from the folder; folders written here hold no code."""


def _is_one(value: Any) -> bool:
    return value is None or value == 1


_HARMLESS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "architectures": (lambda value: value in (None, [], [ARCHITECTURE]), f'["{ARCHITECTURE}"]'),
    "attention_bias": (lambda value: not value, "false"),
    "hidden_act": (lambda value: value in (None, "silu"), '"silu"'),
    "is_causal": (lambda value: value in (None, True), "true"),
    "quantization_config": (lambda value: value is None, "no quantization: BF16, FP16 or FP32 weights"),
    "use_sliding_window": (lambda value: not value, "false: every layer sees the whole sequence"),
    "dual_chunk_attention_config": (lambda value: value is None, "null: every layer sees the whole sequence"),
    "partial_rotary_factor": (_is_one, "1: the whole head is rotated"),
    "rotary_pct": (_is_one, "1: the whole head is rotated"),
    "rotary_emb_fraction": (_is_one, "1: the whole head is rotated"),
}
"""Key -> check that its value is what the code here computes, and the allowed value in words."""
_PLAIN_ROPE: dict[str, Callable[[Any], bool]] = {
    "rope_type": lambda value: value in (None, "default"),
    "type": lambda value: value in (None, "default"),
    "rope_theta": lambda value: value is not None,  # its value is judged with the other spellings
    "partial_rotary_factor": _is_one,
    "factor": _is_one,
}


def check_supported(config: dict[str, Any], where: str) -> None:
    """Check that a configuration needs nothing that a Qwen3-Base does not have.

    Args:
        config: a configuration with the `model_type` `qwen3`.
        where: its file, for messages.

    Raises:
        UserError: it does; the message names the key.
    """
    for key, (harmless, allowed) in _HARMLESS.items():
        if not harmless(config.get(key)):
            _refuse(key, config[key], where, allowed)
    layers, kinds = config.get("num_hidden_layers"), config.get("layer_types")
    if kinds is not None and (not isinstance(kinds, list) or kinds != [FULL] * len(kinds) or len(kinds) != layers):
        shown = next((kind for kind in kinds if kind != FULL), kinds) if isinstance(kinds, list) else kinds
        _refuse("layer_types", shown, where, f'"{FULL}", once for each of num_hidden_layers')
    rope_base(config, where)


def rope_base(config: dict[str, Any], where: str) -> float:
    """Read the base of the rotary embedding.

    Raises:
        UserError: its spellings disagree, or the embedding is scaled or otherwise not the plain one.
    """
    stated = {"rope_theta": config.get("rope_theta"), "rotary_emb_base": config.get("rotary_emb_base")}
    for key in ("rope_parameters", "rope_scaling"):
        parameters = JsonObject(config.get(key) or {}, f"{where}: {key}").values
        _check_plain(key, parameters, where)
        stated[f"{key}.rope_theta"] = parameters.get("rope_theta")
    values = JsonObject(stated, where)
    bases = {key: values.number(key) for key in stated if key in values}
    if len(set(bases.values())) > 1:
        raise UserError(
            f"the rotary base is stated twice: {', '.join(f'{key} = {base:g}' for key, base in bases.items())}",
            where=where,
            allowed="one base: libraries differ in which of the two they read",
            fix="remove the wrong one",
        )
    base = next(iter(bases.values()), float(DEFAULT_ROPE_BASE))
    if base <= 0:
        raise UserError(f"rope_theta is {base:g}", where=where, allowed="a number above 0")
    return base


def _check_plain(key: str, parameters: dict[str, Any], where: str) -> None:
    """Refuse a scaling, under any name, and parameters by layer."""
    for name, value in parameters.items():
        if value is not None and not (name in _PLAIN_ROPE and _PLAIN_ROPE[name](value)):
            _refuse(f"{key}.{name}", value, where, 'the plain rotary embedding: "rope_type": "default"')


def _refuse(key: str, value: Any, where: str, allowed: str) -> None:
    text = json.dumps(value)
    raise UserError(
        f"{key} = {text if len(text) < 100 else shorten(value)} is not part of Qwen3-Base",
        where=where,
        allowed=allowed,
        fix="give a Qwen3-Base, or a model that was trained from one",
    )


def both_spellings(config: dict[str, Any], dtype: str | None, where: str = CONFIG) -> dict[str, Any]:
    """Give a configuration its rotary base and its type in the spellings of both lines of transformers.

    Args:
        config: a configuration that `check_supported` accepts; all keys are kept, except those that make code run.
        dtype: type of the weights, in config.json's spelling.
        where: its file, for messages.
    """
    base = config.get("rope_theta") or rope_base(config, where)
    plain = {"rope_scaling": None} if "rope_scaling" in config else {}
    return {key: value for key, value in config.items() if key not in REMOTE_CODE} | {
        **plain,
        "rope_theta": base,
        "rope_parameters": {"rope_type": "default", "rope_theta": base},
        "dtype": dtype,
        "torch_dtype": dtype,
    }


def effective(config: dict[str, Any]) -> dict[str, Any]:
    """The model that a configuration describes, whatever its spelling, and whether or not it states defaults.

    Args:
        config: a configuration that `check_supported` accepts.
    """
    dtype = config.get("dtype") or config.get("torch_dtype")
    values = DEFAULTS | {key: value for key, value in both_spellings(config, dtype).items() if value is not None}
    return {key: value for key, value in values.items() if key not in _SAYS_NOTHING}


def write_settings(source: Path, target: Path, dtype: str) -> None:
    """Copy configuration, tokenizer and the other settings of a folder to another.

    The configuration gets `both_spellings`; keys that name code to run are left out, with a warning; everything else is
    copied byte for byte.

    Args:
        source: a Hugging Face folder.
        target: the folder that gets the copies; it is made if necessary.
        dtype: type of the weights, in config.json's spelling.
    """
    target.mkdir(parents=True, exist_ok=True)
    config = read_object(source / CONFIG).values
    _write(source / CONFIG, target / CONFIG, config, both_spellings(config, dtype, str(source / CONFIG)))
    write_side_files(source, target)


def write_side_files(source: Path, target: Path) -> None:
    """Copy the files beside the configuration; see `write_settings`."""
    for name in SIDE_FILES:
        if not (source / name).is_file():
            continue
        if not name.endswith("_config.json"):
            shutil.copyfile(source / name, target / name)
            continue
        settings = read_object(source / name, nan=True).values
        without = {key: value for key, value in settings.items() if key not in REMOTE_CODE}
        _write(source / name, target / name, settings, without)


def _write(source: Path, target: Path, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Copy a file's bytes if nothing changes, else write its new content."""
    left_out = [key for key in REMOTE_CODE if key in before]
    if left_out:
        log.warn(f"{source.name} asks for code that comes with a model ({', '.join(left_out)}): left out")
    if before == after:
        shutil.copyfile(source, target)
    else:
        write_json(target, after)
