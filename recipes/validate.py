"""Checks across a recipe's fields, made before any process starts."""

from ..core.errors import UserError, check_known, nearest
from ..core.log import counted
from ..core.memory import GRADIENT
from ..core.qwen3 import SIZES, Qwen3Config
from ..core.slurm import check_options
from ..core.system.device import has_transformer_engine
from ..data_prep.tokens.layouts import Layout, check_layout
from .megatron_args import check_further
from .memory import check_memory
from .refusals import check_engine
from .schedule import check_schedule
from .schema import (
    ALL,
    LEAST_STEPS,
    SAVED,
    BlendEdition,
    Data,
    Guard,
    GuardAction,
    Layers,
    Recipe,
    data_parallel,
    masked,
    model_parallel,
    shape_of,
    world_size,
)


def validate(recipe: Recipe, *, fitting: bool = True) -> None:
    """Check that the recipe's values fit together.

    Args:
        recipe: the recipe.
        fitting: whether it also has to fit into its machine's memory.

    Raises:
        UserError: they do not; the message names the factors, their product and the nearest valid choice.
    """
    _model(recipe)
    _positive(recipe)
    _length(recipe)
    _layout(recipe.data)
    _blend(recipe.data)
    _precision(recipe)
    _world(recipe)
    _pass_through(recipe)
    _batch(recipe)
    _checkpoint(recipe)
    _guard(recipe.guard)
    _log(recipe)
    check_engine(recipe)
    check_options(recipe.job)
    if fitting:
        check_memory(recipe)
    for gpu in (False, True):
        check_further(recipe, gpu=gpu)


def _model(recipe: Recipe) -> None:
    model = recipe.model
    if (model.size is None) == (model.shape is None):
        raise UserError("the recipe must give either model.size or model.shape", where="model")
    if model.size is not None and model.size not in SIZES:
        raise UserError(
            f"model.size is {model.size!r}",
            where="model.size",
            allowed=", ".join(SIZES),
            fix=nearest(model.size, list(SIZES)),
        )
    check_known(model.transformer_impl, Layers, "layers", "model.transformer_impl")
    needing = needs_transformer_engine(recipe)
    if model.transformer_impl == Layers.LOCAL and needing:
        raise UserError(
            f"{', '.join(needing)} needs Transformer Engine, and model.transformer_impl is local",
            where=needing[0],
            allowed=f"with model.transformer_impl={Layers.TRANSFORMER_ENGINE} or {Layers.AUTO}",
            fix=f"leave {needing[0]} out",
        )
    if model.precision not in SAVED:
        raise UserError(f"model.precision is {model.precision!r}", where="model.precision", allowed=" or ".join(SAVED))


def _length(recipe: Recipe) -> None:
    longest = shape_of(recipe).max_positions
    if recipe.data.seq_length > longest:
        raise UserError(
            f"data.seq_length is {recipe.data.seq_length}, but the model has only {longest} positions",
            where="data.seq_length",
            allowed=f"up to {longest}",
        )


def _layout(data: Data) -> None:
    check_layout(data.layout, data.seq_length, ("data.layout", "data.seq_length"))
    if data.document_masks not in (None, masked(data)):
        why = {
            Layout.PACKED: "masks separate packed documents",
            Layout.PAPER: "a row holds one document's piece: there is nothing to mask",
        }[Layout(data.layout)]
        raise UserError(
            f"data.document_masks is {data.document_masks} with the layout {data.layout}: {why}",
            where="data.document_masks",
            allowed="true or false with the layout concat",
            fix="leave it out, or set data.layout=concat",
        )


def _blend(data: Data) -> None:
    if not data.blend:
        raise UserError("data.blend is empty", where="data.blend", fix="leave it out to read every data set")
    weighted = [number for number, part in enumerate(data.blend) if part.weight is not None]
    if 0 < len(weighted) < len(data.blend):
        raise UserError(
            f"{len(weighted)} of {len(data.blend)} parts have a weight",
            where="data.blend",
            allowed="a weight for every part, or for none",
        )
    for number, part in enumerate(data.blend):
        where = f"data.blend[{number}]"
        for name, value in (("weight", part.weight), ("max_epochs", part.max_epochs)):
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"{where}.{name} is {value}", where=where, allowed="more than 0")
        if part.edition is not None and part.edition not in BlendEdition:
            fix = nearest(part.edition, list(BlendEdition))
            raise UserError(
                f"{where}.edition is {part.edition!r}", where=where, allowed=", ".join(BlendEdition), fix=fix
            )


def _positive(recipe: Recipe) -> None:
    values = {
        "steps": recipe.steps,
        "data.seq_length": recipe.data.seq_length,
        "parallel.nodes": recipe.parallel.nodes,
        "parallel.ranks_per_node": recipe.parallel.ranks_per_node,
        "parallel.tp": recipe.parallel.tp,
        "parallel.pp": recipe.parallel.pp,
        "parallel.cp": recipe.parallel.cp,
        "batch.global_size": recipe.batch.global_size,
        "batch.micro_size": recipe.batch.micro_size,
        "checkpoint.every": recipe.checkpoint.every,
        "validation.every": recipe.validation.every,
    }
    for name, value in values.items():
        if value < 1:
            raise UserError(f"{name} is {value}", where=name, allowed="a whole number from 1")
    batches = recipe.validation.batches
    if (isinstance(batches, str) and batches != ALL) or (isinstance(batches, int) and batches < 1):
        where = "validation.batches"
        raise UserError(f"{where} is {batches!r}", where=where, allowed=f"a whole number from 1, or {ALL}")
    check_schedule(recipe)
    if not 0 < recipe.optimizer.clip < float("inf"):
        raise UserError(
            f"optimizer.clip is {recipe.optimizer.clip}",
            where="optimizer.clip",
            allowed="more than 0",
            fix="to clip nothing, set a large value, such as 1e9",
        )


def _world(recipe: Recipe) -> None:
    shape, parallel, world = shape_of(recipe), recipe.parallel, world_size(recipe)
    if world % model_parallel(recipe):
        raise UserError(
            f"TP {parallel.tp} x PP {parallel.pp} x CP {parallel.cp} = {model_parallel(recipe)} does not divide the "
            f"world of {counted(world, 'rank')} ({counted(parallel.nodes, 'node')} x {parallel.ranks_per_node})",
            where="parallel",
            allowed=f"a product that divides {world}: {_divisors(world)}",
        )
    _divides("parallel.tp", parallel.tp, _tp_limits(shape))
    _divides("parallel.pp", parallel.pp, {"layers": shape.layers})
    if parallel.pp > 1 and masked(recipe.data) and recipe.batch.micro_size > 1:
        raise UserError(
            f"batch.micro_size is {recipe.batch.micro_size} with PP {parallel.pp} and document masks",
            where="batch.micro_size",
            allowed="1: a masked micro-batch is one flat sequence, and pipeline stages exchange unflattened ones",
        )


def _precision(recipe: Recipe) -> None:
    model, grads = recipe.model, recipe.optimizer.grads
    if grads not in GRADIENT:
        raise UserError(f"optimizer.grads is {grads!r}", where="optimizer.grads", allowed=" or ".join(GRADIENT))
    asked = {"model.fp8=true": model.fp8, "optimizer.grads=bf16": grads == "bf16"}
    for name, wanted in asked.items():
        if wanted and model.precision != "bf16":
            raise UserError(
                f"{name} with model.precision={model.precision}", where=name.split("=")[0], allowed="with bf16"
            )


def _pass_through(recipe: Recipe) -> None:
    """Check the keys that are passed on to Megatron for GPUs: sequence and context parallelism, Megatron-FSDP."""
    parallel, data = recipe.parallel, recipe.data
    if parallel.sp and parallel.tp == 1:
        raise UserError(
            "parallel.sp is true with TP 1: there is no group of ranks to split the sequence over",
            where="parallel.sp",
            allowed="with parallel.tp=2 or more",
            fix="leave it out, or set parallel.tp=2",
        )
    if parallel.cp > 1 and (data.layout != Layout.CONCAT or masked(data)):
        raise UserError(
            f"parallel.cp is {parallel.cp} with the layout {data.layout}{' and masks' if masked(data) else ''}: CP "
            "splits each sequence evenly, and documents' pieces or padded rows cannot be split that way",
            where="parallel.cp",
            allowed="data.layout=concat data.document_masks=false",
            fix="parallel.cp=1; parallel.tp=2 saves as much memory at this length",
        )
    if data.seq_length % (2 * parallel.cp):
        step = 2 * parallel.cp
        near = max(step, round(data.seq_length / step) * step)
        raise UserError(
            f"2 x CP {parallel.cp} = {step} does not divide the {data.seq_length} slots of a sequence",
            where="data.seq_length",
            allowed=f"a multiple of {step}",
            fix=f"data.seq_length={near}",
        )
    if parallel.fsdp and recipe.checkpoint.reshardable:
        raise UserError(
            "checkpoint.reshardable is true with parallel.fsdp, which saves in a format of its own",
            where="checkpoint.reshardable",
            allowed="false with parallel.fsdp",
        )


def check_device(recipe: Recipe, *, gpu: bool) -> None:
    """Check that the machine has what the recipe needs.

    Raises:
        UserError: the recipe needs a GPU or Transformer Engine, and there is none.
    """
    needing = needs_transformer_engine(recipe)
    if needing and not gpu:
        raise UserError(
            f"{', '.join(needing)} needs Transformer Engine, and so a GPU; this machine has none",
            where=needing[0],
            allowed="a machine with GPUs",
            fix="leave it out here; `--dry-run` shows it without a GPU",
        )
    if needing and not has_transformer_engine():
        raise UserError(
            f"{', '.join(needing)} needs Transformer Engine, which is not installed here",
            where=needing[0],
            allowed="with Transformer Engine for PyTorch",
            fix="install requirements/gpu.txt, or leave it out",
        )


def needs_transformer_engine(recipe: Recipe) -> list[str]:
    """The keys of a recipe that need Transformer Engine's layers."""
    asked = {
        "model.fp8": recipe.model.fp8,
        "model.transformer_impl": recipe.model.transformer_impl == Layers.TRANSFORMER_ENGINE,
        "parallel.sp": bool(recipe.parallel.sp),
        "parallel.cp": recipe.parallel.cp > 1,
        "parallel.fsdp": recipe.parallel.fsdp,
    }
    return [name for name, wanted in asked.items() if wanted]


def _checkpoint(recipe: Recipe) -> None:
    chosen = recipe.checkpoint
    if chosen.keep_last < 1:
        raise UserError(
            f"checkpoint.keep_last is {chosen.keep_last}", where="checkpoint.keep_last", allowed="1 or more"
        )
    if chosen.keep_every is not None and (chosen.keep_every < 1 or chosen.keep_every % chosen.every):
        near = max(1, round(chosen.keep_every / chosen.every)) * chosen.every
        raise UserError(
            f"checkpoint.keep_every is {chosen.keep_every}, but a checkpoint is saved every "
            f"{counted(chosen.every, 'step')}",
            where="checkpoint.keep_every",
            allowed=f"a multiple of {chosen.every}",
            fix=f"checkpoint.keep_every={near}",
        )


def _guard(guard: Guard) -> None:
    acting = [action for action in GuardAction if action is not GuardAction.WARN]
    for name, allowed in (("nonfinite", acting), ("spike", [None, *GuardAction])):
        value = getattr(guard, name)
        if value not in allowed:
            known = [str(action) for action in allowed if action]
            fix = nearest(str(value), known)
            raise UserError(f"guard.{name} is {value!r}", where=f"guard.{name}", allowed=", ".join(known), fix=fix)
    least = {"deviations": 0.0, "window": LEAST_STEPS - 1, "limit": -1, "hang": 0.0}
    if guard.straggler is not None:
        least["straggler"] = 1.0
    for name, low in least.items():
        value = getattr(guard, name)
        if not low < value < float("inf"):
            raise UserError(f"guard.{name} is {value}", where=f"guard.{name}", allowed=f"more than {low:g}")


def _log(recipe: Recipe) -> None:
    profile, ranks = recipe.log.profile, recipe.log.profile_ranks
    if profile and not (len(profile) == 2 and 1 <= profile[0] <= profile[1] < recipe.steps):
        raise UserError(
            f"log.profile is {profile}",
            where="log.profile",
            allowed=f"[first, last], from 1 to {recipe.steps - 1}: the last of {recipe.steps} steps is not recorded",
        )
    if not ranks or any(not 0 <= rank < world_size(recipe) for rank in ranks):
        raise UserError(
            f"log.profile_ranks is {ranks}", where="log.profile_ranks", allowed=f"0 to {world_size(recipe) - 1}"
        )


def _tp_limits(shape: Qwen3Config) -> dict[str, int]:
    return {
        "attention heads": shape.heads,
        "key/value heads": shape.kv_heads,
        "MLP width": shape.ffn,
        "vocabulary": shape.vocab,
    }


def _batch(recipe: Recipe) -> None:
    dp, micro, total = data_parallel(recipe), recipe.batch.micro_size, recipe.batch.global_size
    if total % (dp * micro):
        near = max(dp * micro, round(total / (dp * micro)) * dp * micro)
        raise UserError(
            f"DP {dp} x micro-batch {micro} = {dp * micro} does not divide the global batch of {total} sequences",
            where="batch",
            allowed=f"a multiple of {dp * micro}",
            fix=f"batch.global_size={near}, or another batch.micro_size",
        )


def _divides(name: str, value: int, targets: dict[str, int]) -> None:
    for what, target in targets.items():
        if target % value:
            raise UserError(
                f"{name} = {value} does not divide the model's {target} {what}",
                where=name,
                allowed=f"for {what}: {_divisors(target)}",
            )


def _divisors(number: int) -> str:
    return ", ".join(str(value) for value in range(1, min(number, 64) + 1) if number % value == 0)
