"""Whether a recipe fits into its machine's memory, as `core.memory` predicts."""

from dataclasses import replace

from ..core.errors import UserError
from ..core.gpus import GIB
from ..core.log import counted
from ..core.memory import HEADROOM, GpuMemory, HostMemory, fits, gpu_memory, host_memory
from .schema import Recipe, data_parallel, sequence_parallel, shape_of

TENSOR_PARALLEL = (1, 2, 4, 8)
"""Numbers of ranks that may share a layer: at most those of a node."""
CHUNKS = "num-virtual-stages-per-pipeline-rank"
"""Megatron's argument for interleaving."""
RECOMPUTE = {"recompute-granularity": "full", "recompute-method": "uniform", "recompute-num-layers": 1}
"""Megatron's arguments for recomputing each layer."""


def of_gpu(recipe: Recipe) -> GpuMemory:
    """Memory of the GPU that needs most."""
    parallel = recipe.parallel
    return gpu_memory(
        shape_of(recipe),
        dp=data_parallel(recipe),
        tp=parallel.tp,
        pp=parallel.pp,
        cp=parallel.cp,
        sp=sequence_parallel(recipe, gpu=True),
        micro_batch=recipe.batch.micro_size,
        seq_length=recipe.data.seq_length,
        grads=recipe.optimizer.grads,
        fsdp=parallel.fsdp,
        chunks=virtual_stages(recipe),
        recompute=recomputes(recipe),
        fp8=recipe.model.fp8,
        precision=recipe.model.precision,
    )


def virtual_stages(recipe: Recipe) -> int:
    """Virtual pipeline stages on each rank: 1, or the number that the recipe passes to Megatron."""
    return int(recipe.megatron.get(CHUNKS, 1))


def recomputes(recipe: Recipe) -> bool:
    """Whether the recipe makes Megatron recompute whole layers in the backward pass."""
    return recipe.megatron.get("recompute-granularity") == "full"


def of_host(recipe: Recipe) -> HostMemory:
    """Memory that a save takes on a node."""
    parallel = recipe.parallel
    return host_memory(
        shape_of(recipe),
        dp=data_parallel(recipe) * parallel.cp,
        tp=parallel.tp,
        pp=parallel.pp,
        ranks_per_node=parallel.ranks_per_node,
        reshardable=recipe.checkpoint.reshardable,
    )


def allowed_memory(gpu_gib: float) -> str:
    """The memory of a GPU that a recipe may take, in words for messages."""
    return f"{(1 - HEADROOM) * gpu_gib:.1f} GiB ({1 - HEADROOM:.0%} of {gpu_gib:g})"


def check_memory(recipe: Recipe) -> None:
    """Check that GPUs and nodes have the predicted memory.

    Raises:
        UserError: they do not; the message says what takes the memory, and what would fit.
    """
    memory, capacity = of_gpu(recipe), recipe.machine.gpu_gib
    if not fits(memory, capacity * GIB):
        parts = f"states {memory.states / GIB:.1f}, activations {memory.activations / GIB:.1f}, logits "
        raise UserError(
            f"a GPU would need {memory.total / GIB:.1f} GiB ({parts}{memory.logits / GIB:.1f}; predicted), at "
            f"micro-batch {recipe.batch.micro_size}, TP {recipe.parallel.tp}, PP {recipe.parallel.pp}, "
            f"DP {data_parallel(recipe)}, {recipe.optimizer.grads} gradients",
            where="machine.gpu_gib",
            allowed=allowed_memory(capacity),
            fix=_what_fits(recipe),
        )
    host = of_host(recipe)
    if host.node > recipe.machine.host_gib * GIB:
        raise UserError(
            f"a save would need {host.node / GIB:.0f} GiB of a node's memory ({host.gathered / GIB:.1f} gathered and "
            f"{host.share / GIB:.1f} copied per rank, {counted(host.ranks_per_node, 'rank')} per node; predicted)",
            where="machine.host_gib",
            allowed=f"{recipe.machine.host_gib:g} GiB",
            fix="checkpoint.reshardable=false, except for one last save before TP or PP changes; or a larger TP or PP",
        )


def _what_fits(recipe: Recipe) -> str:
    """Name the nearest settings that fit: fewer sequences at once, else BF16 gradients, else a larger TP."""
    micros = [size for size in range(recipe.batch.micro_size, 0, -1) if recipe.batch.micro_size % size == 0]
    world = recipe.parallel.nodes * recipe.parallel.ranks_per_node
    tps = [tp for tp in TENSOR_PARALLEL if tp >= recipe.parallel.tp and world % (tp * recipe.parallel.pp) == 0]
    grads = [recipe.optimizer.grads] + ["bf16"] * (recipe.model.precision == "bf16")
    for tp in tps:
        for kind in grads:
            for micro in micros:
                tried = replace(
                    recipe,
                    parallel=replace(recipe.parallel, tp=tp),
                    optimizer=replace(recipe.optimizer, grads=kind),
                    batch=replace(recipe.batch, micro_size=micro),
                )
                if fits(of_gpu(tried), recipe.machine.gpu_gib * GIB):
                    return f"parallel.tp={tp} optimizer.grads={kind} batch.micro_size={micro} fits"
    return "more GPUs, or a smaller model"
