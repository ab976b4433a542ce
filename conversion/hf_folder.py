"""Hugging Face folders: whether their tensors are a Qwen3's."""

import torch

from ..core.errors import UserError
from ..core.hf_weights import DTYPES, OUTPUT_LAYER, Weights
from ..core.qwen3 import Qwen3Config
from .bin_folder import BinWeights
from .names import EMBEDDING, OUTER, hf_shapes

LISTED = 5
"""How many names an error lists."""


def check_weights(weights: Weights | BinWeights, shape: Qwen3Config) -> torch.dtype:
    """Compare names, shapes and types of a folder's tensors with those of the model.

    Returns:
        The type that all of them have.

    Raises:
        UserError: missing or unknown tensors, another shape, or several types.
    """
    drop_tied_head(weights, shape)
    expected, present = hf_shapes(shape), weights.tensors.keys()
    missing, extra = sorted(expected.keys() - present), sorted(present - expected.keys())
    if missing or extra:
        raise UserError(
            f"the tensors are not Qwen3's: {_some('missing', missing)}{_some('unknown', extra)}".rstrip(" ;"),
            where=str(weights.folder),
            mend="give the whole, unchanged folder of a Qwen3 model",
        )
    for name, size in expected.items():
        if weights.tensors[name].shape != size:
            raise UserError(
                f"{name} is {weights.tensors[name].shape}, config.json makes it {size}", where=str(weights.file(name))
            )
    types = {weights.tensors[name].dtype for name in expected}
    if len(types) > 1:
        raise UserError(
            f"the tensors are {', '.join(sorted(types))}",
            where=str(weights.folder),
            allowed=f"all of one type: {', '.join(DTYPES)}",
        )
    return DTYPES[types.pop()]


def drop_tied_head(weights: Weights | BinWeights, shape: Qwen3Config) -> None:
    """Forget a tied model's output layer, which some folders have all the same.

    Raises:
        UserError: it is not the embedding again.
    """
    head = weights.tensors.pop(OUTPUT_LAYER, None) if shape.tied else None
    if head is None:
        return
    embedding = OUTER[EMBEDDING]
    same = head == weights.tensors.get(embedding) and torch.equal(weights.get(OUTPUT_LAYER), weights.get(embedding))
    if not same:
        raise UserError(
            f"config.json ties the output layer to the embedding, and {OUTPUT_LAYER} is another tensor",
            where=str(weights.file(OUTPUT_LAYER)),
            mend="say tie_word_embeddings: false in config.json if the folder's weights are right",
        )


def _some(what: str, names: list[str]) -> str:
    if not names:
        return ""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{what}: {', '.join(names[:LISTED])}{more}; "
