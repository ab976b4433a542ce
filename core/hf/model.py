"""Check that a Hugging Face folder holds the tensors of the Qwen3 that its configuration describes."""

from pathlib import Path
from typing import Protocol

import torch

from .. import log
from ..errors import UserError
from ..qwen3 import EMBEDDING, Qwen3Config, hf_shapes, read_config
from .weights import DTYPES, OUTPUT_LAYER, Model, Tensor, Weights

LISTED = 5
"""How many names an error lists."""
BITS = {2: torch.int16, 4: torch.int32}
"""Bytes of a value -> a type in which values are equal if their bits are."""


class Folder(Model, Protocol):
    """A folder's tensors by name, each as a whole tensor."""

    folder: Path

    def file(self, name: str) -> Path:
        """The file that holds a tensor."""
        ...

    def get(self, name: str) -> torch.Tensor:
        """One tensor; not to be written to."""
        ...


def open_model(folder: Path) -> tuple[Qwen3Config, Weights]:
    """Open a folder of safetensors, and check its configuration and the files' headers.

    Raises:
        UserError: it is not a Qwen3, or not a complete one.
    """
    shape = read_config(folder)
    weights = Weights(folder)
    check_weights(weights, shape)
    unread = sorted(path.name for path in folder.glob("*.safetensors") if path not in weights.files)
    if unread:
        more = f" and {len(unread) - LISTED} more" if len(unread) > LISTED else ""
        log.warn(f"{folder}: {', '.join(unread[:LISTED])}{more}: not read, because no index names it")
    return shape, weights


def check_weights(weights: Folder, shape: Qwen3Config) -> torch.dtype:
    """Compare names, shapes and types of a folder's tensors with those of the model.

    A tied model's output layer that repeats the embedding is left out; see `drop_tied_head`.

    Returns:
        The type of all tensors.

    Raises:
        UserError: missing or unknown tensors, another shape, several types, or a tied output layer of its own.
    """
    drop_tied_head(weights, tied=shape.tied)
    expected, present = hf_shapes(shape), weights.tensors.keys()
    missing, extra = sorted(expected.keys() - present), sorted(present - expected.keys())
    if missing or extra:
        raise UserError(
            f"the tensors are not Qwen3's: {_some('missing', missing)}{_some('unknown', extra)}".rstrip(" ;"),
            where=str(weights.folder),
            fix="give the complete, unchanged folder of a Qwen3 model",
        )
    for name, size in expected.items():
        if weights.tensors[name].shape != size:
            raise UserError(
                f"{name} is {weights.tensors[name].shape} in the file, but {size} according to config.json",
                where=str(weights.file(name)),
            )
    return _one_type(weights)


def _one_type(weights: Folder) -> torch.dtype:
    types = {tensor.dtype for tensor in weights.tensors.values()}
    if len(types) > 1:
        raise UserError(
            f"the tensors are of several types: {', '.join(sorted(types))}",
            where=str(weights.folder),
            allowed=f"the same type for all: {', '.join(DTYPES)}",
        )
    return DTYPES[types.pop()]


def drop_tied_head(weights: Folder, *, tied: bool) -> None:
    """Leave out a tied model's output layer, which some folders hold nevertheless, and say so.

    Libraries differ in whether they read it, so it has to equal the embedding bit for bit.

    Raises:
        UserError: it is a different tensor.
    """
    head = weights.tensors.pop(OUTPUT_LAYER, None) if tied else None
    if head is None:
        return
    if head != weights.tensors.get(EMBEDDING) or not _same(weights, head):
        raise UserError(
            f"config.json ties the output layer to the embedding, but {OUTPUT_LAYER} differs from it",
            where=str(weights.file(OUTPUT_LAYER)),
            fix=f"if {OUTPUT_LAYER} was trained, set tie_word_embeddings to false in config.json; if not, remove it "
            "(NeMo 2's exporter leaves memory that nothing was written to there)",
        )
    log.info(f"{weights.folder.name}: {OUTPUT_LAYER} is left out: it repeats the embedding, to which it is tied")


def _same(weights: Folder, head: Tensor) -> bool:
    bits = BITS[DTYPES[head.dtype].itemsize]
    return torch.equal(weights.get(OUTPUT_LAYER).view(bits), weights.get(EMBEDDING).view(bits))


def _some(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{what}: {', '.join(names[:LISTED])}{more}; "
