"""What lm-eval's two backends are told about a model: the same type, window and limits for both."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.errors import UserError, check_known
from ...core.files import read_object
from ...core.jsonio import JsonObject
from ..tasks.suite import Benchmark

BACKENDS = ("hf", "vllm")
"""lm-eval's names of them. vLLM is constructed and validated only: it has not been run yet."""
NEEDED = ("config.json", "tokenizer.json", "*.safetensors")
DTYPES = ("bfloat16", "float16", "float32")
# Where a configuration states the window, in lm-eval's order.
WINDOWS = ("n_positions", "max_position_embeddings", "n_ctx")


@dataclass(frozen=True)
class Limits:
    """What bounds a task, whatever the backend.

    Attributes:
        questions: only so many of each task; None: all.
        max_length: window in tokens, prompt and answer together; None: the model's own. Of a prompt that does not fit
            beside the longest answer, the end is kept.
        max_gen_toks: tokens an answer may have; None: as the task says (2,048).
    """

    questions: int | None = None
    max_length: int | None = None
    max_gen_toks: int | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            least = 1 if name == "max_gen_toks" else 2
            if value is not None and value < least:
                raise UserError(f"{name} = {value} is too small", allowed=f"{least} or more")


def check_folder(name: str, folder: Path) -> None:
    """Check that a folder holds a model.

    Raises:
        UserError: something is missing.
    """
    for pattern in NEEDED:
        if not any(folder.glob(pattern)):
            raise UserError(
                f"{name} is not a Hugging Face model folder: no {pattern}",
                where=str(folder),
                allowed="a folder with config.json, tokenizer.json and *.safetensors",
                mend="export the checkpoint first",
            )


def arguments(backend: str, folder: Path, limits: Limits, gpus: int = 1) -> dict[str, Any]:
    """lm-eval's `model_args` for a model's folder.

    The type and the window are stated to both backends: left to themselves, vLLM would run float32 weights in float16.

    Raises:
        UserError: the configuration states no type or no window, or the window is longer than the model's.
    """
    common = {"pretrained": str(folder.resolve()), "dtype": _dtype(folder)}
    window = _window(folder, limits)
    if backend == "hf":
        return common | {"max_length": window, "softmax_dtype": "float32"}
    return common | {"max_model_len": window, "tensor_parallel_size": gpus}


def check_room(told: dict[str, dict[str, Any]], tasks: list[Benchmark], limits: Limits) -> None:
    """Check that models' windows have room for a prompt beside the longest answer that a task allows.

    Args:
        told: name of a model -> its arguments.
        tasks: what it is asked.
        limits: see there.

    Raises:
        UserError: one has not.
    """
    for name, its in told.items():
        window = its.get("max_length") or its["max_model_len"]
        asked = {task.name: limits.max_gen_toks or task.answer_tokens for task in tasks if task.answer_tokens}
        large = {task: tokens for task, tokens in asked.items() if tokens and tokens >= window}
        if large:
            names = list(large)
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise UserError(
                f"{name}'s window of {window:,} tokens has no room for a prompt beside answers of "
                f"{max(large.values()):,}: {', '.join(names[:3])}{more}",
                where="--max-gen-toks",
                allowed=f"fewer than {window:,}",
                mend=f"--max-gen-toks {window // 2} leaves prompts as much (of a longer one the end is kept, and such "
                "prompts are counted); for all models alike, or choose other tasks with --tasks",
            )


def check_chat_template(folders: dict[str, Path]) -> None:
    """Check that models have a chat template.

    Args:
        folders: name of a model -> its folder.

    Raises:
        UserError: one has none.
    """
    for name, folder in folders.items():
        path = folder / "tokenizer_config.json"
        stated = path.is_file() and "chat_template" in read_object(path)
        if not stated and not (folder / "chat_template.jinja").is_file():
            raise UserError(
                f"{name} has no chat template",
                where=str(folder),
                allowed="a folder with chat_template.jinja, or with a chat_template in tokenizer_config.json",
                mend="run it by a command of its own, without --chat-template, into the same --out",
            )


def _dtype(folder: Path) -> str:
    path = folder / "config.json"
    for part in _parts(path):
        for key in ("dtype", "torch_dtype"):
            if key in part:
                check_known(part.text(key), DTYPES, "type of weights", f"{path}: {key}")
                return part.text(key)
    raise UserError("config.json states no dtype", where=str(path), mend="add the type of the weights, as 'dtype'")


def _window(folder: Path, limits: Limits) -> int:
    text = _parts(folder / "config.json")[-1]
    own = next((text.integer(key, minimum=2) for key in WINDOWS if key in text), None)
    if limits.max_length is None and own is None:
        raise UserError("config.json states no window", where=str(folder / "config.json"), mend="give --max-length")
    if limits.max_length is not None and own is not None and limits.max_length > own:
        raise UserError(
            f"max_length = {limits.max_length} is longer than the model's window",
            where=str(folder),
            allowed=f"at most {own}",
        )
    window = limits.max_length or own
    assert window is not None, "one of the two is there"
    return window


def _parts(path: Path) -> list[JsonObject]:
    """A configuration, and of a composite model the part that is about text."""
    config = read_object(path)
    return [config, *([config.object("text_config")] if "text_config" in config else [])]
