"""Conversion of Hugging Face Qwen3 folders to Megatron checkpoints, and back."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..core import log
from ..core.checkpoint import HF, newest
from ..core.errors import UserError
from ..core.files import write_text
from ..core.hf.config import write_settings
from ..core.hf.model import Folder, check_weights, open_model
from ..core.hf.weights import NAMES, one_thread, pieces
from ..core.hf.writer import Writer
from ..core.integrity import checking, checkpoint_files, damage_first, hashed_folder, hf_files
from ..core.log import counted
from ..core.manifest import Manifest, input_fingerprints, run_stage
from ..core.qwen3 import Qwen3Config, read_config
from ..core.system.disk import check_space
from .bin_folder import BinWeights
from .card import card, read_training
from .checkpoint_as_hf import PARAMETERS, open_checkpoint
from .settings import settings_of
from .tensor_names import EXTRA_STATES, LAYERS, Folded, folded, megatron_shapes

if TYPE_CHECKING:
    from .distcp_write import Part


def import_hf(
    source: Path, out: Path, *, bin_files: bool = False, verify: bool = True, nemo2: bool = False
) -> Manifest:
    """Write a Hugging Face Qwen3's weights as a Megatron checkpoint root.

    Args:
        source: folder with config.json and safetensors.
        out: the checkpoint root to make: `release/`, and `hf/` with configuration and tokenizer.
        bin_files: read `pytorch_model.bin`, a pickle, instead of safetensors.
        verify: whether the folder's files are compared with the hashes that were written with them, if any were.
        nemo2: make a checkpoint that NeMo 2 starts from instead: `weights/` in the place of `release/`.

    Raises:
        UserError: the folder is not a complete Qwen3, a weight is NaN or infinite, or a file is damaged.
    """
    with damage_first(lambda: {source: hf_files(source)}, verify=verify):
        shape, weights = (read_config(source), BinWeights(source)) if bin_files else open_model(source)
        dtype = check_weights(weights, shape)
    from . import distcp_write  # torch's writer takes long to load, and an export has no use for it

    hashes: dict[str, str] = {}
    wrong: list[Folded] = []

    def body(work: Path) -> dict[str, Any]:
        progress = log.Progress("import", sum(tensor.nbytes for tensor in weights.tensors.values()))
        check_space(work, progress.total)
        with one_thread(), checking("import", {source: hf_files(source)}, verify=verify) as checked:
            parts = parts_of(weights, shape, progress, wrong)
            hashes.update(distcp_write.write(work, parts, dtype, _extra_states(shape), nemo2=nemo2))
            write_settings(source, work / HF, NAMES[dtype])
        if wrong:
            raise _not_finite(weights, wrong[0])
        counts = {"tensors": len(megatron_shapes(shape)), "parameters": shape.parameters, "bytes": progress.total}
        return counts | checked

    options = {"nemo2": True} if nemo2 else {}
    return run_stage("import", {"hf": source}, options, out=out, body=body, beside=True, hashes=hashes)


def parts_of(weights: Folder, shape: Qwen3Config, progress: log.Progress, wrong: list[Folded]) -> "list[Part]":
    """List the parts of a checkpoint's weights, each made from the mapped file when it is needed.

    Args:
        weights: weights of a complete Qwen3.
        shape: shape of the model.
        progress: counts the bytes of each part.
        wrong: collects the parts that hold a NaN or an infinity.
    """
    from .distcp_write import Part

    whole = megatron_shapes(shape)

    def part(place: Folded) -> Part:
        layer = () if place.layer is None else (place.layer,)
        begin = (*layer, place.begin, *(0,) * (len(place.shape) - 1))

        def make() -> torch.Tensor:
            tensor = place.make(weights.get)
            if not _finite(tensor):
                wrong.append(place)  # not raised: torch's writing threads lose exceptions
            progress.add(tensor.nbytes)
            return tensor

        size = (*(1 for _ in layer), *place.shape)
        return Part(place.name, whole=whole[place.name], begin=begin, size=size, make=make)

    return [part(place) for place in folded(shape)]


def _finite(tensor: torch.Tensor) -> bool:
    """Whether each value is finite: minimum and maximum are NaN if any value is. Twice as fast as a copy."""
    low, high = torch.aminmax(tensor)
    return bool(low.isfinite() and high.isfinite())


def _not_finite(weights: Folder, place: Folded) -> UserError:
    """The error that names the first tensor of a part that holds a NaN or an infinity."""
    names: list[str] = []

    def get(name: str) -> torch.Tensor:
        names.append(name)
        return weights.get(name)

    place.make(get)
    name = next(name for name in names if not _finite(weights.get(name)))
    wrong = ~weights.get(name).flatten().isfinite()
    value = float(weights.get(name).flatten()[wrong][0])
    values = counted(int(wrong.sum()), "value that is not a finite number", "values that are not finite numbers")
    return UserError(
        f"{name} holds {values}, the first of them {value}",
        where=str(weights.file(name)),
        fix="use a checkpoint from before training diverged",
    )


def _extra_states(shape: Qwen3Config) -> list[str]:
    layers = range(shape.layers)
    inner = [f"{LAYERS}{name}._extra_state/shard_{n}_{shape.layers}" for name in EXTRA_STATES for n in layers]
    outer = ["decoder.final_layernorm", *([] if shape.tied else ["output_layer"])]
    return [*inner, *(f"{name}._extra_state/shard_0_1" for name in outer)]


def export_hf(
    checkpoint: Path,
    out: Path,
    reference: Path | None = None,
    *,
    source: str = PARAMETERS,
    dtype: str | None = None,
    verify: bool = True,
) -> Manifest:
    """Write a Megatron checkpoint as a Hugging Face Qwen3 folder.

    Args:
        checkpoint: one checkpoint's folder, or a root (then its newest).
        out: the folder to make.
        reference: a Hugging Face folder to take configuration and tokenizer from; else see `settings_of`.
        source: `parameters`, with which training computed, or `master`, the optimizer's FP32 copy of them.
        dtype: type of the written weights, in config.json's spelling; by default the source's.
        verify: whether the checkpoint's files are compared with the hashes that were written with them, if any were.

    Raises:
        UserError: no such checkpoint, no configuration, tensors of another shape, no master weights, a damaged file, or
            a dtype that is unknown or cannot hold a value.
    """
    with damage_first(lambda: checkpoint_files(newest(checkpoint) or checkpoint, reference), verify=verify):
        model = open_checkpoint(checkpoint, reference, source=source, dtype=dtype)
        folder = model.checkpoint.folder
        settings, training = settings_of(folder, reference), read_training(folder)
    spelled = NAMES[model.dtype]
    hashes: dict[str, str] = {}

    def body(work: Path) -> dict[str, Any]:
        writer = Writer(work, model.tensors)
        progress = log.Progress("export", writer.total)
        check_space(work, writer.total)
        # The optimizer's state is read only for master weights.
        weights_of = [folder] if source == PARAMETERS else []
        files = checkpoint_files(folder, reference)
        with one_thread(), checking("export", files, weights_of=weights_of, verify=verify) as checked:
            for name, tensor in model.tensors.items():
                writer.write(name, pieces(model, name))
                progress.add(tensor.nbytes)
            hashes.update(writer.finish())
            settings.write(work, spelled)
        readme = card(folder, training, source=source, dtype=spelled, inputs=input_fingerprints(work))
        write_text(work / "README.md", readme)
        counts = {"parameters": model.shape.parameters, "dtype": spelled, "bytes": writer.total}
        return counts | checked | ({"step": training.step} if training else {})

    log.info(f"export: {folder.name} -> {out}")
    # The manifest identifies what an import wrote, the record of hashes what a run saved: neither is hashed again.
    inputs = {"checkpoint": hashed_folder(folder)} | settings.files()
    return run_stage("export", inputs, {"from": source, "dtype": spelled}, out=out, body=body, hashes=hashes)
