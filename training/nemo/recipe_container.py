"""Bridge's container of a recipe that is not running: to look at, or for the user's own script.

`python -m pdapt.training.nemo.recipe_container JOB` prints it as YAML. pdapt runs this in a separate process, because
without a GPU importing Megatron replaces parts of torch.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core.errors import Failed
from ...core.files import read_json, write_json
from ...recipes.megatron_args import Places, megatron_args
from ...recipes.schema import Layers, Recipe, transformer_impl, world_size
from ..blend import valid_batches, valid_sequences
from ..rank_task import RankTask


def recipe_container(task: RankTask, *, gpu: bool, reads: bool = True) -> Any:
    """Make the `ConfigContainer`, which Bridge's `pretrain` takes together with its own forward step.

    Args:
        task: the recipe and its places.
        gpu: whether the container is for GPUs, wherever it is made.
        reads: whether to make the rows' provider, which needs the tokens.
    """
    from .bridge import parse, prepare

    prepare(local=transformer_impl(task.recipe, gpu=True) == Layers.LOCAL)
    from ..megatron.datasets import Provider
    from ..megatron.engine import container_of
    from .bridge_rows import Rows
    from .container import carry_over

    if reads:
        batches = valid_batches(task.recipe, valid_sequences(task.tokens, task.recipe.data))
        task = replace(task, places=replace(task.places, valid_batches=batches))
    with _as_rank_of(task.recipe), _rotary_kernel():
        megatron, _ = container_of(megatron_args(task.recipe, task.places, gpu=gpu), parse)
    provider: Any = Provider(task, [task.recipe.steps]) if reads else None
    return carry_over(megatron, Rows(provider=provider, num_workers=2 if gpu else 0), task.recipe.data.seq_length)


@contextmanager
def _as_rank_of(recipe: Recipe) -> Iterator[None]:
    """Pose as one of the recipe's ranks while Megatron checks its arguments, unless torchrun started this process."""
    chosen = {"WORLD_SIZE": str(world_size(recipe)), "RANK": "0", "LOCAL_RANK": "0", "CUDA_DEVICE_MAX_CONNECTIONS": "1"}
    before, argv = dict(os.environ), sys.argv
    os.environ.update(chosen | before)
    try:
        yield
    finally:
        sys.argv = argv
        for name in chosen.keys() - before.keys():
            del os.environ[name]


@contextmanager
def _rotary_kernel() -> Iterator[None]:
    """Let Megatron find Transformer Engine's kernel although there is none: the container is for another machine."""
    from megatron.core.models.common.embeddings import rope_utils

    kernel = rope_utils.fused_apply_rotary_pos_emb
    try:
        rope_utils.fused_apply_rotary_pos_emb = kernel or _absent
        yield
    finally:
        rope_utils.fused_apply_rotary_pos_emb = kernel


def _absent(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("Transformer Engine is not installed here")


def container_yaml(recipe: Recipe, places: Places) -> str:
    """Format Bridge's container of a recipe on GPUs as YAML, without its rows' provider.

    Raises:
        Failed: Megatron or Bridge cannot make it; the message holds the end of their output.
    """
    with tempfile.TemporaryDirectory(prefix="pdapt-container-") as folder:
        job = Path(folder) / "job.json"
        write_json(job, RankTask(recipe, places, Path("tokens"), begun=0.0).to_json())
        command = [sys.executable, "-m", __name__, str(job)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Failed(f"Megatron-Bridge's container of the recipe could not be made:\n{done.stderr[-2000:]}")
    return done.stdout


def main() -> None:
    """Print the container of a job; Megatron's own output goes to standard error."""
    with redirect_stdout(sys.stderr):
        container = recipe_container(RankTask.from_json(read_json(Path(sys.argv[1]))), gpu=True, reads=False)
    container.print_yaml()


if __name__ == "__main__":
    main()
