"""How a model writes: greedily, as the task says, and until its own end tokens, whatever generation_config.json says.

A folder's generation_config.json holds its makers' advice for a chat (temperature, repetition penalty, length). lm-eval
states whether and how to sample, and transformers fills in the rest from that file without a word, so that two models
with the same weights would get other answers.
"""

from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ...core.files import read_object, write_json
from ...core.hf.tokenizer_file import open_tokenizer

FILE = "generation_config.json"
# What is not advice on how to write: who the tokens are, who wrote the file, what is handed out beside the text.
FACTS = {"_from_model_config", "bos_token_id", "eos_token_id", "pad_token_id", "transformers_version"}
FACTS |= {"use_cache", "output_attentions", "output_hidden_states"}


def end_tokens(folder: Path) -> list[int]:
    """Ids that end an answer: the tokenizer's `eos_token`, which lm-eval stops at, and those of config.json."""
    config = read_object(folder / "config.json")
    text = config.object("text_config") if "text_config" in config else config
    stated = (config if "eos_token_id" in config else text).values.get("eos_token_id")
    ids = stated if isinstance(stated, list) else [stated]
    path = folder / "tokenizer_config.json"
    token = read_object(path).values.get("eos_token") if path.is_file() else None
    name = token.get("content") if isinstance(token, dict) else token
    if isinstance(name, str):
        ids = [open_tokenizer(folder / "tokenizer.json").token_to_id(name), *ids]
    return list(dict.fromkeys(number for number in ids if isinstance(number, int)))


def write_neutral(folder: Path, out: Path) -> Path:
    """Write a generation_config.json with a model's end tokens and no advice, for either backend.

    vLLM takes the folder of one as `generation_config` (`ModelConfig.try_get_generation_config` in its
    vllm/config/model.py); its `vllm`, "no file", still reads the end tokens of the model's own.

    Returns:
        `out`, the folder.
    """
    ends = end_tokens(folder)
    write_json(out / FILE, {"eos_token_id": ends} if ends else {})
    return out


def unused(folder: Path) -> dict[str, Any]:
    """What the folder's generation_config.json asks for, which nobody is told: advice, and other end tokens."""
    path = folder / FILE
    if not path.is_file():
        return {}
    try:
        stated = read_object(path, nan=True).values
    except UserError:
        return {"unreadable": True}
    ends = stated.get("eos_token_id")
    others = [number for number in (ends if isinstance(ends, list) else [ends]) if number not in end_tokens(folder)]
    advice = {key: value for key, value in stated.items() if key not in FACTS and value is not None}
    return advice | ({"eos_token_id": ends} if ends is not None and others else {})
