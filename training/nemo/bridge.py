"""Starts Megatron-Bridge's trainer for a recipe, as one rank of a run."""

import functools
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ...core.checkpoint import newest
from ...core.files import atomic_path, remove
from ...core.system.garbage import importing
from ...recipes.schema import Layers, Recipe, transformer_impl
from ..megatron import engine as megatron_engine
from ..rank_task import RankTask
from ..run.failures.rank_file import RankFile
from ..run.folder import iteration
from ..run.listeners.stops import Stops

ASKING = (
    "megatron.core.models.hybrid.hybrid_layer_specs",
    "megatron.core.optimizer.distrib_optimizer",
    "megatron.core.post_training.modelopt.gpt.model_specs",
    "megatron.training.models",
)
"""Megatron's modules that look for Transformer Engine when they are imported; for local layers they must find none."""
MODULES = ("megatron.bridge.training.pretrain", "..megatron.rank_loop", ".container", ".callbacks", ".forward_step")
"""The modules that a rank needs and that take time to import, beyond those that `prepare` imports."""
HIDDEN = ("transformer_engine", "apex")
WEIGHTS_ALONE = {
    "model": {"tensor_model_parallel_size": 1, "pipeline_model_parallel_size": 1},
    "checkpoint": {"save_optim": False, "save_rng": False, "fully_parallel_save": True},
}
"""The fields that Bridge requires of a checkpoint's configuration, for a root that `convert import` has made."""
TRAIN_STATE = "latest_train_state.pt"
"""File of a checkpoint root by which Bridge finds the newest one. pdapt's own record is Megatron's tracker."""


@functools.cache
def prepare(*, local: bool = False) -> bool:
    """Import Megatron as for its own trainer, then Bridge. Returns whether there is a GPU; `local` as there."""
    gpu = megatron_engine.prepare(local=local)
    for name in ASKING:
        import_module(name)
    # Bridge imports Transformer Engine whichever layers are used.
    for name in HIDDEN:
        if name in sys.modules and sys.modules[name] is None:
            del sys.modules[name]
    _apply_seams(gpu=gpu)
    return gpu


def _apply_seams(*, gpu: bool) -> None:
    """Repeat in Bridge what `megatron/seams.py` and `cpu_backend.py` change in Megatron's trainer."""
    from megatron.bridge.training import checkpointing, initialize, setup
    from megatron.bridge.training.config import ConfigContainer

    initialize.compile_helpers = lambda: None
    checkpointing._extract_megatron_lm_args_from_state_dict = arguments_of(
        checkpointing._extract_megatron_lm_args_from_state_dict
    )
    checkpointing.read_run_config = with_flat_model(checkpointing.read_run_config)
    ConfigContainer.to_yaml = whole_or_not_at_all(ConfigContainer.to_yaml)
    if not gpu:
        setup.initialize_megatron = functools.partial(setup.initialize_megatron, allow_no_cuda=True)


def whole_or_not_at_all(write: Callable[[Any, str], None]) -> Callable[[Any, str], None]:
    """Make Bridge's writer of a checkpoint's configuration atomic: this last file marks the checkpoint as complete."""

    def to_yaml(container: Any, path: str) -> None:
        with atomic_path(Path(path)) as partial:
            write(container, str(partial))

    return to_yaml


def arguments_of(extract: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Let Bridge's reader of a checkpoint's arguments accept one that has none, as with imported weights."""

    def read(state_dict: dict[str, Any]) -> dict[str, Any]:
        return extract(state_dict) if "args" in state_dict else WEIGHTS_ALONE

    return read


def with_flat_model(read: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    """Let Bridge's reader of a checkpoint's configuration find the layers' fields beside the model's.

    It looks for them there, but writes them one level deeper if the model's configuration is Megatron's own class.
    """

    def flat(path: str) -> dict[str, Any]:
        values = read(path)
        return values | {"model": values["model"].get("transformer", {}) | values["model"]}

    return flat


def load(recipe: Recipe) -> bool:
    """Import all that a rank of a recipe needs. Returns whether there is a GPU."""
    with importing():
        gpu = prepare(local=transformer_impl(recipe, gpu=True) == Layers.LOCAL)
        for name in MODULES:
            import_module(name, __package__)
    return gpu


def train_rank(task: RankTask, stops: Stops, file: RankFile) -> None:
    """Train as one rank, with Bridge's trainer; arguments as in `megatron.engine.train_rank`."""
    gpu = load(task.recipe)
    # `pretrain` is a function of the package, too.
    trainer, caller = (import_module(f"megatron.bridge.training.{name}") for name in ("train", "pretrain"))
    from ..megatron.rank_loop import RankLoop
    from .bridge_rows import Rows
    from .callbacks import Callbacks
    from .container import carry_over
    from .forward_step import ForwardStep

    megatron, ranks = megatron_engine.configure(task, parse, gpu=gpu)
    if not gpu:
        _close_nothing()
    loop = RankLoop(task, stops, file, ranks=ranks, gpu=gpu)
    rows = Rows(provider=loop.provider, num_workers=2 if gpu else 0)
    container = carry_over(megatron, rows, task.recipe.data.seq_length)
    _go_on_from_the_newest(container.checkpoint, task, first=file.rank == 0)
    callbacks = Callbacks(loop.events, loop.measuring, stops, watches_loss=loop.watches_loss)
    callbacks.install(trainer, caller, loop.listeners)
    with loop.running():
        caller.pretrain(container, ForwardStep(loop.events, loop.measuring), [callbacks])
        callbacks.end()


def _go_on_from_the_newest(checkpoint: Any, task: RankTask, *, first: bool) -> None:
    """Name the checkpoint that the run continues from: Bridge's own record may name another one.

    It names an older one if Megatron's trainer has continued the run, and a newer one if a damaged one was moved aside.
    """
    source = newest(task.places.checkpoints)
    if source is not None:
        checkpoint.ckpt_step = iteration(source)
    elif first:
        remove(task.places.checkpoints / TRAIN_STATE)


def parse() -> Any:
    """Parse and check Megatron's arguments, without its global state: Bridge has its own."""
    from megatron.training.arguments import parse_args, validate_args

    args = parse_args()
    validate_args(args, {})
    return args


def _close_nothing() -> None:
    """Do nothing where Bridge closes the process that passes on the results of saves: a rank on a CPU has none."""
    from megatron.core.dist_checkpointing.strategies import filesystem_async

    queue: Any = filesystem_async._results_queue
    queue._manager = SimpleNamespace(shutdown=lambda: None)
