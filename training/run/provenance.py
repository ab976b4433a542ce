"""A checkpoint's provenance, and whether a run with another parallelism can continue from it."""

import shlex
import sys
from pathlib import Path
from typing import Any

from ...core.checkpoint import read_provenance
from ...core.errors import UserError
from ...core.manifest import versions
from ...core.system.device import has_gpu
from ...recipes.load import to_dict
from ...recipes.schema import Layers, Recipe, transformer_impl
from ..preflight.kept_code import commit

CPU, GPU = "cpu", "gpu"


def provenance(recipe: Recipe, inputs: dict[str, Any], code: str | None = None) -> dict[str, Any]:
    """Describe what a run's checkpoints are made of.

    Args:
        recipe: the resolved recipe.
        inputs: fingerprints of tokens, tokenizer and base.
        code: path of the code in the run's folder, if no commit holds it.
    """
    return {
        "recipe": to_dict(recipe),
        "inputs": inputs,
        "versions": versions(),
        "commit": commit(),
        "code": code,
        "command": shlex.join(sys.argv),
        "device": _device(),
        "transformer_impl": transformer_impl(recipe, gpu=has_gpu()),
    }


def _device() -> str:
    return GPU if has_gpu() else CPU


def device_of(checkpoint: Path) -> str | None:
    """Whether a checkpoint was saved on a CPU or on GPUs; None if no record says so."""
    record = read_provenance(checkpoint)
    return record.text("device", "") or None if record else None


def layers_of(checkpoint: Path) -> str | None:
    """Which implementation of the layers saved a checkpoint; None if no record says so."""
    record = read_provenance(checkpoint)
    if record is None:
        return None
    # Records that name no implementation are older than the option.
    by_device = {CPU: Layers.LOCAL, GPU: Layers.TRANSFORMER_ENGINE}
    return record.text("transformer_impl", "") or by_device.get(record.text("device", ""))


def steps_of(checkpoint: Path) -> int | None:
    """Steps that a checkpoint's run was planned for; None if no record says so."""
    record = read_provenance(checkpoint)
    return record.object("recipe").integer("steps") if record else None


def check_resharding(checkpoint: Path, recipe: Recipe) -> None:
    """Check that a checkpoint's optimizer state can be resharded as the recipe needs it.

    Raises:
        UserError: TP, PP or the kind of sharding differs, and the checkpoint was not saved for that; or its record of
            hashes is damaged.
    """
    record = read_provenance(checkpoint)
    assert record is not None, "`recover` has hashed it"
    saved = record.object("recipe")
    before, now = saved.object("parallel"), recipe.parallel
    tp, pp, fsdp = before.integer("tp"), before.integer("pp"), before.flag("fsdp")
    if fsdp != now.fsdp:
        raise UserError(
            f"{checkpoint.name} was saved {'by' if fsdp else 'without'} Megatron-FSDP, which has a format of its own",
            where="parallel.fsdp",
            allowed=f"{str(fsdp).lower()}",
        )
    if saved.object("checkpoint").flag("reshardable"):
        return
    device, layers = device_of(checkpoint), layers_of(checkpoint)
    if device not in (None, _device()) or layers not in (None, transformer_impl(recipe, gpu=has_gpu())):
        raise UserError(
            f"{checkpoint.name} was saved on a {device} by {layers} layers with checkpoint.reshardable=false, and the "
            "layers of this start keep the optimizer's state in another order",
            where=str(checkpoint),
            allowed=f"on a {device}, model.transformer_impl={layers}",
            fix="train one more step there with checkpoint.reshardable=true and --stop-at, then continue here",
        )
    if (tp, pp) == (now.tp, now.pp):
        return
    raise UserError(
        f"{checkpoint.name} was saved at TP {tp} x PP {pp} with checkpoint.reshardable=false, but the recipe has "
        f"TP {now.tp} x PP {now.pp}",
        where="parallel",
        allowed=f"parallel.tp={tp} parallel.pp={pp}",
        fix="train one more step as before, with checkpoint.reshardable=true and --stop-at, then change TP or PP",
    )
