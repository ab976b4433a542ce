"""Checks across a recipe's fields, made before any process starts."""

from ..core.errors import UserError, nearest
from ..core.qwen3 import SIZES, Qwen3Config
from ..data_prep.layouts import PACKED, PAPER, check_layout
from .schema import EDITIONS, SAVED, Data, Recipe, data_parallel, masked, shape_of, world_size


def validate(recipe: Recipe) -> None:
    """Check that the recipe's values go together.

    Raises:
        UserError: they do not; the message names the factors, their product and the nearest valid choice.
    """
    _model(recipe)
    _positive(recipe)
    _length(recipe)
    _layout(recipe.data)
    _blend(recipe.data)
    _world(recipe)
    _batch(recipe)


def _model(recipe: Recipe) -> None:
    model = recipe.model
    if (model.size is None) == (model.shape is None):
        raise UserError("the recipe must give either model.size or model.shape", where="model")
    if model.size is not None and model.size not in SIZES:
        raise UserError(
            f"model.size is {model.size!r}",
            where="model.size",
            allowed=", ".join(SIZES),
            mend=nearest(model.size, list(SIZES)),
        )
    if model.precision not in SAVED:
        raise UserError(f"model.precision is {model.precision!r}", where="model.precision", allowed=" or ".join(SAVED))


def _length(recipe: Recipe) -> None:
    longest = shape_of(recipe).max_positions
    if recipe.data.seq_length > longest:
        raise UserError(
            f"data.seq_length is {recipe.data.seq_length}, the model's positions end at {longest}",
            where="data.seq_length",
            allowed=f"up to {longest}",
        )


def _layout(data: Data) -> None:
    check_layout(data.layout, data.seq_length, ("data.layout", "data.seq_length"))
    if data.document_masks not in (None, masked(data)):
        why = {
            PACKED: "packed documents are told apart by masks",
            PAPER: "a row holds one document's piece: there is nothing to mask",
        }[data.layout]
        raise UserError(
            f"data.document_masks is {data.document_masks} with the layout {data.layout}: {why}",
            where="data.document_masks",
            allowed="true or false with the layout concat",
            mend="leave it out, or set data.layout=concat",
        )


def _blend(data: Data) -> None:
    if not data.blend:
        raise UserError("data.blend is empty", where="data.blend", mend="leave it out to read every data set")
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
        if part.edition is not None and part.edition not in EDITIONS:
            mend = nearest(part.edition, list(EDITIONS))
            raise UserError(f"{where}.edition is {part.edition!r}", where=where, allowed=", ".join(EDITIONS), mend=mend)


def _positive(recipe: Recipe) -> None:
    values = {
        "steps": recipe.steps,
        "data.seq_length": recipe.data.seq_length,
        "parallel.nodes": recipe.parallel.nodes,
        "parallel.ranks_per_node": recipe.parallel.ranks_per_node,
        "parallel.tp": recipe.parallel.tp,
        "parallel.pp": recipe.parallel.pp,
        "batch.global_size": recipe.batch.global_size,
        "batch.micro_size": recipe.batch.micro_size,
        "checkpoint.every": recipe.checkpoint.every,
        "validation.every": recipe.validation.every,
        "validation.batches": recipe.validation.batches,
    }
    for name, value in values.items():
        if value < 1:
            raise UserError(f"{name} is {value}", where=name, allowed="a whole number from 1")
    if not 0 < recipe.optimizer.lr < 1:
        raise UserError(f"optimizer.lr is {recipe.optimizer.lr}", where="optimizer.lr", allowed="between 0 and 1")


def _world(recipe: Recipe) -> None:
    shape, parallel, world = shape_of(recipe), recipe.parallel, world_size(recipe)
    if world % (parallel.tp * parallel.pp):
        raise UserError(
            f"TP {parallel.tp} x PP {parallel.pp} = {parallel.tp * parallel.pp} does not divide the world of {world} "
            f"ranks ({parallel.nodes} nodes x {parallel.ranks_per_node})",
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
            mend=f"batch.global_size={near}, or another batch.micro_size",
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
