"""lm-eval's two backends, and the arguments that both get: the same type, window and limits."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.errors import UserError, check_known
from ...core.files import read_object
from ...core.jsonio import JsonObject
from ..tasks.task_suite import AskedTask

BACKENDS = ("hf", "vllm")
"""lm-eval's names of them. vLLM is constructed and validated only: it has not been run yet."""
MODEL_FILES = ("config.json", "tokenizer.json", "*.safetensors")
WEIGHT_TYPES = ("bfloat16", "float16", "float32")
# The keys by which a configuration states the window, in lm-eval's order.
WINDOW_KEYS = ("n_positions", "max_position_embeddings", "n_ctx")
LmEvalModel = Any
"""lm-eval's model, `HFLM` or `VLLM`: neither states its attributes' types."""


@dataclass(frozen=True)
class Limits:
    """Bounds of a task, whatever the backend.

    Attributes:
        questions: largest number of questions of each task; None: all.
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


@dataclass(frozen=True)
class ModelArguments:
    """A model as lm-eval loads it.

    Attributes:
        backend: one of BACKENDS.
        pretrained: path of the model's folder.
        dtype: type of its weights.
        window: tokens, prompt and answer together.
        gpus: GPUs that vLLM splits the model over.
        prefix_token_id: token before a document, where documents are read (`hf` only).
    """

    backend: str
    pretrained: str
    dtype: str
    window: int
    gpus: int = 1
    prefix_token_id: int | None = None

    def to_lm_eval(self) -> dict[str, Any]:
        """As lm-eval's `model_args`.

        Type and window are stated to both backends: left to themselves, vLLM would run float32 weights in float16.
        """
        common = {"pretrained": self.pretrained, "dtype": self.dtype}
        if self.backend == "vllm":
            return common | {"max_model_len": self.window, "tensor_parallel_size": self.gpus}
        prefix = {} if self.prefix_token_id is None else {"prefix_token_id": self.prefix_token_id}
        return common | {"max_length": self.window, "softmax_dtype": "float32"} | prefix


def check_folder(name: str, folder: Path) -> None:
    """Check that a folder holds a model.

    Raises:
        UserError: a file is missing.
    """
    for pattern in MODEL_FILES:
        if not any(folder.glob(pattern)):
            raise UserError(
                f"{name} is not a Hugging Face model folder: no {pattern}",
                where=str(folder),
                allowed="a folder with config.json, tokenizer.json and *.safetensors",
                fix="export the checkpoint first",
            )


def model_arguments(backend: str, folder: Path, limits: Limits, gpus: int = 1) -> ModelArguments:
    """lm-eval's arguments for a model's folder.

    Raises:
        UserError: the configuration states no type or no window, or the window is longer than the model's.
    """
    dtype = _weight_type(folder)
    return ModelArguments(backend, str(folder.resolve()), dtype, window=_window(folder, limits), gpus=gpus)


def check_answers_fit(models: dict[str, ModelArguments], tasks: Sequence[AskedTask], limits: Limits) -> None:
    """Check that models' windows have room for a prompt beside the longest answer that a task allows.

    Args:
        models: name of a model -> its arguments.
        tasks: the tasks it is to do.
        limits: see there.

    Raises:
        UserError: a window is too short.
    """
    answer_tokens = {task.name: limits.max_gen_toks or task.answer_tokens for task in tasks if task.answer_tokens}
    for name, arguments in models.items():
        window = arguments.window
        too_long = {task: tokens for task, tokens in answer_tokens.items() if tokens and tokens >= window}
        if too_long:
            names = list(too_long)
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            raise UserError(
                f"{name}'s window of {window:,} tokens leaves no room for a prompt before answers of "
                f"{max(too_long.values()):,}: {', '.join(names[:3])}{more}",
                where="--max-gen-toks",
                allowed=f"fewer than {window:,}",
                fix=f"--max-gen-toks {window // 2} leaves as much room for prompts (a longer one is cut at its "
                "start, and counted); it applies to all models; or choose other tasks with --tasks",
            )


def check_chat_template(folders: dict[str, Path]) -> None:
    """Check that models have a chat template.

    Args:
        folders: name of a model -> its folder.

    Raises:
        UserError: a model has none.
    """
    for name, folder in folders.items():
        path = folder / "tokenizer_config.json"
        stated = path.is_file() and "chat_template" in read_object(path)
        if not stated and not (folder / "chat_template.jinja").is_file():
            raise UserError(
                f"{name} has no chat template",
                where=str(folder),
                allowed="a folder with chat_template.jinja, or with a chat_template in tokenizer_config.json",
                fix="run it by a command of its own, without --chat-template, into the same --out",
            )


def _weight_type(folder: Path) -> str:
    path = folder / "config.json"
    for part in _config_and_text_part(path):
        for key in ("dtype", "torch_dtype"):
            if key in part:
                check_known(part.text(key), WEIGHT_TYPES, "type of weights", f"{path}: {key}")
                return part.text(key)
    raise UserError("config.json has no dtype", where=str(path), fix="add the type of the weights, as 'dtype'")


def _window(folder: Path, limits: Limits) -> int:
    text = _config_and_text_part(folder / "config.json")[-1]
    own = next((text.integer(key, minimum=2) for key in WINDOW_KEYS if key in text), None)
    if limits.max_length is None and own is None:
        raise UserError(
            "config.json does not state the context window", where=str(folder / "config.json"), fix="give --max-length"
        )
    if limits.max_length is not None and own is not None and limits.max_length > own:
        raise UserError(
            f"max_length = {limits.max_length} is longer than the model's window",
            where=str(folder),
            allowed=f"at most {own}",
        )
    window = limits.max_length or own
    assert window is not None, "one of the two is there"
    return window


def _config_and_text_part(path: Path) -> list[JsonObject]:
    """A configuration, and of a composite model the part that is about text."""
    config = read_object(path)
    return [config, *([config.object("text_config")] if "text_config" in config else [])]
