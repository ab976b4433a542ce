"""A dry run of a recipe: arguments, memory and speed, without a GPU or a network; with tokens, the data it reads."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core import log
from ..core.checkpoint import CHECKPOINTS, root_of
from ..core.errors import UserError
from ..core.gpus import GIB
from ..core.memory import save_stall_seconds
from ..core.qwen3 import END_OF_DOCUMENT_ID
from ..core.training_cost import PredictedSpeed
from ..data_prep.tokens.tokens_record import read_record
from ..recipes import published_recipes
from ..recipes.load import to_dict, to_yaml
from ..recipes.megatron_args import Places, megatron_args
from ..recipes.memory import of_gpu, of_host
from ..recipes.schema import Engine, Recipe, describe_run, saves_asynchronously
from .blend import valid_batches, valid_sequences
from .inputs import Inputs, check_inputs
from .nemo.installed import check_installed
from .nemo.recipe_container import container_yaml
from .run.folder import ACHIEVED


@dataclass(frozen=True)
class DataRead:
    """Sequences and epochs of a data set that a run reads."""

    name: str
    sequences: float
    epochs: float


@dataclass(frozen=True)
class Prediction:
    """A run on GPUs, predicted.

    Attributes:
        recipe: the recipe as YAML values.
        megatron_args: Megatron's arguments, flags and values as separate elements.
        bridge_container: Megatron-Bridge's `ConfigContainer` as YAML; None if another engine trains, or if it cannot
            be made here (then a warning says why).
        data: what the run reads of each data set; empty without tokens.
        memory_gib: memory of the GPU that needs most.
        memory_parts_gib: its parts, before the share that is added for the peak.
        host_memory_gib: memory of a node during a save.
        stall_seconds: time for which a save stalls training.
        step_seconds: time of a step; None if nobody has predicted the speed.
        tokens_per_second_per_gpu: real tokens; None like `step_seconds`.
        step_seconds_interval: the shortest and the longest time to expect; None like `step_seconds`.
        beyond: sentences that say in what the run lies outside the rows that the planner is fitted to.
    """

    recipe: dict[str, Any]
    megatron_args: list[str]
    bridge_container: str | None
    data: list[DataRead]
    memory_gib: float
    memory_parts_gib: dict[str, float]
    host_memory_gib: float
    stall_seconds: float
    step_seconds: float | None
    tokens_per_second_per_gpu: float | None
    step_seconds_interval: tuple[float, float] | None
    beyond: list[str]


def dry_run(
    recipe: Recipe,
    out: Path,
    base: Path | None,
    inputs: Inputs | None = None,
    speed: PredictedSpeed | None = None,
) -> Prediction:
    """Predict a run on GPUs.

    Args:
        recipe: the checked recipe.
        out: run folder, as the arguments name it.
        base: run or checkpoint root that the weights start from.
        inputs: tokens and base, checked as training checks them; None without tokens.
        speed: the speed that `scaling` predicts.

    Raises:
        UserError: recipe and inputs do not fit together.
    """
    members = check_inputs(recipe, inputs) if inputs else []
    places = Places(
        checkpoints=out / CHECKPOINTS,
        base=base and root_of(base),
        tensorboard=out / "tensorboard",
        cache=out / "cache",
        achieved=out / ACHIEVED,
        eod=read_record(inputs.tokens).eod_id if inputs else END_OF_DOCUMENT_ID,
        valid_batches=valid_batches(recipe, valid_sequences(inputs.tokens, recipe.data)) if inputs else None,
    )
    memory, host = of_gpu(recipe), of_host(recipe)
    names = ("weights", "gradients", "optimizer", "activations", "logits", "buffers", "context")
    return Prediction(
        recipe=to_dict(recipe),
        megatron_args=megatron_args(recipe, places, gpu=True),
        bridge_container=_container(recipe, places),
        data=[DataRead(member.name, member.samples, member.epochs) for member in members],
        memory_gib=memory.total / GIB,
        memory_parts_gib={name: getattr(memory, name) / GIB for name in names},
        host_memory_gib=host.node / GIB,
        stall_seconds=save_stall_seconds(host, asynchronous=saves_asynchronously(recipe, gpu=True)),
        step_seconds=speed and speed.step_seconds,
        tokens_per_second_per_gpu=speed and speed.tokens_per_second_per_gpu,
        step_seconds_interval=speed and speed.interval,
        beyond=speed.beyond if speed else [],
    )


def as_text(name: str, recipe: Recipe, prediction: Prediction) -> str:
    """Format the prediction of `dry_run` for a person."""
    parts = ", ".join(f"{name} {value:.1f}" for name, value in prediction.memory_parts_gib.items())
    saves = "fully reshardable" if recipe.checkpoint.reshardable else "reshardable to another DP"
    lines = [
        to_yaml(recipe).rstrip(),
        "",
        describe_run(recipe),
        *([published_recipes.statement(name)] if name in published_recipes.names() else []),
        "",
        *_configuration(prediction),
        *_missing(recipe, prediction),
        *_data(prediction),
        "",
        "Predicted, not measured:",
        f"  memory of a GPU: {prediction.memory_gib:.1f} of {recipe.machine.gpu_gib:g} GiB ({parts}; plus 7 % for the "
        "peak)",
        f"  memory of a node during a save ({saves}): {prediction.host_memory_gib:.1f} of "
        f"{recipe.machine.host_gib:g} GiB",
        f"  a save stalls training for {prediction.stall_seconds:.1f} s",
        *_speed(prediction),
    ]
    return "\n".join(lines)


def _container(recipe: Recipe, places: Places) -> str | None:
    if recipe.engine != Engine.NEMO:
        return None
    reason = "give --tokens: the number of batches in validation.batches=all depends on them"
    if places.valid_batches or not isinstance(recipe.validation.batches, str):
        try:
            check_installed(recipe)
            return container_yaml(recipe, places)
        except UserError as error:
            reason = str(error)
    log.warn(f"train: Megatron-Bridge's container of the recipe is not shown: {reason}")
    return None


def _configuration(prediction: Prediction) -> list[str]:
    """The trainer's own configuration: Bridge's container, or Megatron's arguments."""
    if prediction.bridge_container is None:
        return ["Megatron's arguments:", *_command_line(prediction.megatron_args)]
    return ["Megatron-Bridge's ConfigContainer:", *(f"  {line}" for line in prediction.bridge_container.splitlines())]


def _missing(recipe: Recipe, prediction: Prediction) -> list[str]:
    unknown = isinstance(recipe.validation.batches, str) and not prediction.data
    return ["  (give --tokens to see --eval-iters: with validation.batches=all it depends on them)"] if unknown else []


def _data(prediction: Prediction) -> list[str]:
    if not prediction.data:
        return []
    rows = [f"  {row.name}: {row.sequences:,.0f} sequences ({row.epochs:.2f} epochs)" for row in prediction.data]
    return ["", "Data that the run reads:", *rows]


def _speed(prediction: Prediction) -> list[str]:
    if prediction.step_seconds is None or prediction.step_seconds_interval is None:
        return []
    step, tokens = prediction.step_seconds, prediction.tokens_per_second_per_gpu
    least, most = prediction.step_seconds_interval
    return [
        f"  a step: {step:.3g} s ({least:.3g} to {most:.3g}), {tokens:,.0f} real tokens/s/GPU "
        "(`pdapt plan recipe` shows what takes the time)",
        *(f"  {sentence}" for sentence in prediction.beyond),
    ]


def _command_line(arguments: list[str]) -> list[str]:
    """Format the arguments: one line for each flag and its values."""
    lines: list[str] = []
    for text in arguments:
        if text.startswith("--"):
            lines.append(f"  {text}")
        else:
            lines[-1] += f" {text}"
    return lines
