"""`nemo pdapt train`, `export`, `eval` and `merge`: each runs the `pdapt` command of its arguments.

NeMo-Run imports this file, by the entry point `pdapt` of the group `nemo_run.cli`, when `nemo` starts. An entry point
runs in the process that calls it: `nemo` itself, or with `executor=…` that of NeMo-Run's task. Under a torchrun
launcher that is each rank, and `pdapt train` is then one of the ranks.
"""

# NeMo-Run reads `Optional[str]`, and does not know `str | None`; 0.4.0 shows no help of `Optional[list[str]]`.
# ruff: noqa: UP006, UP035, UP045

import sys
from collections.abc import Callable
from typing import List, Optional

import nemo_run as run

from ..main import main


def _verb(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a function the entry point `nemo pdapt NAME`."""
    return run.cli.entrypoint(namespace="pdapt", name=name)


def _run(verb: str, *arguments: str, **options: object) -> None:
    """Run a verb of `pdapt`; an option that is None is left out, and one of several values is repeated."""
    command = [*verb.split(), *arguments]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, list):
            command += [word for item in value for word in (option, str(item))]
        elif value is not None:
            command += [option, str(value)]
    sys.argv = ["pdapt", *command]
    main()


@_verb("train")
def train(
    recipe: str,
    tokens: str,
    out: str,
    base: Optional[str] = None,
    tokenizer: Optional[str] = None,
    overrides: Optional[List[str]] = None,
    stop_at: Optional[int] = None,
    wall_time: Optional[float] = None,
) -> None:
    """Train a recipe, or continue its run: `pdapt train`.

    Args:
        recipe: Name of a recipe, or a YAML file.
        tokens: Folder made by `pdapt tokens build`.
        out: Run folder; the same command continues it.
        base: Run or checkpoint root to start from; by default random weights.
        tokenizer: Folder of the base's tokenizer.json, for a root without hf/.
        overrides: KEY=VALUE that replace the recipe's, such as engine=nemo.
        stop_at: Stop after this step.
        wall_time: Minutes after which training saves and ends, with exit code 75.
    """
    options = {"tokens": tokens, "out": out, "base": base, "tokenizer": tokenizer}
    _run("train", recipe, *(overrides or []), **options, stop_at=stop_at, wall_time=wall_time)


@_verb("export")
def export(
    checkpoint: str,
    out: str,
    weights: str = "parameters",
    dtype: Optional[str] = None,
    reference: Optional[str] = None,
) -> None:
    """Convert a Megatron checkpoint to a Hugging Face Qwen3: `pdapt convert export`.

    Args:
        checkpoint: Megatron checkpoint; of a root, the newest is exported.
        out: Hugging Face folder to make.
        weights: Weights to export: parameters, or master (the optimizer's FP32).
        dtype: Type of the weights: bfloat16, float16 or float32; by default the source's.
        reference: Folder with config.json and tokenizer.
    """
    options = {"from": weights, "dtype": dtype, "reference": reference}
    _run("convert export", checkpoint, out, **options)


@_verb("eval")
def evaluate(
    models: list[str],
    data: str,
    out: str,
    tasks: Optional[List[str]] = None,
    limit: Optional[int] = None,
    batch_size: str = "auto",
    gpus: int = 1,
) -> None:
    """Run the 28 tasks on any number of models: `pdapt eval run`.

    Args:
        models: [NAME=]FOLDER of a Hugging Face model or a run; the names base, tuned and merged state their roles.
        data: Folder made by `pdapt eval fetch`.
        out: Folder of all results; the same command continues it.
        tasks: Tasks, groups or patterns; by default all 28.
        limit: Largest number of questions of each task; by default all.
        batch_size: Sequences in a forward pass, or auto.
        gpus: GPUs for each task.
    """
    options = {"data": data, "out": out, "tasks": tasks, "limit": limit, "batch_size": batch_size, "gpus": gpus}
    _run("eval run", *models, **options)


@_verb("merge")
def merge(
    base: str,
    tuned: str,
    out: str,
    method: str = "slerp",
    t: Optional[List[str]] = None,
    density: Optional[float] = None,
    seed: Optional[int] = None,
) -> None:
    """Merge a model with its base: `pdapt merge run`.

    Args:
        base: Hugging Face folder of the base.
        tuned: Hugging Face folder of the adapted model, or a Megatron checkpoint.
        out: Hugging Face folder to make.
        method: Merge method: slerp, linear, task_arithmetic, ties, dare_linear or dare_ties.
        t: 0 is the base, 1 the adapted model; or as `pdapt merge run --t` takes it. By default 0.5.
        density: Share of the difference kept by TIES, DARE; by default 0.5.
        seed: Seed of DARE's draw; by default 0.
    """
    _run("merge run", base, tuned, out, method=method, t=t, density=density, seed=seed)
