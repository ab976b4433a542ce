"""Megatron's trainer, started for a recipe: one rank of a run."""

import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from ...core import log
from ...core.checkpoint import newest
from ...core.files import read_json
from ...core.system.device import can_compile
from ...core.system.process import die_with_parent
from ...recipes.load import from_dict, to_dict
from ...recipes.megatron_args import Places, asynchronous, megatron_args
from ...recipes.schema import LOCAL, TRANSFORMER_ENGINE, Recipe, masked, transformer_impl
from ..run.failures.cause import publish
from ..run.failures.rank_file import FOLDER, RankFile
from ..run.folder import checkpoints, iteration, skipped
from ..run.output import LOGS, kept_apart
from ..run.provenance import layers_of, steps_of
from ..run.signals import Stops
from . import seams


def prepare(*, local: bool = False) -> bool:
    """Import Megatron, with the CPU backend where there is no GPU. Returns whether there is one.

    Args:
        local: whether GPUs, too, compute with Megatron's own layers.
    """
    import torch

    from . import local_layers

    gpu = torch.cuda.is_available()
    if not gpu or not can_compile():
        # Nothing is compiled on the CPU, either: kernels would be built for minutes to run for seconds.
        os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
    if not gpu or local:
        local_layers.hide_others()
    if not gpu:
        from . import cpu_backend

        cpu_backend.replace_cuda()
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
    """Run a rank's writing process: Megatron's loop, ended with its rank."""
    die_with_parent()
    prepare()
    seams.write(*args)


def layer_spec(config: Any) -> Any:
    """Megatron's own layer, with our attention where Transformer Engine is not there.

    Args:
        config: Megatron's `GPTModelConfig`.
    """
    from megatron.training.models.gpt import default_layer_spec

    spec = cast(Any, default_layer_spec(config, vp_stage=0))
    if config.transformer.transformer_impl == LOCAL:
        from .attention import DocumentAttention

        spec.submodules.self_attention.submodules.core_attention = DocumentAttention
    return spec


NUMBERS = ("begun", "stop_at", "deadline", "base_step")
"""A job's attributes that are numbers."""


@dataclass(frozen=True)
class Job:
    """What one rank has to know.

    Attributes:
        recipe: what is trained.
        places: where it reads and writes.
        tokens: the tokens stage's folder.
        begun: Unix time of this start.
        stop_at: last step of this start; None for the recipe's last.
        deadline: Unix time after which it saves and ends; None for no limit.
        base_step: of a base that is a run, the step after which the weights were saved.
    """

    recipe: Recipe
    places: Places
    tokens: Path
    begun: float
    stop_at: int | None = None
    deadline: float | None = None
    base_step: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As JSON values, for a rank in another process."""
        places = {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self.places).items()}
        times = {name: getattr(self, name) for name in NUMBERS}
        return {"recipe": to_dict(self.recipe), "places": places, "tokens": str(self.tokens), **times}

    @staticmethod
    def from_json(value: dict[str, Any]) -> "Job":
        """Read back what `to_json` wrote."""
        given = value["places"]
        paths = {name: Path(value) for name, value in given.items() if isinstance(value, str)}
        places = Places(**(given | paths))
        times = {name: value[name] for name in NUMBERS}
        return Job(from_dict(value["recipe"]), places, Path(value["tokens"]), **times)


def start(job: Job) -> None:
    """Be one rank of a run: train until the recipe's last step, or until it has to stop."""
    stops = Stops(job.deadline)  # first: a signal that comes while Megatron is imported counts, too
    with RankFile(job.places.achieved.parent / FOLDER, int(os.environ["RANK"])) as file:
        _train(job, stops, file)


def start_alone(job: Job) -> None:
    """Be a rank that nobody of ours looks after: where it ends because it has lost another one, it says why."""
    out, rank = job.places.achieved.parent, int(os.environ["RANK"])
    if rank == 0:
        log.info(f"train: what torch and Megatron print goes to {out / LOGS}")
    try:
        with kept_apart(out / LOGS / f"rank-{rank}.log"):
            start(job)
    except Exception:
        publish(out / FOLDER, rank)
        raise


def _train(job: Job, stops: Stops, file: RankFile) -> None:
    gpu = prepare(local=transformer_impl(job.recipe, gpu=True) == LOCAL)
    from megatron.core.enums import ModelType
    from megatron.training import pretrain, training
    from megatron.training.argument_utils import gpt_config_from_args, pretrain_cfg_container_from_args
    from megatron.training.arguments import parse_and_validate_args

    from .batch import ForwardStep
    from .datasets import Provider
    from .monitor import Monitor, Place

    arguments = megatron_args(job.recipe, job.places, gpu=gpu)
    out = job.places.achieved.parent
    arguments += _for_this_start(job, gpu=gpu)
    if gpu and os.environ.get("RANK", "0") == "0":
        for missing in missing_kernels(job.recipe):
            log.warn(f"train: {missing}")
    if asynchronous(job.recipe, gpu=gpu):
        seams.pass_on_results()
    elif not gpu:
        from .cpu_backend import save_in_this_process

        save_in_this_process()
    sys.argv = [sys.argv[0], *arguments]  # where Megatron reads its arguments
    args = parse_and_validate_args()
    model = gpt_config_from_args(args)
    model.transformer_layer_spec = layer_spec
    container = pretrain_cfg_container_from_args(args, model)
    monitor = Monitor(job.recipe, Place(out, job.begun), stops, file, args.world_size)
    monitor.install(training)
    provider = Provider(job.tokens, job.recipe.data, job.places.achieved, _saves(job), monitor)
    with monitor:
        monitor.watch.start()
        pretrain(container, provider, ModelType.encoder_or_decoder, ForwardStep(monitor))


def _for_this_start(job: Job, *, gpu: bool) -> list[str]:
    """Arguments that hang on this start and this machine, not on the recipe."""
    out = job.places.achieved.parent
    arguments = []
    if job.stop_at is not None:
        arguments += ["--exit-interval", str(job.stop_at)]
    if skipped(out):
        arguments += ["--iterations-to-skip", *map(str, skipped(out))]
    layers = transformer_impl(job.recipe, gpu=gpu)
    if layers == TRANSFORMER_ENGINE and find_spec("fused_weight_gradient_mlp_cuda") is None:
        # The output layer asks for Apex' kernel, and Megatron has one switch for it and Transformer Engine's.
        if os.environ.get("RANK", "0") == "0":
            log.warn("train: Apex is not installed: gradients are not added up inside the matrix products")
        arguments.append("--no-gradient-accumulation-fusion")
    source = newest(job.places.checkpoints)
    if source is not None and steps_of(source) != job.recipe.steps:
        # The scheduler compares the number of steps with the checkpoint's. `longer.py` has seen to the rest.
        arguments.append("--override-opt_param-scheduler")
    if source is None and job.places.base is not None:
        source = newest(job.places.base)
        if job.base_step is not None:  # not what its tracker names by now: a base may still be training
            source = job.places.base / f"iter_{job.base_step:07d}"
            arguments += ["--ckpt-step", str(job.base_step)]
    if layers == TRANSFORMER_ENGINE and source is not None and layers_of(source) == LOCAL:
        # Transformer Engine's norms ask for empty states that local layers do not save.
        arguments += ["--dist-ckpt-strictness", "log_unexpected"]
    return arguments


def missing_kernels(recipe: Recipe) -> Iterator[str]:
    """Say which fast paths of a GPU are not taken for lack of something; after megatron is imported.

    Raises:
        UserError: torch's kernel for packs has parameters that are not known.
    """
    if not can_compile():
        yield "there is no C compiler with Python's headers: nothing is fused that torch would have to compile"
    if transformer_impl(recipe, gpu=True) != LOCAL or not masked(recipe.data):
        return
    from .attention import kernel

    if recipe.model.precision == "fp32":
        yield "attention in FP32 takes one document after the other"
    elif kernel() is None:
        yield "this torch has no torch.nn.attention.varlen: attention takes one document after the other"


def _saves(job: Job) -> list[int]:
    """The steps after which a checkpoint may be saved, or has been."""
    last = job.recipe.steps
    intervals = [job.recipe.checkpoint.every, job.stop_at or last]  # Megatron stops at any multiple of `stop_at`
    there = [iteration(path) for path in checkpoints(job.places.achieved.parent)]
    return sorted({last, *there, *(step for interval in intervals for step in range(interval, last, interval))})


def main() -> None:
    """Run a job file for a launcher: `JOB PID`, its process number."""
    die_with_parent(int(sys.argv[2]))
    start(Job.from_json(read_json(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
