"""The steps that measure training beside the plan."""

import shutil
import time
from dataclasses import replace

import sizes
import torch
from one_run import Row, speed
from step import GPU, Step, gpu_gib

from pdapt.core.gpus import GIB, GPUS
from pdapt.recipes.memory import of_gpu
from pdapt.recipes.schema import Layers, Recipe, shape_of


def speeds(step: Step) -> None:
    """Tokens a second, MFU and memory of each size at its planned micro-batch, packed, beside the plan."""
    found: list[Row] = []
    for case in sizes.cases(gpu_gib()):
        found.append(_speed(step, "speeds", case.name, case.recipe))
        step.note(found)


def sweep(step: Step) -> None:
    """The same at other micro-batches."""
    found: list[Row] = []
    for case in sizes.cases(gpu_gib()):
        for micro in sizes.micros(case, gpu_gib()):
            if step.end - time.monotonic() < (25 if GPU else 1):
                return
            found.append(_speed(step, "sweep", case.name, case.with_micro(micro)))
            step.note(found)


def _speed(step: Step, folder: str, name: str, recipe: Recipe) -> Row:
    """One run's speed, and what was predicted of it; an error in its place where it failed."""
    work = f"{folder}-{name.split(',')[0]}-{recipe.batch.micro_size}"
    row: Row = {"name": name, "micro": recipe.batch.micro_size, "grads": recipe.optimizer.grads}
    try:
        row |= speed(step.training(work, recipe), step.left(90), 8 if GPU else 3)
    except RuntimeError as error:
        text = str(error)
        row["error"] = "out of memory" if "out of memory" in text.lower() else text[-1500:]
    shutil.rmtree(step.work / work / "run", ignore_errors=True)
    return row | _planned(step, recipe) | {"row": _row(step, name, recipe, row) if "error" not in row else None}


def _planned(step: Step, recipe: Recipe) -> Row:
    """Tokens a second and memory as the planner says, for an H100, with this GPU's memory where it is an H200."""
    from pdapt.recipes.filling import filling
    from pdapt.scaling.constants import read_fit
    from pdapt.scaling.predict_run import Site, work_of_recipe
    from pdapt.scaling.step_time import step_time

    slots = filling(recipe, step.tokens())
    work = replace(work_of_recipe(recipe, slots, Site()), node=1, nics=1, memory=GPUS[_kind()].bandwidth)
    seconds = float(step_time(work, read_fit().constants).total)
    planned = {"planned_tokens_per_second": float(work.slots) * slots.fill / seconds, "planned_step_seconds": seconds}
    return planned | {"planned_gib": of_gpu(recipe).total / GIB}


def _kind() -> str:
    return "H200" if GPU and "H200" in torch.cuda.get_device_name() else "H100"


def _row(step: Step, name: str, recipe: Recipe, measured: Row) -> Row:
    """A speed in the form of the planner's rows."""
    from pdapt.recipes.filling import filling

    layers = "Transformer Engine" if sizes.LAYERS == Layers.TRANSFORMER_ENGINE else "local layers"
    return {
        "id": f"{name}, {recipe.data.layout}, micro-batch {recipe.batch.micro_size}",
        "model": name,
        "shape": sizes.shape_values(shape_of(recipe)),
        "n_gpu": 1,
        "mbs": recipe.batch.micro_size,
        "gbs": recipe.batch.global_size,
        "seq": recipe.data.seq_length,
        "attended": filling(recipe, step.tokens()).attended,
        "grads": recipe.optimizer.grads,
        "precision": "bf16",
        "recompute": "none",
        "software": f"Megatron, {layers}",  # without a date: it counts as what the planner plans with
        "hw": f"{_kind()} SXM, 1/node" if GPU else "cores, 1/node",
        "tokens_s_gpu": measured["slots_per_second"],
    }


def layouts(step: Step) -> None:
    """The paper's layout beside packed rows, of the first size: real tokens a second."""
    case = sizes.cases(gpu_gib())[0]
    step.note([_speed(step, "paper", case.name, sizes.in_papers_layout(case))])
