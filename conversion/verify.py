"""Comparison of two models, tensor by tensor, each a Hugging Face folder or a Megatron checkpoint."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..core import log
from ..core.checkpoint import newest
from ..core.errors import UserError
from ..core.files import read_object
from ..core.hf.config import CONFIG, effective
from ..core.hf.model import BITS, drop_tied_head
from ..core.hf.weights import INDEX, NAMES, SINGLE, Model, Tensor, Weights, pieces
from ..core.integrity import checking, checkpoint_files, damage_first, hf_files
from ..core.jsonio import shorten
from ..core.log import counted
from ..core.qwen3 import read_config
from .checkpoint_as_hf import open_checkpoint
from .settings import settings_of


@dataclass(frozen=True)
class Difference:
    """A tensor that differs between two models.

    Attributes:
        name: Hugging Face's name.
        first, second: type and shape in each model; None if it is absent.
        values: number of values that differ in their bits; None if type or shape differs.
        largest: largest absolute difference; None if shapes differ or the difference is not a number.
    """

    name: str
    first: str | None
    second: str | None
    values: int | None = None
    largest: float | None = None


@dataclass(frozen=True)
class Opened:
    """One of the two models that are compared.

    Attributes:
        model: its weights.
        config: its configuration, see `effective`.
        files: the files that are read, for `checking`.
        checkpoint: its folder, if it is a checkpoint.
        states: keys of the configuration that it states; None for all.
    """

    model: Model
    config: dict[str, Any]
    files: dict[Path, list[str]]
    checkpoint: Path | None = None
    states: frozenset[str] | None = None


@dataclass(frozen=True)
class Comparison:
    """The outcome of a comparison of two models.

    Attributes:
        identical: whether everything is the same, the weights bit for bit.
        tensors: number of tensors in either model.
        different: the tensors that differ, the largest difference first.
        config: key -> the first model's value and the second's, if they differ.
    """

    identical: bool
    tensors: int
    different: list[Difference]
    config: dict[str, list[Any]]


def verify(first: Path, second: Path, reference: Path | None = None, *, hashes: bool = True) -> Comparison:
    """Compare two folders of weights, each in either format, and their configurations.

    Args:
        first: a Hugging Face folder, a Megatron checkpoint, or a checkpoint root (then its newest).
        second: the same.
        reference: Hugging Face folder with the configuration of a checkpoint that has none beside it.
        hashes: whether the files are also compared with the hashes that were written with them.

    Raises:
        UserError: a folder has neither format, or a file is damaged.
    """
    models = [_open(folder, reference, hashes=hashes) for folder in (first, second)]
    weights_of = [opened.checkpoint for opened in models if opened.checkpoint]
    with checking("verify", models[0].files | models[1].files, weights_of=weights_of, verify=hashes):
        different = _differences(models[0].model, models[1].model)
    config = {key: [opened.config.get(key) for opened in models] for key in _keys(models)}
    config = {key: values for key, values in config.items() if values[0] != values[1]}
    tensors = len({name for opened in models for name in opened.model.tensors})
    return Comparison(not different and not config, tensors, different, config)


def _keys(models: list[Opened]) -> list[str]:
    """Keys of the configuration that are compared, in their order; if these are not all, that is logged."""
    keys = {key for opened in models for key in opened.config}
    stated = keys.intersection(*(opened.states for opened in models if opened.states is not None))
    if stated != keys:
        unstated = ", ".join(sorted(keys - stated))
        log.info(f"verify: not compared, since the checkpoint's own file does not state them: {unstated}")
    return sorted(stated)


def _open(folder: Path, reference: Path | None, *, hashes: bool) -> Opened:
    if not folder.is_dir():
        raise UserError(
            f"no such folder: {folder}", where=str(folder), allowed="a Hugging Face folder, or a Megatron checkpoint"
        )
    if (folder / SINGLE).is_file() or (folder / INDEX).is_file():
        with damage_first(lambda: {folder: hf_files(folder)}, verify=hashes):
            return _open_hf(folder)
    with damage_first(lambda: checkpoint_files(newest(folder) or folder, reference), verify=hashes):
        return _open_megatron(folder, reference)


def _open_hf(folder: Path) -> Opened:
    weights = Weights(folder)
    drop_tied_head(weights, tied=read_config(folder).tied)
    return Opened(weights, effective(read_object(folder / CONFIG).values), {folder: hf_files(folder)})


def _open_megatron(folder: Path, reference: Path | None) -> Opened:
    model = open_checkpoint(folder, reference)
    place = model.checkpoint.folder
    # An export states the type of the weights, whatever the configuration beside them says.
    settings = settings_of(place, reference)
    stated = effective(settings.config(NAMES[model.dtype]))
    return Opened(model, stated, checkpoint_files(place, reference), checkpoint=place, states=settings.states)


def _differences(first: Model, second: Model) -> list[Difference]:
    """The tensors that differ, the largest difference first."""
    models = (first, second)
    names = list(dict.fromkeys(name for model in models for name in model.tensors))
    progress = log.Progress("verify", sum(tensor.nbytes for model in models for tensor in model.tensors.values()))
    differences = []
    for name in names:
        difference = _compare(first, second, name)
        if difference is not None:
            differences.append(difference)
        progress.add(sum(model.tensors[name].nbytes for model in models if name in model.tensors))
    differences.sort(key=lambda row: (row.largest is not None, -(row.largest or 0), row.name))
    return differences


def _compare(first: Model, second: Model, name: str) -> Difference | None:
    """Compare one tensor; None if nothing differs."""
    tensors = [model.tensors.get(name) for model in (first, second)]
    spelled = (_spelled(tensors[0]), _spelled(tensors[1]))
    if tensors[0] is None or tensors[1] is None or tensors[0].shape != tensors[1].shape:
        return Difference(name, *spelled)
    alike = tensors[0].dtype == tensors[1].dtype
    differing, largest = 0, 0.0
    for x, y in zip(pieces(first, name), pieces(second, name), strict=True):
        if alike and torch.equal(x.view(BITS[x.itemsize]), y.view(BITS[y.itemsize])):
            continue
        if alike:
            differing += int((x.view(BITS[x.itemsize]) != y.view(BITS[y.itemsize])).sum())
        distance = (x.double() - y.double()).abs().max().item()
        largest = max(largest, distance) if distance == distance else float("nan")
    if alike and not differing:
        return None
    number = largest if largest == largest and largest != float("inf") else None
    return Difference(name, *spelled, differing if alike else None, number)


def _spelled(tensor: Tensor | None) -> str | None:
    return None if tensor is None else f"{tensor.dtype} {list(tensor.shape)}"


def describe(comparison: Comparison, most: int = 10) -> list[str]:
    """Format a comparison for people: whether the models are identical, and the largest differences."""
    if comparison.identical:
        return [f"identical: {counted(comparison.tensors, 'tensor')}, bit for bit, and the configuration"]
    tensors = f"{len(comparison.different)} of {counted(comparison.tensors, 'tensor')}" if comparison.different else ""
    config = f"{counted(len(comparison.config), 'key')} of the configuration" if comparison.config else ""
    lines = [f"different: {' and '.join(part for part in (tensors, config) if part)}"]
    for key, (first, second) in comparison.config.items():
        lines.append(f"  config.json, {key}: {shorten(first)} and {shorten(second)}")
    for difference in comparison.different[:most]:
        lines += _lines(difference)
    if len(comparison.different) > most:
        lines.append(f"  and {len(comparison.different) - most} more (--json lists all)")
    return lines


def _lines(difference: Difference) -> list[str]:
    lines = []
    if difference.first != difference.second:
        lines.append(f"  {difference.name}: {difference.first or 'absent'} and {difference.second or 'absent'}")
    if difference.values is not None:
        much = "an amount that is not a number" if difference.largest is None else f"at most {difference.largest:.3g}"
        lines.append(f"  {difference.name}: {counted(difference.values, 'value differs', 'values differ')}, by {much}")
    return lines
