"""Starts Megatron's trainer for a recipe, as one rank of a run."""

import functools
import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

from ...core import log
from ...core.checkpoint import newest
from ...core.system.device import can_compile
from ...core.system.garbage import importing
from ...core.system.process import die_with_parent
from ...recipes.megatron_args import megatron_args
from ...recipes.schema import Layers, Recipe, masked, saves_asynchronously, transformer_impl
from ..rank_task import RankTask
from ..run.failures.rank_file import RankFile
from ..run.folder import skipped
from ..run.listeners.stops import Stops, block_signals
from ..run.provenance import layers_of, steps_of
from . import seams

MODULES = ("megatron.core.enums", "megatron.training.training", "megatron.training.arguments", ".hooks", ".rank_loop")
"""The modules that a rank needs and that take time to import, beyond those that `prepare` imports."""


@functools.cache
def prepare(*, local: bool = False) -> bool:
    """Import Megatron once per process, with the CPU backend if there is no GPU. Returns whether there is a GPU.

    Args:
        local: whether Megatron's local layers are used on GPUs, too.
    """
    import torch

    from . import local_layers

    gpu = torch.cuda.is_available()
    if not gpu or not can_compile():
        # Nothing is compiled on the CPU, either: building kernels would take minutes, and they would run for seconds.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    if not gpu or local:
        local_layers.hide_others()
    if not gpu:
        from . import cpu_backend

        cpu_backend.replace_cuda()
    with seams.without("wandb"):  # its import takes a second, and only the timers of Megatron's own writer need it
        import megatron.training

    if not gpu or local:
        local_layers.replace_in_megatron()
    if not gpu:
        from . import cpu_backend

        cpu_backend.replace_in_megatron()
    seams.apply(write_until_done)
    del megatron
    return gpu


def write_until_done(*args: Any) -> None:
    """Run the process that writes a rank's checkpoints: Megatron's loop, which ends when its rank does."""
    block_signals()  # Slurm sends them to all processes of a step
    die_with_parent()
    prepare()
    seams.write(*args)


def layer_spec(config: Any) -> Any:
    """Megatron's own layer, with our attention if Transformer Engine is not installed.

    Args:
        config: Megatron's `GPTModelConfig`.
    """
    from megatron.training.models.gpt import default_layer_spec

    spec = cast(Any, default_layer_spec(config, vp_stage=0))
    if config.transformer.transformer_impl == Layers.LOCAL:
        from .attention import DocumentAttention

        spec.submodules.self_attention.submodules.core_attention = DocumentAttention
    return spec


def load(recipe: Recipe) -> bool:
    """Import all that a rank of a recipe needs. Returns whether there is a GPU."""
    with importing():
        if "wandb-project" in recipe.megatron:
            import_module("wandb")  # for Megatron's own writer: `without` does not hide a loaded module
        gpu = prepare(local=transformer_impl(recipe, gpu=True) == Layers.LOCAL)
        for name in MODULES:
            import_module(name, __package__)
        seams.import_tokenizers()
    return gpu


def train_rank(task: RankTask, stops: Stops, file: RankFile) -> None:
    """Train as one rank, with Megatron's trainer.

    Args:
        task: the run.
        stops: has noted signals since before Megatron was imported.
        file: records the rank's progress.
    """
    gpu = load(task.recipe)
    from megatron.core.enums import ModelType
    from megatron.training import pretrain, training
    from megatron.training.arguments import parse_and_validate_args
    from megatron.training.global_vars import get_tensorboard_writer

    from .batch import ForwardStep
    from .hooks import Hooks
    from .rank_loop import RankLoop

    container, ranks = configure(task, parse_and_validate_args, gpu=gpu)
    loop = RankLoop(task, stops, file, ranks=ranks, gpu=gpu)
    events, measuring = loop.events, loop.measuring
    hooks = Hooks(training, events, measuring, stops, watches_loss=loop.watches_loss)
    hooks.install(lambda step: loop.listeners(step, get_tensorboard_writer()))
    with loop.running():
        pretrain(container, loop.provider, ModelType.encoder_or_decoder, ForwardStep(events, measuring))


def configure(task: RankTask, parse: Callable[[], Any], *, gpu: bool) -> tuple[Any, int]:
    """Make Megatron's configuration for a rank, and count the ranks.

    Args:
        task: the run.
        parse: Megatron's parser of `sys.argv`, which also checks the arguments.
        gpu: whether there is a GPU.
    """
    arguments = megatron_args(task.recipe, task.places, gpu=gpu) + _for_this_start(task, gpu=gpu)
    if gpu and os.environ.get("RANK", "0") == "0":
        for missing in missing_kernels(task.recipe):
            log.warn(f"train: {missing}")
    if saves_asynchronously(task.recipe, gpu=gpu):
        seams.pass_on_results()
    elif not gpu:
        from .cpu_backend import save_in_this_process

        save_in_this_process()
    return container_of(arguments, parse)


def container_of(arguments: list[str], parse: Callable[[], Any]) -> tuple[Any, int]:
    """Make Megatron's configuration from its arguments, and count the ranks; `parse` as in `configure`."""
    from megatron.training.argument_utils import gpt_config_from_args, pretrain_cfg_container_from_args

    sys.argv = [sys.argv[0], *arguments]  # where Megatron reads its arguments
    args = parse()
    model = gpt_config_from_args(args)
    model.transformer_layer_spec = layer_spec
    return pretrain_cfg_container_from_args(args, model), args.world_size


def _for_this_start(task: RankTask, *, gpu: bool) -> list[str]:
    """List the arguments that depend on this start and this machine, not on the recipe."""
    out = task.out
    arguments = []
    if task.stop_at is not None:
        arguments += ["--exit-interval", str(task.stop_at)]
    if skipped(out):
        arguments += ["--iterations-to-skip", *map(str, skipped(out))]
    layers = transformer_impl(task.recipe, gpu=gpu)
    if layers == Layers.TRANSFORMER_ENGINE and find_spec("fused_weight_gradient_mlp_cuda") is None:
        # The output layer needs Apex's kernel, and Megatron has one switch for that kernel and Transformer Engine's.
        if os.environ.get("RANK", "0") == "0":
            log.warn("train: Apex is not installed: gradients are not accumulated inside the matrix products")
        arguments.append("--no-gradient-accumulation-fusion")
    source = newest(task.places.checkpoints)
    if source is not None and steps_of(source) != task.recipe.steps:
        # The scheduler compares the number of steps with the checkpoint's. `extend_run.py` has checked the rest.
        arguments.append("--override-opt_param-scheduler")
    if source is None and task.places.base is not None:
        source = newest(task.places.base)
        if task.base_step is not None:  # its tracker may name a newer one by now: a base may still be training
            source = task.places.base / f"iter_{task.base_step:07d}"
            arguments += ["--ckpt-step", str(task.base_step)]
    if layers == Layers.TRANSFORMER_ENGINE and source is not None and layers_of(source) == Layers.LOCAL:
        # Transformer Engine's norms ask for empty states that local layers do not save.
        arguments += ["--dist-ckpt-strictness", "log_unexpected"]
    return arguments


def missing_kernels(recipe: Recipe) -> Iterator[str]:
    """List the fast paths of a GPU that are not used because a package is missing; after megatron is imported.

    Raises:
        UserError: torch's kernel for packs has unknown parameters.
    """
    if not can_compile():
        yield "there is no C compiler with Python's headers: torch cannot compile fused operations"
    if transformer_impl(recipe, gpu=True) != Layers.LOCAL or not masked(recipe.data):
        return
    from .attention import kernel

    if recipe.model.precision == "fp32":
        yield "attention in FP32 computes one document after the other"
    elif kernel() is None:
        yield "this torch has no torch.nn.attention.varlen: attention computes one document after the other"
