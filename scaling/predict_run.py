"""Predict a run: convert a recipe to `Work`, and the time of its step to the run's hours, speed and energy."""

from dataclasses import dataclass

from ..core.gpus import H100, NETWORK_CARD, WATTS_WITH_NODE
from ..core.memory import save_stall_seconds
from ..recipes.filling import Filling
from ..recipes.memory import of_host, recomputes, virtual_stages
from ..recipes.schema import (
    Layers,
    Recipe,
    data_parallel,
    saves_asynchronously,
    shape_of,
    transformer_impl,
    world_size,
)
from .constants import Constants, Reach
from .model_shapes import of_qwen3
from .published_trainer import Stack
from .step_time import Terms, step_time
from .work import Kernel, Work, of_architecture

YEAR = 2025.5
"""Year of the software, for the constants' progress: the middle of the newest rows that they are fitted to."""

VALIDATED = 4
"""Assumed number of global batches in `validation.batches=all`: the real number depends on the tokens."""


@dataclass(frozen=True)
class Site:
    """The machines of a run, beyond what the recipe says about them.

    Attributes:
        nics: network cards of a node; None for one per GPU, which is an assumption.
        nic: bytes per second of a network card.
        watts: power that a GPU draws in training, with its share of the node and of cooling.
    """

    nics: int | None = None
    nic: float = NETWORK_CARD
    watts: float = WATTS_WITH_NODE


def work_of_recipe(recipe: Recipe, filling: Filling, site: Site) -> Work:
    """Convert a recipe on H100s to `Work`."""
    parallel, dp = recipe.parallel, data_parallel(recipe)
    engine = transformer_impl(recipe, gpu=True) == Layers.TRANSFORMER_ENGINE
    return Work(
        **of_architecture(of_qwen3(shape_of(recipe))),
        tp=parallel.tp,
        pp=parallel.pp,
        cp=parallel.cp,
        dp=dp,
        chunks=virtual_stages(recipe),
        micro=recipe.batch.micro_size,
        accumulation=recipe.batch.global_size / (dp * recipe.batch.micro_size),
        seq=recipe.data.seq_length,
        attended=filling.attended,
        fp8=float(recipe.model.fp8),
        grad_bytes=4 if recipe.optimizer.grads == "fp32" else 2,
        gathers=2 if parallel.fsdp else 0,
        recompute=float(recomputes(recipe)),
        tp_overlap=float("tp-comm-overlap" in recipe.megatron),
        fused=float(engine),
        attention=Kernel.FLASH_3 if engine else Kernel.FLASH_2,  # torch's own kernel is FlashAttention 2
        year=YEAR,
        node=parallel.ranks_per_node,
        nics=site.nics or parallel.ranks_per_node,
        nic=site.nic,
    )


@dataclass(frozen=True)
class Run:
    """The predicted time and cost of a whole run.

    Attributes:
        step_seconds: time of a step.
        tokens_per_second_per_gpu: real tokens.
        mfu: share of the H100's BF16 peak (989.4 TFLOP/s), with causal attention counted half, over all slots, as
            Megatron counts it.
        hours: time of the whole run: steps, validation, saves.
        gpu_hours: hours of all GPUs.
        kwh: energy of all GPUs.
        terms: time of a step, by what takes it.
    """

    step_seconds: float
    tokens_per_second_per_gpu: float
    mfu: float
    hours: float
    gpu_hours: float
    kwh: float
    terms: Terms


def predict_run(recipe: Recipe, filling: Filling, site: Site, constants: Constants) -> Run:
    """Predict a run."""
    work = work_of_recipe(recipe, filling, site)
    return run_from_terms(recipe, filling, site, work=work, terms=step_time(work, constants))


def run_from_terms(recipe: Recipe, filling: Filling, site: Site, *, work: Work, terms: Terms) -> Run:
    """Compute a run from the terms of its step."""
    seconds, gpus = float(terms.total), float(work.gpus)
    stall = save_stall_seconds(of_host(recipe), asynchronous=saves_asynchronously(recipe, gpu=True))
    saves = -(-recipe.steps // recipe.checkpoint.every)
    chosen = recipe.validation.batches
    batches = VALIDATED if isinstance(chosen, str) else chosen
    # A validation's batch is a forward pass: a third of a step.
    validations = recipe.steps // recipe.validation.every * batches * seconds / 3
    hours = (recipe.steps * seconds + validations + saves * stall) / 3600
    return Run(
        step_seconds=seconds,
        tokens_per_second_per_gpu=float(work.slots) * filling.fill / seconds / gpus,
        mfu=float(work.flops) / seconds / gpus / H100.bf16,
        hours=hours,
        gpu_hours=hours * gpus,
        kwh=hours * gpus * site.watts / 1000,
        terms=terms,
    )


def stack_of_recipe(recipe: Recipe) -> Stack:
    """The kind of trainer whose rows apply to a recipe: Megatron-FSDP's own communication is fitted to FSDP's rows."""
    return Stack.FSDP if recipe.parallel.fsdp else Stack.MEGATRON


def unmeasured(recipe: Recipe, reach: Reach) -> str | None:
    """Why no rows support an interval for a recipe with FSDP; None if some do."""
    parameters, gpus = shape_of(recipe).parameters, world_size(recipe)
    return reach.unmeasured(Stack.FSDP, parameters, gpus, dp=data_parallel(recipe), cp=recipe.parallel.cp)


def beyond(recipe: Recipe, reach: Reach) -> list[str]:
    """List a sentence if a prediction goes beyond the rows that the constants are fitted to."""
    size, parameters = recipe.model.size, shape_of(recipe).parameters
    name = f"Qwen3-{size.replace('p', '.').upper()}" if size else f"{parameters / 1e9:.2f} G parameters"
    return reach.beyond(name, parameters, world_size(recipe), dp=data_parallel(recipe), cp=recipe.parallel.cp)
