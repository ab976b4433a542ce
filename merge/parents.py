"""What two models must share before their weights may be mixed, checked from files and headers alone."""

import math
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

from tokenizers import Tokenizer

from ..core.errors import UserError
from ..core.files import require_file
from ..core.hf_weights import OUTPUT_LAYER, Tensor, Weights
from ..core.qwen3 import Qwen3Config, read_config
from .slerp import check_finite


def check_parents(base: Path, tuned: Path) -> dict[str, Tensor]:
    """Return the tensors that both models have, having read no weight.

    Raises:
        UserError: they are one folder, or differ in architecture, vocabulary, tensors or tokenizer, or one of them is
            not a whole Hugging Face folder of Qwen3 safetensors.
    """
    if base.resolve() == tuned.resolve():
        raise UserError(f"base and tuned are the same folder: {base}", mend="give two models")
    config = _same_architecture(base, tuned)
    tensors = _same_tensors(base, tuned, config.tied)
    found = count_parameters(tensors)
    if found != config.parameters:
        raise UserError(
            f"the weights hold {found:,} parameters, and config.json promises {config.parameters:,}", where=str(base)
        )
    _same_tokenizer(base, tuned)
    return tensors


def check_finite_parent(folder: Path, tensors: Iterable[str]) -> None:
    """Look at all values of a model.

    Raises:
        UserError: one is a NaN or an infinity, which a merge would spread.
    """
    weights = Weights(folder)
    for name in tensors:
        check_finite(weights, name)
        weights.release(name)


def count_parameters(tensors: dict[str, Tensor]) -> int:
    """Number of weights in a model's tensors."""
    return sum(math.prod(tensor.shape) for tensor in tensors.values())


def _same_architecture(base: Path, tuned: Path) -> Qwen3Config:
    config = read_config(base)
    ours, theirs = asdict(config), asdict(read_config(tuned))
    differing = [f"{name} {ours[name]} and {theirs[name]}" for name in ours if ours[name] != theirs[name]]
    if differing:
        raise UserError(
            f"the models' architectures differ (base and tuned): {'; '.join(differing)}",
            where=str(tuned / "config.json"),
            allowed="two models of one architecture and vocabulary",
        )
    return config


def _same_tensors(base: Path, tuned: Path, tied: bool) -> dict[str, Tensor]:
    ours, theirs = Weights(base).tensors, Weights(tuned).tensors
    if tied:
        # Some exports write the tied output layer out; it is the embedding, so it says nothing of its own.
        ours.pop(OUTPUT_LAYER, None)
        theirs.pop(OUTPUT_LAYER, None)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            raise UserError(
                f"tensor {name} is {_describe(ours.get(name))} in base and {_describe(theirs.get(name))} in tuned",
                where=str(tuned),
                allowed="the same tensors, of the same shapes and dtypes, in both models",
            )
    types = {tensor.dtype for tensor in ours.values()}
    if len(types) > 1:
        raise UserError(f"the tensors are {', '.join(sorted(types))}", where=str(base), allowed="all of one type")
    return ours


def _describe(tensor: Tensor | None) -> str:
    return f"{tensor.dtype} {list(tensor.shape)}" if tensor else "absent"


def _same_tokenizer(base: Path, tuned: Path) -> None:
    if _canonical_tokenizer(base) != _canonical_tokenizer(tuned):
        raise UserError(
            "the models' tokenizers differ, so the same id means another piece of text in each",
            where=str(tuned / "tokenizer.json"),
            allowed="two models of one tokenizer",
        )


def _canonical_tokenizer(folder: Path) -> str:
    """One spelling of a tokenizer, whatever release wrote it; padding and truncation belong to a call, not to it."""
    tokenizer = Tokenizer.from_file(str(require_file(folder / "tokenizer.json")))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer.to_str()
