"""The bridge: Hugging Face Qwen3 folder -> Megatron checkpoint, and back."""

from pathlib import Path
from typing import Any

import torch

from ..core import log
from ..core.checkpoint import HF
from ..core.errors import UserError
from ..core.files import copy_present, write_text
from ..core.manifest import Manifest, fingerprint, run_stage
from ..core.qwen3 import SIDE_FILES, Qwen3Config, read_config
from . import distcp
from .hf_folder import DTYPES, Weights, Writer, write_config
from .names import EXTRA_STATES, GATED, OUTER, PLAIN, PROJECTIONS, fold_layer, layer_shapes, outer_shapes, unfold_layer

SHARD_BYTES = 4 * 10**9


def import_hf(source: Path, out: Path) -> Manifest:
    """Write a Hugging Face Qwen3's weights as a Megatron checkpoint root.

    Args:
        source: folder with config.json and safetensors.
        out: the checkpoint root to make: `release/`, and `hf/` with configuration and tokenizer.

    Raises:
        UserError: the folder is not a whole Qwen3.
    """
    shape = read_config(source)
    weights = Weights(source, shape)

    def body(work: Path) -> dict[str, Any]:
        tensors = {name: weights.get(OUTER[name]) for name in outer_shapes(shape)}
        tensors |= _stacked_layers(weights, shape)
        distcp.write(work, tensors, _extra_states(shape))
        copy_present(source, work / HF, ("config.json", *SIDE_FILES))
        return {"tensors": len(tensors), "parameters": shape.parameters}

    return run_stage("import", {"hf": source}, {}, out, body)


def _stacked_layers(weights: Weights, shape: Qwen3Config) -> dict[str, torch.Tensor]:
    """Every layer's tensors, stacked: [layers, ...]."""
    stacked = {
        name: torch.empty(shape.layers, *size, dtype=weights.dtype) for name, size in layer_shapes(shape).items()
    }
    for number in range(shape.layers):
        names = (*PLAIN.values(), *PROJECTIONS, *GATED)
        layer = {name: weights.get(f"model.layers.{number}.{name}") for name in names}
        for name, tensor in fold_layer(layer, shape).items():
            stacked[name][number] = tensor
    return {f"decoder.layers.{name}": tensor for name, tensor in stacked.items()}


def _extra_states(shape: Qwen3Config) -> list[str]:
    layers = range(shape.layers)
    inner = [f"decoder.layers.{name}._extra_state/shard_{n}_{shape.layers}" for name in EXTRA_STATES for n in layers]
    outer = ["decoder.final_layernorm", *([] if shape.tied else ["output_layer"])]
    return [*inner, *(f"{name}._extra_state/shard_0_1" for name in outer)]


def export_hf(checkpoint: Path, out: Path, reference: Path | None = None) -> Manifest:
    """Write a Megatron checkpoint as a Hugging Face Qwen3 folder.

    Args:
        checkpoint: one checkpoint's folder, or a root (then its newest).
        out: the folder to make.
        reference: a Hugging Face folder to take configuration and tokenizer from; else the `hf` folder that is kept
            beside the checkpoints.

    Raises:
        UserError: no such checkpoint, no configuration, or tensors of another shape.
    """
    folder = distcp.find(checkpoint)
    reference = reference or folder.parent / HF
    if not reference.is_dir():
        raise UserError(
            f"no configuration for {checkpoint}",
            where=str(reference),
            mend="name a Hugging Face folder with --reference",
        )
    shape = read_config(reference)
    stored = distcp.Checkpoint(folder)
    inner = {f"decoder.layers.{name}": (shape.layers, *size) for name, size in layer_shapes(shape).items()}
    stored.check(outer_shapes(shape) | inner)

    def body(work: Path) -> dict[str, Any]:
        writer = Writer(work, SHARD_BYTES)
        outer = stored.read(list(outer_shapes(shape)))
        dtype = next(iter(outer.values())).dtype
        if dtype not in DTYPES:
            raise UserError(f"the checkpoint's weights are {dtype}", where=str(folder), allowed="BF16, F16 or F32")
        writer.add({OUTER[name]: tensor for name, tensor in outer.items()})
        stacked = stored.read(list(inner))
        for number in range(shape.layers):
            layer = {name.removeprefix("decoder.layers."): tensor[number] for name, tensor in stacked.items()}
            writer.add({f"model.layers.{number}.{name}": t for name, t in unfold_layer(layer, shape).items()})
        writer.finish()
        copy_present(reference, work, SIDE_FILES)
        write_config(reference, work, dtype)
        write_text(work / "README.md", _card(folder, reference))
        return {"parameters": shape.parameters, "dtype": DTYPES[dtype]}

    log.info(f"export: {folder.name} -> {out}")
    return run_stage("export", {"checkpoint": folder, "reference": reference}, {}, out, body)


def _card(folder: Path, reference: Path) -> str:
    """Model card: where the weights come from."""
    return (
        "---\nlibrary_name: transformers\ntags:\n- continued-pretraining\n---\n"
        f"# {folder.parent.parent.name} / {folder.name}\n\n"
        f"Exported by pdapt from the Megatron checkpoint `{folder.name}`.\n\n"
        f"- checkpoint: sha256 `{fingerprint(folder)}`\n"
        f"- configuration and tokenizer: sha256 `{fingerprint(reference)}`\n"
    )
