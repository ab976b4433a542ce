"""Changes to Megatron beyond its interfaces, on CPUs and on GPUs, each with its reason.

The replacements for CPUs alone are in `cpu_backend`. `tests/training/megatron/test_seams.py` fails when megatron-core
changes what these depend on.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any, cast

from ...core.system.process import die_with_parent

SEAMS = {
    "megatron.core.datasets.utils.compile_helpers": (
        "runs `make` in a folder that the wheel ships without a Makefile, and exits the process when that fails; "
        "the wheel ships the compiled `helpers_cpp` instead"
    ),
    "megatron.core.optimizer.distrib_optimizer.DistributedOptimizer._set_main_param_and_optimizer_states": (
        "copies a checkpoint into parameters, which torch refuses while gradients are recorded: in FP32 the main "
        "weights are the model's own, and a run could not go on"
    ),
    "megatron.core.dist_checkpointing.strategies.async_utils.PersistentAsyncCaller.async_loop": (
        "is what a rank's writing process runs, which would outlive a killed rank and write on, and which asks CUDA "
        "for a device where there is none"
    ),
    "megatron.core.dist_checkpointing.strategies.filesystem_async.get_write_results_queue": (
        "starts a process that passes results on, and outlives a killed rank; a queue that is there is used instead"
    ),
}
_loop: Callable[..., None] | None = None


def apply(writing_process: Callable[..., None]) -> None:
    """Put the seams in place, once, after megatron is imported and before the trainer starts.

    Args:
        writing_process: a module's function that a rank's writing process runs; it calls `write` once it is ready.
    """
    global _loop
    import torch
    from megatron.core.dist_checkpointing.strategies.async_utils import PersistentAsyncCaller
    from megatron.core.optimizer.distrib_optimizer import DistributedOptimizer

    use_compiled_helpers()
    copy = DistributedOptimizer._set_main_param_and_optimizer_states
    DistributedOptimizer._set_main_param_and_optimizer_states = torch.no_grad()(copy)
    _loop = PersistentAsyncCaller.async_loop
    cast(Any, PersistentAsyncCaller).async_loop = staticmethod(writing_process)


def use_compiled_helpers() -> None:
    """Put the seam in place that data sets need; without a trainer this is the only one."""
    from megatron.core.datasets import utils

    assert find_spec("megatron.core.datasets.helpers_cpp"), "megatron-core's wheel must ship its compiled helpers"
    utils.compile_helpers = lambda: None


def import_tokenizers() -> None:
    """Import Megatron's tokenizers without transformers, whose import takes as long as Megatron's: ranks read ids."""
    with without("transformers"):
        import_module("megatron.core.tokenizers.text")


@contextmanager
def without(package: str) -> Iterator[None]:
    """Let Megatron's modules be imported as if a package were not installed, unless it is already loaded."""
    absent: Any = {} if package in sys.modules else {package: None}
    sys.modules.update(absent)
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]


def write(*args: Any) -> None:
    """Write asynchronous saves: Megatron's own loop."""
    assert _loop is not None, "the seams are in place"
    _loop(*args)


def pass_on_results() -> None:
    """Let a process that ends with its rank pass on the results of asynchronous saves."""
    from multiprocessing import get_context
    from multiprocessing.managers import SyncManager

    from megatron.core.dist_checkpointing.strategies import filesystem_async

    manager = SyncManager(ctx=get_context("fork"))
    manager.start(die_with_parent)
    filesystem_async._results_queue = manager.Queue()
