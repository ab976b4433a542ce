"""Settings with which a model's generation ends at the end of its turn, as in Qwen3's chat models.

In Qwen3-Base `<|endoftext|>` ends a generation. A model that has learned conversations ends its answers with
`<|im_end|>`, and with the Base's settings would continue after it, up to the longest answer allowed.
"""

import shutil
from pathlib import Path
from typing import Any

from ..files import read_object, write_json, write_text
from ..qwen3 import END_OF_DOCUMENT, END_OF_TURN
from .config import CONFIG
from .tokenizer_file import open_tokenizer

GENERATION_CONFIG = "generation_config.json"
TEMPLATE = "chat_template.jinja"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"


def ends_turns(folder: Path) -> bool:
    """Whether `<|im_end|>` ends a generation, according to a Hugging Face folder's configuration."""
    if not (folder / TOKENIZER).is_file():
        return False
    stated = read_object(folder / CONFIG).values.get("eos_token_id")
    end = open_tokenizer(folder / TOKENIZER).token_to_id(END_OF_TURN)
    return end is not None and end in (stated if isinstance(stated, list) else [stated])


def end_at_turns(folder: Path, tokenizer: Path) -> None:
    """Write into a folder's settings that `<|im_end|>` ends a generation, and how turns are written.

    As in Qwen3's chat models: `eos_token_id` is `<|im_end|>` in config.json, and that or `<|endoftext|>` in
    generation_config.json; `eos_token` is `<|im_end|>` in tokenizer_config.json. Everything else stays.

    Args:
        folder: folder of configuration and tokenizer.
        tokenizer: folder of the tokenizer with which the conversations were written; its chat template is copied.

    Raises:
        UserError: a file is damaged.
    """
    vocabulary = open_tokenizer(tokenizer / TOKENIZER)
    turn, document = (vocabulary.token_to_id(token) for token in (END_OF_TURN, END_OF_DOCUMENT))
    _set(folder / CONFIG, {"eos_token_id": turn})
    _set(folder / GENERATION_CONFIG, {"eos_token_id": [turn, document]})
    if (folder / TOKENIZER_CONFIG).is_file():
        _set(folder / TOKENIZER_CONFIG, {"eos_token": END_OF_TURN})
    if (tokenizer / TEMPLATE).is_file():
        shutil.copyfile(tokenizer / TEMPLATE, folder / TEMPLATE)
    elif isinstance(template := _values(tokenizer / TOKENIZER_CONFIG).get("chat_template"), str):
        write_text(folder / TEMPLATE, template)


def _set(path: Path, changes: dict[str, Any]) -> None:
    write_json(path, _values(path) | changes)


def _values(path: Path) -> dict[str, Any]:
    return read_object(path, nan=True).values if path.is_file() else {}
