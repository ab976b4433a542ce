"""The published recipe, fitted to a base, to the text at hand and to this machine.

The paper's values were for 2.53 epochs of 1.955 G tokens on 48 GPUs. What depends on neither text nor machine stays:
optimizer, layout, length of a sequence. Batch and steps follow from the text, the spread from the machine. The user's
own settings stay.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from math import ceil
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..core.errors import UserError
from ..core.gpus import GIB
from ..core.memory import fits
from ..core.qwen3 import SIZES, Qwen3Config, size_of
from ..core.remarks.remark import Remark, RemarkKind
from ..data_prep.tokens.layouts import Layout
from .hardware import Hardware
from .load import merge, resolve
from .memory import TENSOR_PARALLEL, of_gpu
from .overrides import flat, set_by
from .published_recipes import EPOCHS, OPTIMIZER, RUNS, SAVES, SEQ_LENGTH
from .schema import SAVED, Recipe, data_parallel, model_parallel, shape_of, world_size

WHERE = "the published recipe, fitted"
"""Name of the recipe in errors."""
LARGEST_MICRO = 8
LARGEST_BATCH = RUNS[Layout.PACKED][0]
STEPS = 1000
"""Steps of a run with enough text. With more text the batch grows to the published one; beyond that, the steps grow."""
BATCH = 8
"""Fewest sequences per step, unless fewer are needed to make `LEAST` steps."""
LEAST = 100
CPU_RANKS = 2
CPU_TOKENS = 2048
"""Most tokens at once on a CPU rank: the memory of its attention grows with their square."""
CPU_CONTEXT = 1e9
"""Bytes of a CPU rank beside the model: PyTorch and Megatron, imported."""
NARROWEST = min(shape.hidden for shape in SIZES.values())
LARGEST_SCALE = 10
"""Largest ratio of a narrow model's learning rate to the published one."""
VALIDATIONS = 24
"""Validations of a run: one every 180 of the paper's 4,320 steps."""
VALIDATION_BATCHES = 4
"""Global batches of a validation, at most."""
ASSUMED = 100_000.0
"""Assumed sequences of an epoch before the text has been counted, for checks that do not depend on it."""
OF_TRAINING = ("steps", "batch.global_size", "checkpoint.every", "validation.every")
"""Keys that a run keeps once it has begun, whatever machine it continues on."""


@dataclass(frozen=True)
class Fitted:
    """A fitted recipe, and the choices that led to it.

    Attributes:
        recipe: the checked recipe.
        kept: keys of `OF_TRAINING` -> their values.
        notes: remarks for the user.
    """

    recipe: Recipe
    kept: dict[str, int]
    notes: list[Remark]


def published(shape: Qwen3Config, dtype: str) -> dict[str, Any]:
    """The part of the published recipe that depends on the base alone, as nested keys of `schema.Recipe`.

    The learning rate is 2e-5, as in the paper for all four sizes. For a model narrower than the narrowest of them it is
    multiplied by the ratio of the widths, as in Yang et al. 2022 (arXiv:2203.03466) for Adam's hidden matrices, but by
    no more than `LARGEST_SCALE`.

    Args:
        shape: the base's shape.
        dtype: type of its weights, as `config.json` spells it.

    Raises:
        UserError: training cannot save weights of that type.
    """
    precision = next((name for name, saved in SAVED.items() if saved == dtype), None)
    if precision is None:
        raise UserError(
            f"the base's weights are {dtype}, but training saves {' or '.join(SAVED.values())}",
            where="--base",
            fix="convert it: pdapt convert import BASE ROOT, then pdapt convert export ROOT OUT --dtype bfloat16",
        )
    return {
        "model": {"shape": asdict(shape), "precision": precision},
        "data": {"layout": Layout.PACKED.value, "seq_length": min(SEQ_LENGTH, shape.max_positions)},
        "optimizer": OPTIMIZER | {"lr": OPTIMIZER["lr"] * _scale(shape)},
    }


def _scale(shape: Qwen3Config) -> float:
    return 1 if size_of(shape) else min(LARGEST_SCALE, max(1, NARROWEST / shape.hidden))


def before_text(base: dict[str, Any], overrides: list[str]) -> Recipe:
    """The recipe before the text has been counted: its layout and sequence length are final.

    Args:
        base: from `published`.
        overrides: the user's `key=value`.

    Raises:
        UserError: an override is not `key=value`, or its value has a wrong type.
    """
    return merge(_nested(base, {"steps": STEPS, "batch.global_size": BATCH}), overrides, WHERE)


def fit(
    base: dict[str, Any],
    overrides: list[str],
    sequences: float,
    hardware: Hardware,
    kept: dict[str, int] | None = None,
    *,
    valid: float = ASSUMED,
) -> Fitted:
    """Fit batch and steps to the text and the spread to the machine.

    The steps make up the published 2.53 epochs. The batch is chosen to give `STEPS` steps, from `BATCH` to the
    published 576 sequences; if that gives fewer than `LEAST` steps, it is chosen to give `LEAST`. It has at least one
    sequence for each copy of the model.

    Args:
        base: from `published`.
        overrides: the user's `key=value`, which win.
        sequences: sequences in an epoch of the training text, in the recipe's layout and length.
        hardware: this machine's hardware.
        kept: `Fitted.kept` of a run that has begun.
        valid: sequences of the validation text, which limit what a validation reads.

    Raises:
        UserError: an override conflicts with the rest, or no spread fits.
    """
    start = before_text(base, overrides)
    values = flat(asdict(start))
    fixed = {name: values[name] for name in set_by(overrides) if name in values}
    known = (kept or {}) | {name: value for name, value in fixed.items() if name in OF_TRAINING}
    wanted = known.get("batch.global_size")
    spread = _spread(start, fixed, hardware, wanted or _batch(EPOCHS * sequences), free=wanted is None)
    batch = spread["batch.global_size"]
    steps = known.get("steps") or max(1, round(EPOCHS * sequences / batch))
    keys = _nested(base, _rhythm(steps, batch, valid) | (kept or {}) | spread)
    recipe = resolve(keys, overrides, WHERE, fitting=hardware.gpus > 0)
    values = flat(asdict(recipe))
    notes = [_about_base(recipe), _about_text(recipe, sequences), _about_parallelism(recipe, hardware)]
    return Fitted(recipe, {name: values[name] for name in OF_TRAINING}, notes)


def _rhythm(steps: int, batch: int, valid: float) -> dict[str, int]:
    """The keys that follow from the number of steps: how often to save and validate, and on how much."""
    return {
        "steps": steps,
        "checkpoint.every": ceil(steps / SAVES),
        "validation.every": ceil(steps / VALIDATIONS),
        "validation.batches": min(VALIDATION_BATCHES, max(1, ceil(valid / batch))),
    }


def _batch(total: float) -> int:
    """Sequences per step of a run of `total` sequences, before they are divided among ranks."""
    if total >= STEPS * BATCH:
        return min(LARGEST_BATCH, int(total / STEPS))
    return max(1, min(BATCH, int(total / LEAST)))


def _spread(start: Recipe, fixed: dict[str, Any], hardware: Hardware, batch: int, *, free: bool) -> dict[str, Any]:
    """Find the first spread that divides and fits, as keys: with all ranks if possible, then with the smallest TP.

    Args:
        start: the recipe so far.
        fixed: keys that the user has set.
        hardware: this machine's hardware.
        batch: sequences per step.
        free: whether the batch may be rounded to a multiple of the number of ranks.
    """
    for tried in _attempts(start, fixed, hardware):
        dp = data_parallel(tried)
        unit = dp * fixed.get("batch.micro_size", 1)
        sequences = max(unit, round(batch / unit) * unit) if free else batch
        for micro in _micros(tried, fixed, hardware):
            whole = replace(tried, batch=replace(tried.batch, global_size=sequences, micro_size=micro))
            if sequences % (dp * micro) == 0 and holds(whole, hardware):
                return _keys(whole, hardware)
    _check_division(start, fixed, hardware)
    raise UserError(
        f"a model of {shape_of(start).parameters / 1e9:.2f} G parameters does not fit into this machine ({hardware}) "
        "with any spread that was tried" + (f", with {', '.join(sorted(fixed))} as you set them" if fixed else ""),
        where="--base",
        allowed="as `core/memory.py` predicts: weights, gradients, Adam's state and activations, with a tenth to spare",
        fix="use a machine with more memory or more GPUs; on several nodes, run the stages one by one "
        "(`pdapt launch RECIPE --print`)",
    )


def _check_division(start: Recipe, fixed: dict[str, Any], hardware: Hardware) -> None:
    """Raise an error if the user's own settings do not divide."""
    ranks = hardware.gpus or min(CPU_RANKS, hardware.cores)
    largest = {"parallel.ranks_per_node": ranks, "steps": STEPS}
    largest["batch.global_size"] = ranks * start.parallel.nodes * start.batch.micro_size
    resolve(_nested(asdict(start), largest | fixed), [], WHERE, fitting=False)


def _keys(spread: Recipe, hardware: Hardware) -> dict[str, Any]:
    """The keys of a spread; with GPUs also the machine's memory, which the check of memory uses."""
    keys: dict[str, Any] = {
        "batch.global_size": spread.batch.global_size,
        "batch.micro_size": spread.batch.micro_size,
        "parallel.ranks_per_node": spread.parallel.ranks_per_node,
        "parallel.tp": spread.parallel.tp,
        "optimizer.grads": spread.optimizer.grads,
    }
    memory = {"machine.gpu_gib": spread.machine.gpu_gib, "machine.host_gib": hardware.host_gib}
    return keys | memory if hardware.gpus else keys


def holds(recipe: Recipe, hardware: Hardware) -> bool:
    """Whether a machine has the memory that a recipe is predicted to need."""
    memory = of_gpu(recipe)
    if hardware.gpus:
        return fits(memory, recipe.machine.gpu_gib * GIB)
    ranks = recipe.parallel.ranks_per_node
    return fits(replace(memory, context=CPU_CONTEXT), hardware.host_gib * GIB / ranks)


def _attempts(start: Recipe, fixed: dict[str, Any], hardware: Hardware) -> Iterator[Recipe]:
    """Yield the recipe, without its batch, in each spread that divides."""
    shape = shape_of(start)
    kinds = ["fp32", "bf16"] if hardware.gpus and start.model.precision == "bf16" else ["fp32"]
    ranks = _asked(fixed, "parallel.ranks_per_node", range(hardware.gpus or min(CPU_RANKS, hardware.cores), 0, -1))
    tps = _asked(fixed, "parallel.tp", TENSOR_PARALLEL if hardware.gpus else TENSOR_PARALLEL[:1])
    (gpu_gib,) = _asked(fixed, "machine.gpu_gib", [hardware.gpu_gib])
    for count, tp, grads in product(ranks, tps, _asked(fixed, "optimizer.grads", kinds)):
        tried = replace(
            start,
            parallel=replace(start.parallel, ranks_per_node=count, tp=tp),
            optimizer=replace(start.optimizer, grads=grads),
            machine=replace(start.machine, gpu_gib=gpu_gib),
        )
        divides = tp > 0 and all(size % tp == 0 for size in (shape.kv_heads, shape.heads, shape.ffn, shape.vocab))
        if divides and world_size(tried) and world_size(tried) % model_parallel(tried) == 0:
            yield tried


def _micros(tried: Recipe, fixed: dict[str, Any], hardware: Hardware) -> Any:
    """List the micro-batches to try, the largest first."""
    most = LARGEST_MICRO if hardware.gpus else max(1, CPU_TOKENS // tried.data.seq_length)
    return _asked(fixed, "batch.micro_size", range(most if tried.parallel.pp == 1 else 1, 0, -1))


def _asked(fixed: dict[str, Any], name: str, choices: Any) -> Any:
    return [fixed[name]] if name in fixed else choices


def _about_base(recipe: Recipe) -> Remark:
    shape, optimizer, data = shape_of(recipe), recipe.optimizer, recipe.data
    size, scale = size_of(shape), _scale(shape)
    scaled = scale != 1 and optimizer.lr == OPTIMIZER["lr"] * scale
    values: dict[str, str | int | float] = {
        "model": f"Qwen3-{size.replace('p', '.').upper()}" if size else f"Qwen3 (hidden_size {shape.hidden})",
        "lr": optimizer.lr,
        "layout": data.layout,
        "tokens": data.seq_length,
        "precision": recipe.model.precision,
    }
    return Remark(RemarkKind.RECIPE_SCALED if scaled else RemarkKind.RECIPE_BASE, values | {"scale": scale})


def _about_text(recipe: Recipe, sequences: float) -> Remark:
    batch, steps = recipe.batch.global_size, recipe.steps
    values: dict[str, str | int | float] = {
        "sequences": round(sequences),
        "steps": steps,
        "batch": batch,
        "times": steps * batch / sequences,
        "published": EPOCHS,
        "largest": LARGEST_BATCH,
        "every": recipe.checkpoint.every,
    }
    return Remark(RemarkKind.RECIPE_TEXT, values)


def _about_parallelism(recipe: Recipe, hardware: Hardware) -> Remark:
    parallel = recipe.parallel
    values: dict[str, str | int | float] = {
        "ranks": parallel.ranks_per_node,
        "tp": parallel.tp,
        "pp": parallel.pp,
        "dp": data_parallel(recipe),
        "micro": recipe.batch.micro_size,
        "grads": recipe.optimizer.grads,
    }
    if hardware.gpus:
        return Remark(RemarkKind.RECIPE_GPUS, values | {"gpus": hardware.gpus, "gib": hardware.gpu_gib})
    return Remark(RemarkKind.RECIPE_CORES, values | {"cores": hardware.cores, "gib": hardware.host_gib})


def _nested(base: dict[str, Any], further: dict[str, Any]) -> DictConfig:
    """Merge dotted keys into `base`."""
    merged = OmegaConf.create(base)
    for name, value in further.items():
        OmegaConf.update(merged, name, value)
    return merged
