"""A check that a model's folder holds the tensors that its configuration asks for, whatever its architecture.

transformers fills missing tensors with random values and drops unknown ones, with a warning. Here its
loader works on the `meta` device, which has shapes and no values, and its report decides.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import UserError
from ...core.hf.weights import PIECE, shards
from ...core.integrity import checking, hf_files

LISTED_NAMES = 5
"""Names that an error lists."""
COPY_AGAIN = "copy or export the model again, with the config.json that was saved with it"


@dataclass(frozen=True)
class LoadReport:
    """Report of transformers' loader on a folder.

    Attributes:
        missing: names of tensors that the configuration asks for and no file holds.
        unknown: names of tensors that a file holds and the model does not have.
        shapes: name -> shape in the file and by the configuration.
        tied: output tensor -> the tensor that it is tied to, where the configuration ties them.
    """

    missing: list[str]
    unknown: list[str]
    shapes: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    tied: dict[str, str]


def check_weights(folders: dict[str, Path], *, verify: bool = True) -> None:
    """Check that models are whole, and that all their values are numbers.

    The first is in the files' headers; for the second every value is read once, at the speed of the disk.

    Args:
        folders: name of a model -> its Hugging Face folder.
        verify: whether files that a stage wrote are compared with its hashes.

    Raises:
        UserError: a file is damaged, a tensor is missing, unknown, of another shape or holds NaN or infinity, a tied
            output layer differs from the embedding, or transformers does not know the architecture.
    """
    for name, folder in folders.items():
        log.info(f"eval: {name}: checking the weights of {folder}")
        with checking("eval", {folder: hf_files(folder)}, verify=verify):
            _check(name, folder)


def _check(name: str, folder: Path) -> None:
    files = _files(folder)
    report = _load_report(folder)
    _check_names(name, folder, report)
    _check_tied(name, folder, files, report.tied)
    for tensor, path in files.items():
        _check_finite(name, tensor, path)


def _files(folder: Path) -> dict[str, Path]:
    """Tensor -> the file that holds it, from the headers.

    Raises:
        UserError: a file is missing or damaged, or lacks what the index promises.
    """
    from safetensors import SafetensorError, safe_open

    files: dict[str, Path] = {}
    for path, promised in shards(folder).items():
        try:
            with safe_open(path, framework="pt") as file:
                names = set(file.keys())
        except SafetensorError as error:
            raise UserError(
                f"{path.name} is not a complete safetensors file: {error}", where=str(path), fix="fetch it again"
            ) from None
        if lacking := sorted(promised - names):
            raise UserError(
                f"the index puts {lacking[0]} in {path.name}, which lacks it", where=str(path), fix=COPY_AGAIN
            )
        files |= dict.fromkeys(sorted(names), path)
    return files


def _load_report(folder: Path) -> LoadReport:
    """Have transformers load the folder without its values.

    Raises:
        UserError: it cannot.
    """
    from huggingface_hub.errors import StrictDataclassError
    from transformers import AutoConfig, AutoModelForCausalLM

    # Raised by transformers on a configuration with wrong values: it computes with them unchecked.
    failures = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RuntimeError, OSError, ImportError)
    messages = _Messages()
    try:
        with _sent_to(messages):
            config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
            quantized = _forget_quantization(config)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                device_map="meta",
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                local_files_only=True,
                trust_remote_code=False,
            )
    except (*failures, StrictDataclassError) as error:
        reason = " ".join(str(error).split())[:500]
        unmade = messages.unconverted()
        parts = f"; it cannot make {_some(unmade)} of the tensors that are there" if unmade else ""
        raise UserError(
            f"transformers cannot load the model: {type(error).__name__}: {reason}{parts}",
            where=str(folder),
            allowed="an architecture of transformers' own, with the config.json that was saved with it; no remote code",
        ) from None
    model, info = loaded
    tied = getattr(model, "_tied_weights_keys", None)
    ties = tied if isinstance(tied, dict) and config.get_text_config().tie_word_embeddings else {}
    shapes = {name: (tuple(held), tuple(wanted)) for name, held, wanted in info["mismatched_keys"]}
    report = LoadReport(sorted(info["missing_keys"]), sorted(info["unexpected_keys"]), shapes, ties)
    return _without_packed(report) if quantized else report


class _Messages(logging.Handler):
    """transformers' messages, kept from the terminal: they become an error here, or appear again in the task's log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += record.getMessage().splitlines()

    def unconverted(self) -> list[str]:
        """Tensors of the loader's table that are made of several of the file's, of which one is missing."""
        rows = [[cell.strip() for cell in line.split("|")] for line in self.lines]
        return [row[0] for row in rows if row[1:2] == ["CONVERSION"]]


@contextmanager
def _sent_to(messages: _Messages) -> Iterator[None]:
    from transformers.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    logger, bars = logging.getLogger("transformers"), is_progress_bar_enabled()
    handlers: list[logging.Handler] = [messages]
    handlers, logger.handlers = logger.handlers, handlers
    disable_progress_bar()
    try:
        yield
    finally:
        logger.handlers = handlers
        if bars:
            enable_progress_bar()


def _forget_quantization(config: Any) -> bool:
    """Take a quantization out of a configuration, because its kernels may be missing here; whether there was one."""
    quantized = getattr(config, "quantization_config", None) is not None
    if quantized:
        del config.quantization_config
    return quantized


def _without_packed(report: LoadReport) -> LoadReport:
    """A quantized model's report without its packed weights, which have other shapes and tensors of their own."""
    modules = {name.rpartition(".")[0] for name in report.unknown}
    missing = [name for name in report.missing if name.rpartition(".")[0] not in modules]
    return LoadReport(missing, [], {}, report.tied)


def _check_names(name: str, folder: Path, report: LoadReport) -> None:
    wrong = [("missing", report.missing), ("not of this model", report.unknown)]
    faults = [f"{len(names)} {what}: {_some(names)}" for what, names in wrong if names]
    shapes = [f"{key} is {held}, config.json makes it {wanted}" for key, (held, wanted) in report.shapes.items()]
    if faults or shapes:
        faults += [f"{len(shapes)} of another shape: {_some(shapes)}"] if shapes else []
        raise UserError(
            f"{name}: the tensors differ from those that config.json describes: {'; '.join(faults)}",
            where=str(folder),
            fix=COPY_AGAIN,
        )


def _check_tied(name: str, folder: Path, files: dict[str, Path], tied: dict[str, str]) -> None:
    """Refuse a tied output layer that a file holds with other values: some libraries take it, others the embedding."""
    for tensor, source in tied.items():
        if tensor in files and source in files and not _same(files[tensor], tensor, files[source], source):
            raise UserError(
                f"{name}: config.json ties {tensor} to {source}, but the file holds a different {tensor}",
                where=str(folder),
                fix="set tie_word_embeddings to false in config.json if the folder's weights are right",
            )


def _same(path: Path, tensor: str, other_path: Path, other: str) -> bool:
    first, second = _pieces(path, tensor), _pieces(other_path, other)
    return all(a.shape == b.shape and a.equal(b) for a, b in zip(first, second, strict=False))


def _check_finite(name: str, tensor: str, path: Path) -> None:
    for piece in _pieces(path, tensor):
        # float8 has no minimum in torch, and integers have no NaN.
        if not piece.is_floating_point() or piece.dtype.itemsize < 2 or not piece.numel():
            return
        low, high = piece.aminmax()
        if not (low.isfinite() and high.isfinite()):
            raise UserError(
                f"{name}: {tensor} holds a NaN or an infinity",
                where=str(path),
                fix="use another checkpoint: this one's scores would be meaningless",
            )


def _pieces(path: Path, tensor: str) -> Iterator[Any]:
    """A tensor's rows, some at a time."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        values = file.get_tensor(tensor)  # a view of the file, which is mapped
        step = max(1, PIECE // max(1, math.prod(values.shape[1:])))
        yield from values.split(step) if values.ndim else [values]


def _some(names: list[str]) -> str:
    more = f" and {len(names) - LISTED_NAMES} more" if len(names) > LISTED_NAMES else ""
    return ", ".join(names[:LISTED_NAMES]) + more
