"""Two models, each a Hugging Face folder or a Megatron checkpoint: are they the same, tensor by tensor?"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ..core import log
from ..core.errors import UserError
from ..core.hf_weights import INDEX, SINGLE, Model, Tensor, Weights, pieces
from ..core.qwen3 import read_config
from .hf_folder import drop_tied_head
from .unfolded import open_checkpoint

BITS = {2: torch.int16, 4: torch.int32}
"""Bytes of a value -> a type in which values are equal where their bits are."""


@dataclass(frozen=True)
class Difference:
    """A tensor that the two do not have alike.

    Attributes:
        name: Hugging Face's.
        first, second: type and shape in each; None where it is absent.
        values: how many differ in their bits; None where type or shape differ.
        largest: absolute difference; None where shapes differ or it is no number.
    """

    name: str
    first: str | None
    second: str | None
    values: int | None = None
    largest: float | None = None


def verify(first: Path, second: Path, reference: Path | None = None) -> dict[str, Any]:
    """Compare two folders of weights, each in either format.

    Args:
        first: a Hugging Face folder, a Megatron checkpoint, or a root of such (then its newest).
        second: the same.
        reference: Hugging Face folder with the configuration of a checkpoint that has none beside it.

    Returns:
        `{"identical": whether all is the same to the bit, "tensors": how many there are in either, "different": what is
        not, the largest difference first}`.

    Raises:
        UserError: one of them is neither.
    """
    models = [_open(folder, reference) for folder in (first, second)]
    names = list(dict.fromkeys(name for model in models for name in model.tensors))
    progress = log.Progress("verify", sum(tensor.nbytes for model in models for tensor in model.tensors.values()))
    found = []
    for name in names:
        difference = _compare(models[0], models[1], name)
        if difference is not None:
            found.append(difference)
        progress.add(sum(model.tensors[name].nbytes for model in models if name in model.tensors))
    found.sort(key=lambda difference: (difference.largest is not None, -(difference.largest or 0), difference.name))
    return {"identical": not found, "tensors": len(names), "different": [asdict(difference) for difference in found]}


def _open(folder: Path, reference: Path | None) -> Model:
    if not folder.is_dir():
        raise UserError(f"no such folder: {folder}", where=str(folder), allowed="a model in either format")
    if (folder / SINGLE).is_file() or (folder / INDEX).is_file():
        weights = Weights(folder)
        drop_tied_head(weights, read_config(folder))
        return weights
    return open_checkpoint(folder, reference)


def _compare(first: Model, second: Model, name: str) -> Difference | None:
    """What differs in one tensor; None where nothing does."""
    tensors = [model.tensors.get(name) for model in (first, second)]
    spelled = (_spelled(tensors[0]), _spelled(tensors[1]))
    if tensors[0] is None or tensors[1] is None or tensors[0].shape != tensors[1].shape:
        return Difference(name, *spelled)
    alike = tensors[0].dtype == tensors[1].dtype
    differing, largest = 0, 0.0
    for one, other in zip(pieces(first, name), pieces(second, name), strict=True):
        if alike and torch.equal(one.view(BITS[one.itemsize]), other.view(BITS[other.itemsize])):
            continue
        if alike:
            differing += int((one.view(BITS[one.itemsize]) != other.view(BITS[other.itemsize])).sum())
        distance = (one.double() - other.double()).abs().max().item()
        largest = max(largest, distance) if distance == distance else float("nan")
    if alike and not differing:
        return None
    number = largest if largest == largest and largest != float("inf") else None
    return Difference(name, *spelled, differing if alike else None, number)


def _spelled(tensor: Tensor | None) -> str | None:
    return None if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"


def describe(found: dict[str, Any], most: int = 10) -> list[str]:
    """Lines for a person: whether they are identical, and the largest differences."""
    if found["identical"]:
        return [f"identical: {found['tensors']} tensors, to the bit"]
    lines = [f"different: {len(found['different'])} of {found['tensors']} tensors"]
    for row in found["different"][:most]:
        if row["first"] != row["second"]:
            lines.append(f"  {row['name']}: {row['first'] or 'absent'} and {row['second'] or 'absent'}")
        if row["values"] is not None:
            much = "no number" if row["largest"] is None else f"at most {row['largest']:.3g}"
            lines.append(f"  {row['name']}: {row['values']:,} values differ, by {much}")
    if len(found["different"]) > most:
        lines.append(f"  and {len(found['different']) - most} more (--json lists all)")
    return lines
