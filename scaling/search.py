"""The best parallelism of a recipe on its GPUs: every allowed way that fits, by its predicted time."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from ..core.errors import UserError, nearest
from ..core.gpus import GIB
from ..core.log import counted
from ..core.memory import GpuMemory, fits
from ..core.qwen3 import Qwen3Config
from ..recipes.filling import Filling
from ..recipes.memory import CHUNKS, RECOMPUTE, TENSOR_PARALLEL, allowed_memory, of_gpu, recomputes, virtual_stages
from ..recipes.schema import Layout, Recipe, masked, shape_of, world_size
from .constants import Constants
from .predict_run import Run, Site, run_from_terms, work_of_recipe
from .step_time import Terms, step_time
from .work import stack

LARGEST_MICRO = 16
CLOSE = 0.01
"""Difference, as a share of the time, within which the simpler way is taken: too small to predict."""
BEST = 10


@dataclass(frozen=True)
class Settings:
    """The settings that the search decides; if times are close, the earlier ones are kept simple first."""

    recompute: bool
    interleaving: int
    pp: int
    cp: int
    tp: int
    dp: int
    grads: str
    micro: int

    @staticmethod
    def of(recipe: Recipe) -> "Settings":
        """The settings that a recipe has."""
        parallel = recipe.parallel
        return Settings(
            recompute=recomputes(recipe),
            interleaving=virtual_stages(recipe),
            pp=parallel.pp,
            cp=parallel.cp,
            tp=parallel.tp,
            dp=world_size(recipe) // (parallel.tp * parallel.pp * parallel.cp),
            grads=recipe.optimizer.grads,
            micro=recipe.batch.micro_size,
        )


SETTINGS = [item.name for item in fields(Settings)]
KEYS = {
    "parallel.tp": "tp",
    "parallel.pp": "pp",
    "parallel.cp": "cp",
    "optimizer.grads": "grads",
    "batch.micro_size": "micro",
}
"""Keys of a recipe -> the settings that they stand for."""


@dataclass(frozen=True)
class Choice:
    """A way to spread a recipe.

    Attributes:
        recipe: the recipe, spread in this way.
        memory: memory of the GPU that needs most.
        run: the predicted run.
    """

    recipe: Recipe
    memory: GpuMemory
    run: Run

    @property
    def settings(self) -> Settings:
        """The settings that the search decides."""
        return Settings.of(self.recipe)

    @property
    def limits(self) -> list[tuple[str, float]]:
        """The terms of the step's time with the share of each, largest first."""
        terms = self.run.terms
        shares = [(item.name, float(getattr(terms, item.name)) / self.run.step_seconds) for item in fields(Terms)]
        return sorted(shares, key=lambda pair: -pair[1])

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        run = self.run
        numbers = {item.name: getattr(run, item.name) for item in fields(Run) if item.name != "terms"}
        terms = {name: share * run.step_seconds for name, share in self.limits}
        return {**asdict(self.settings), "memory_gib": self.memory.total / GIB, **numbers, "terms_seconds": terms}


def plan(
    recipe: Recipe, filling: Filling, site: Site, constants: Constants, keep: tuple[str, ...] = ()
) -> tuple[Choice, list[Choice]]:
    """Search all ways to spread a recipe.

    Args:
        recipe: the recipe; of its spread, only the number of GPUs and the settings in `keep` matter.
        filling: how full its slots are.
        site: the machines.
        constants: constants of the step-time model.
        keep: settings that stay as in the recipe, by their own names or by the recipe's keys.

    Returns:
        The choice: the simplest way that is predicted to be within 1 % of the fastest; and all ways that fit, fastest
        first.

    Raises:
        UserError: nothing fits, or `keep` names something that is not a setting.
    """
    keep = tuple(KEYS.get(name, name) for name in keep)
    for name in keep:
        if name not in SETTINGS:
            known = [*SETTINGS, *KEYS]
            fix = nearest(name, known)
            raise UserError(f"{name!r} is not a setting", where="--keep", allowed=", ".join(known), fix=fix)
    kept = [getattr(Settings.of(recipe), name) for name in keep]
    every = [way for way in candidates(recipe) if [getattr(Settings.of(way), name) for name in keep] == kept]
    if not every:
        values = ", ".join(f"{name} {value}" for name, value in zip(keep, kept, strict=True))
        raise UserError(
            f"the search tries no way that keeps {values}",
            where="--keep",
            allowed=f"a micro-batch of at most {LARGEST_MICRO}, TP of {', '.join(map(str, TENSOR_PARALLEL))}",
            fix="keep fewer settings, or change these in the recipe",
        )
    fitting = _fitting(recipe, every)
    works = [work_of_recipe(candidate, filling, site) for candidate, _ in fitting]
    each = _one_by_one(step_time(stack(works), constants), len(works))
    choices = [
        Choice(candidate, memory, run_from_terms(candidate, filling, site, work=work, terms=terms))
        for (candidate, memory), work, terms in zip(fitting, works, each, strict=True)
    ]
    choices.sort(key=lambda choice: choice.run.step_seconds)
    close = [choice for choice in choices if choice.run.step_seconds <= (1 + CLOSE) * choices[0].run.step_seconds]
    return min(close, key=lambda choice: _complexity(choice.recipe)), choices


def _fitting(recipe: Recipe, ways: Iterable[Recipe]) -> list[tuple[Recipe, GpuMemory]]:
    """List the ways that fit into the recipe's GPUs, with the memory that each takes."""
    tried = [(way, of_gpu(way)) for way in ways]
    fitting = [(way, memory) for way, memory in tried if fits(memory, recipe.machine.gpu_gib * GIB)]
    if not fitting:
        least = min(memory.total for _, memory in tried) / GIB
        raise UserError(
            f"no way to spread the recipe over {counted(world_size(recipe), 'GPU')} fits: "
            f"the least needs {least:.1f} GiB (predicted)",
            where="machine.gpu_gib",
            allowed=allowed_memory(recipe.machine.gpu_gib),
            fix="more GPUs (parallel.nodes), a shorter data.seq_length, or a smaller model",
        )
    return fitting


def _one_by_one(terms: Terms, count: int) -> Iterator[Terms]:
    """Split terms of arrays into terms of numbers, one for each setting."""
    columns = [np.broadcast_to(getattr(terms, item.name), count).tolist() for item in fields(Terms)]
    return (Terms(*values) for values in zip(*columns, strict=True))


def _complexity(recipe: Recipe) -> tuple[Any, ...]:
    """A sort key, smaller for a simpler way, most important setting first; BF16 gradients are less simple than FP32."""
    values = asdict(Settings.of(recipe))
    return tuple(value == "bf16" if name == "grads" else value for name, value in values.items() if name != "dp")


def candidates(recipe: Recipe) -> Iterator[Recipe]:
    """Yield every way to spread a recipe that Megatron and the recipe's own rules allow, whether it fits or not."""
    shape, world, total = shape_of(recipe), world_size(recipe), recipe.batch.global_size
    grads = ("fp32", "bf16") if recipe.model.precision == "bf16" else ("fp32",)
    for tp, pp, cp in _spreads(recipe, shape, world):
        dp = world // (tp * pp * cp)
        micros = [m for m in range(1, LARGEST_MICRO + 1) if total % (dp * m) == 0]
        if pp > 1 and masked(recipe.data):
            micros = micros[:1]  # a masked micro-batch is one flat sequence (recipes/validate.py)
        for micro in micros:
            for chunks in _chunks(shape.layers, pp, total // (dp * micro)):
                for kind in grads:
                    for again in (False, True):
                        yield _spread(recipe, (tp, pp, cp), micro=micro, chunks=chunks, grads=kind, recompute=again)


def _spreads(recipe: Recipe, shape: Qwen3Config, world: int) -> Iterator[tuple[int, int, int]]:
    """Yield TP, PP and CP of each allowed spread."""
    splits_sequences = recipe.data.layout == Layout.CONCAT and not masked(recipe.data)
    for tp in TENSOR_PARALLEL:
        parts = (shape.heads, shape.kv_heads, shape.ffn, shape.vocab, recipe.parallel.ranks_per_node)
        if any(part % tp for part in parts):
            continue  # TP stays inside a node
        for pp in range(1, shape.layers + 1):
            for cp in (1, 2, 4, 8) if splits_sequences else (1,):
                fits_sequence = recipe.data.seq_length % (2 * cp) == 0
                if shape.layers % pp == 0 and world % (tp * pp * cp) == 0 and fits_sequence:
                    yield tp, pp, cp


def _chunks(layers: int, pp: int, micro_batches: int) -> list[int]:
    """List the ways to interleave: chunks divide a stage's layers; Megatron needs a multiple of PP micro-batches."""
    if pp == 1 or micro_batches % pp:
        return [1]
    return [chunks for chunks in range(1, layers // pp + 1) if layers // pp % chunks == 0]


def _spread(
    recipe: Recipe, spread: tuple[int, int, int], *, micro: int, chunks: int, grads: str, recompute: bool
) -> Recipe:
    tp, pp, cp = spread
    dropped = {CHUNKS, *(RECOMPUTE if recomputes(recipe) else ())}  # selective recomputation stays as it is
    kept = {name: value for name, value in recipe.megatron.items() if name not in dropped}
    further = ({CHUNKS: chunks} if chunks > 1 else {}) | (RECOMPUTE if recompute else {})
    sp = recipe.parallel.sp if tp > 1 else None
    return replace(
        recipe,
        parallel=replace(recipe.parallel, tp=tp, pp=pp, cp=cp, sp=sp),
        batch=replace(recipe.batch, micro_size=micro),
        optimizer=replace(recipe.optimizer, grads=grads),
        megatron=kept | further,
    )


def explanation(choice: Choice, every: list[Choice]) -> list[str]:
    """Explain the choice: for each setting, what the best way with another value of it would cost."""
    spent = ", ".join(f"{name} {share:.0%}" for name, share in choice.limits[:3])
    run = choice.run
    lines = [
        f"{run.step_seconds:.2f} s per step, {run.tokens_per_second_per_gpu:,.0f} real tokens/s/GPU, MFU "
        f"{run.mfu:.1%}, {choice.memory.total / GIB:.1f} GiB; largest terms of a step: {spent}"
    ]
    for name, value in asdict(choice.settings).items():
        if name == "dp":
            continue  # follows from the others
        others = [other for other in every if getattr(other.settings, name) != value]
        if not others:
            lines.append(f"{name} {value}: no other value is allowed and fits")
            continue
        other = others[0]
        slower = other.run.step_seconds / choice.run.step_seconds - 1
        verdict = f"takes {slower:+.1%} time" if abs(slower) >= 0.0005 else "is as fast"
        reason = _reason(choice, other) if slower > CLOSE else "less simple, and the difference is too small to predict"
        lines.append(f"{name} {value}: the best with {name} {getattr(other.settings, name)} {verdict} ({reason})")
    return lines


def _reason(choice: Choice, other: Choice) -> str:
    """Name the term that grows most in another way."""
    mine, theirs = dict(choice.limits), dict(other.limits)
    more = {name: theirs[name] * other.run.step_seconds - mine[name] * choice.run.step_seconds for name in mine}
    name = max(more, key=lambda term: more[term])
    return f"{more[name]:+.2f} s of {name}"
