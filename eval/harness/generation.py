"""Generation settings: greedy, as the task says, to the model's own end tokens, whatever generation_config.json says.

A folder's generation_config.json holds its makers' settings for a chat (temperature, repetition penalty, length).
lm-eval states whether and how to sample, and transformers silently fills in the rest from that file, so that two models
with the same weights would give different answers.
"""

from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ...core.files import read_object, write_json
from ...core.hf.tokenizer_file import open_tokenizer

GENERATION_CONFIG_FILE = "generation_config.json"
# Keys that do not decide what is generated: names of tokens, the file's origin, outputs beside the text.
NEUTRAL_KEYS = {"_from_model_config", "bos_token_id", "eos_token_id", "pad_token_id", "transformers_version"}
NEUTRAL_KEYS |= {"use_cache", "output_attentions", "output_hidden_states"}


def end_tokens(folder: Path) -> list[int]:
    """Ids that end an answer: the tokenizer's `eos_token`, which lm-eval stops at, and those of config.json."""
    config = read_object(folder / "config.json")
    text = config.object("text_config") if "text_config" in config else config
    stated = (config if "eos_token_id" in config else text).values.get("eos_token_id")
    ids = stated if isinstance(stated, list) else [stated]
    path = folder / "tokenizer_config.json"
    token = read_object(path).values.get("eos_token") if path.is_file() else None
    text_of_token = token.get("content") if isinstance(token, dict) else token
    if isinstance(text_of_token, str):
        ids = [open_tokenizer(folder / "tokenizer.json").token_to_id(text_of_token), *ids]
    return list(dict.fromkeys(token_id for token_id in ids if isinstance(token_id, int)))


def write_neutral(folder: Path, out: Path) -> Path:
    """Write a generation_config.json with a model's end tokens and nothing else, for either backend.

    vLLM takes its folder as `generation_config` (`ModelConfig.try_get_generation_config` in its
    vllm/config/model.py); its `vllm`, "no file", still reads the end tokens of the model's own.

    Returns:
        `out`, the folder.
    """
    ends = end_tokens(folder)
    write_json(out / GENERATION_CONFIG_FILE, {"eos_token_id": ends} if ends else {})
    return out


def unused_settings(folder: Path) -> dict[str, Any]:
    """Settings of the folder's generation_config.json that are not used: for a chat, and other end tokens.

    `{"unreadable": True}` for a damaged file.
    """
    path = folder / GENERATION_CONFIG_FILE
    if not path.is_file():
        return {}
    try:
        stated = read_object(path, nan=True).values
    except UserError:
        return {"unreadable": True}
    eos = stated.get("eos_token_id")
    others = [token for token in (eos if isinstance(eos, list) else [eos]) if token not in end_tokens(folder)]
    settings = {key: value for key, value in stated.items() if key not in NEUTRAL_KEYS and value is not None}
    return settings | ({"eos_token_id": eos} if eos is not None and others else {})
