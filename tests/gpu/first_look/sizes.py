"""The sizes trained in a first look: the published ones on a GPU, as far as its memory goes; tiny ones on a CPU."""

from dataclasses import asdict, dataclass, replace
from math import log2
from typing import Any

from pdapt.core.gpus import GIB
from pdapt.core.memory import fits
from pdapt.core.qwen3 import SIZES, Qwen3Config
from pdapt.core.system.device import has_transformer_engine
from pdapt.recipes.load import load, names
from pdapt.recipes.memory import of_gpu
from pdapt.recipes.schema import (
    Batch,
    Checkpoint,
    Data,
    Layers,
    Model,
    Optimizer,
    Parallel,
    Recipe,
    Shape,
    Validation,
)

ACCUMULATED = 4
"""Micro-batches of a step."""
LONG = 1000
"""Steps of a run that is ended from outside, long before it would save and validate."""
LARGEST_MICRO = 32
LAYERS = Layers.TRANSFORMER_ENGINE if has_transformer_engine() else Layers.LOCAL
"""Whose layers compute, said outright: `auto` would ask for the driver's device, which some sandboxes hide."""
TINY = Shape(layers=2, hidden=64, ffn=128, heads=4, kv_heads=2, head_dim=32, vocab=4096, tied=True, max_positions=512)
SMALL = Shape(layers=4, hidden=1024, ffn=3072, heads=16, kv_heads=8, head_dim=128, vocab=16_384, tied=True)
"""A slice of the 0.6B with few words: its whole checkpoint is 1.1 GB."""


@dataclass(frozen=True)
class Case:
    """A model to be trained.

    Attributes:
        name: as the table has it.
        recipe: of one GPU, with the micro-batch that is planned for it.
    """

    name: str
    recipe: Recipe

    def with_micro(self, micro: int) -> Recipe:
        """The recipe with another micro-batch."""
        return replace(self.recipe, batch=Batch(global_size=ACCUMULATED * micro, micro_size=micro))


def cases(gpu_gib: float | None) -> list[Case]:
    """The sizes, in the order in which they are measured.

    Args:
        gpu_gib: memory of the GPU; None on a CPU.
    """
    if gpu_gib is None:
        return [Case("tiny", _recipe(TINY, micro=2, seq_length=128))]
    return [_case(size, gpu_gib) for size in SIZES]


def micros(case: Case, gpu_gib: float | None) -> list[int]:
    """The micro-batches beside the planned one: those two that are nearest to it and predicted to fit."""
    planned = case.recipe.batch.micro_size
    if gpu_gib is None:
        return [2 * planned]
    found = [2**power for power in range(LARGEST_MICRO.bit_length()) if 2**power != planned]
    fitting = [micro for micro in found if fits(of_gpu(case.with_micro(micro)), gpu_gib * GIB)]
    return sorted(fitting, key=lambda micro: (abs(log2(micro / planned)), -micro))[:2]


def _case(size: str, gpu_gib: float) -> Case:
    """A size as it is published for one GPU; else with as much of it as fits: BF16 gradients, then fewer layers."""
    shape, name = SIZES[size], f"qwen3_{size}_cpt_1xh100_packed"
    label = "Qwen3-" + size.upper().replace("P", ".")
    if name in names():
        published = load(name, [f"machine.gpu_gib={gpu_gib}"], fitting=False)
        return Case(label, _measured(published))
    recipe, layers = _with_layers(shape, shape.layers), shape.layers
    while layers > 2 and not fits(of_gpu(recipe), gpu_gib * GIB):
        layers -= 2
        recipe = _with_layers(shape, layers)
    cut = "" if layers == shape.layers else f", {layers} of {shape.layers} layers"
    return Case(label + cut, recipe)


def _with_layers(shape: Qwen3Config, layers: int) -> Recipe:
    return _recipe(Shape(**asdict(replace(shape, layers=layers))), micro=1, seq_length=2048, grads="bf16")


def small(*, gpu: bool) -> Recipe:
    """The run that is saved, resumed and exported: four steps, saved after the second."""
    recipe = _recipe(SMALL if gpu else TINY, micro=2, seq_length=2048 if gpu else 128)
    return replace(recipe, steps=4, checkpoint=Checkpoint(every=2, keep_every=2), validation=Validation(every=4))


def in_papers_layout(case: Case) -> Recipe:
    """A case with a piece of one document a row, and the rest padding."""
    return replace(case.recipe, data=replace(case.recipe.data, layout="paper"))


def shape_values(shape: Qwen3Config) -> dict[str, Any]:
    """A shape as a row of measured speeds states it."""
    keys = ("layers", "hidden", "ffn", "heads", "kv_heads", "head_dim", "vocab", "tied")
    return {key: getattr(shape, key) for key in keys} | {"gated": True}


def _recipe(shape: Shape, *, micro: int, seq_length: int, grads: str = "fp32") -> Recipe:
    batch = Batch(global_size=ACCUMULATED * micro, micro_size=micro)
    data, optimizer = Data(seq_length=seq_length), Optimizer(grads=grads)
    return _measured(Recipe(model=Model(shape=shape), data=data, batch=batch, optimizer=optimizer, steps=LONG))


def _measured(recipe: Recipe) -> Recipe:
    """The recipe without saves and validation, and few micro-batches a step."""
    micro = recipe.batch.micro_size
    return replace(
        recipe,
        model=replace(recipe.model, transformer_impl=LAYERS),
        parallel=Parallel(),
        batch=Batch(global_size=ACCUMULATED * micro, micro_size=micro),
        checkpoint=Checkpoint(every=LONG),
        validation=Validation(every=LONG, batches=1),
        steps=LONG,
    )
