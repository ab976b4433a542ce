"""Megatron's trainer on a CPU: the replacements, and their reasons.

Megatron asks torch for CUDA devices, streams and random states in many places. On a machine without a GPU this module
answers those calls, so that the unmodified trainer runs on gloo ranks. With a GPU nothing imports it.
`torch.cuda.is_available` keeps telling the truth: torch's own code would look for a driver if it did not.

Call `replace_cuda` before megatron is imported (it takes `from torch.cuda import …` names at import), and
`replace_in_megatron` after.
"""

import contextlib
import functools
import os
import queue
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from ...core import log
from ...core.system.bf16_products import replace_products

CPU = torch.device("cpu")


class Stream:
    """A CUDA stream that never waits. It is a class, because libraries annotate with `Stream | None`."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def wait_stream(self, *_: Any) -> None: ...

    def wait_event(self, *_: Any) -> None: ...

    def synchronize(self) -> None: ...

    def record_event(self, event: Any = None) -> Any:
        return event or Event()


class Event:
    """A CUDA event that happens when it is recorded: nothing runs in parallel to the CPU's own work."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.seconds = 0.0

    def record(self, *_: Any) -> None:
        self.seconds = time.perf_counter()

    def elapsed_time(self, end: "Event") -> float:
        return 1000 * (end.seconds - self.seconds)

    def wait(self, *_: Any) -> None: ...

    def synchronize(self) -> None: ...

    def query(self) -> bool:
        return True


class _Generators:
    """`torch.cuda.default_generators`: every device's generator is the CPU's."""

    def __getitem__(self, _: int) -> torch.Generator:
        return torch.default_generator


def _returns(value: Any) -> Callable[..., Any]:
    """Make a function that returns `value`: a new one each time, since torch's tracer refuses one under two names."""
    return lambda *_, **__: value


def _itself(value: Any, *_: Any, **__: Any) -> Any:
    return value


# Name -> (replacement on a CPU, why Megatron needs it).
CUDA_REPLACEMENTS: dict[str, tuple[Any, str]] = {
    "current_device": (_returns(CPU), "buffers and ranks' flags are made on the current device"),
    "set_device": (_returns(None), "each rank picks its GPU at start"),
    "device_count": (lambda: int(os.environ.get("LOCAL_WORLD_SIZE", "1")), "ranks are spread over a node's GPUs"),
    "get_device_capability": (_returns((0, 0)), "arguments are validated against the GPU's generation"),
    "get_device_name": (_returns("cpu"), "logged at start"),
    "get_device_properties": (_returns(SimpleNamespace(major=0, minor=0)), "fusions ask for the GPU's generation"),
    "synchronize": (_returns(None), "timers and checkpoints wait for the GPU"),
    "is_current_stream_capturing": (_returns(False), "asked before a collective"),
    "current_stream": (lambda *_: Stream(), "overlap waits on streams"),
    "stream": (lambda *_: contextlib.nullcontext(), "overlap runs on side streams"),
    "Stream": (Stream, "side streams of gradient reduction and checkpoints"),
    "Event": (Event, "timers and reductions record events"),
    "empty_cache": (_returns(None), "after a checkpoint is loaded"),
    "ipc_collect": (_returns(None), "after a checkpoint is saved"),
    "memory_allocated": (_returns(0), "logged"),
    "max_memory_allocated": (_returns(0), "logged"),
    "memory_reserved": (_returns(0), "logged"),
    "max_memory_reserved": (_returns(0), "logged"),
    "reset_peak_memory_stats": (_returns(None), "logged"),
    "memory_stats": (lambda *_, **__: defaultdict(int), "logged"),
    "get_rng_state": (lambda *_: torch.get_rng_state(), "the random state is kept per tensor-parallel region"),
    "set_rng_state": (lambda state, *_: torch.set_rng_state(state), "as above"),
    "manual_seed": (lambda seed: torch.manual_seed(seed), "as above"),
    "default_generators": (_Generators(), "as above"),
    "_lazy_call": (lambda call, **_: call(), "random states are set when CUDA starts"),
    "FloatTensor": (torch.FloatTensor, "the norm of the gradients is a CUDA tensor"),
}


class CudaToCpu(TorchFunctionMode):
    """Redirect `device="cuda"` to the CPU, and name types as CUDA does.

    The distributed optimizer sorts parameters by strings such as `torch.cuda.BFloat16Tensor`.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        del types
        kwargs = dict(kwargs or {})
        if _is_cuda(kwargs.get("device")):
            kwargs["device"] = CPU
        if func is torch.Tensor.to and len(args) > 1 and _is_cuda(args[1]):
            args = (args[0], CPU, *args[2:])
        result = func(*args, **kwargs)
        if func is torch.Tensor.type and len(args) == 1 and not kwargs:
            return result.replace("torch.", "torch.cuda.")
        return result


def _is_cuda(device: Any) -> bool:
    return (isinstance(device, str) and device.startswith("cuda")) or (
        isinstance(device, torch.device) and device.type == "cuda"
    )


def replace_cuda() -> None:
    """Replace torch.cuda's functions on a machine without a GPU. To be called before megatron is imported."""
    assert not torch.cuda.is_available(), "the CPU backend is not for a machine with a GPU"
    for name, (stand_in, _) in CUDA_REPLACEMENTS.items():
        setattr(torch.cuda, name, stand_in)
    torch.cuda.random.get_rng_state = torch.cuda.get_rng_state
    torch.cuda.random.set_rng_state = torch.cuda.set_rng_state
    torch.cuda.nvtx.range_push = _returns(None)
    torch.cuda.nvtx.range_pop = _returns(None)
    for owner, name in ((torch.Tensor, "cuda"), (torch.nn.Module, "cuda"), (torch.Tensor, "pin_memory")):
        setattr(owner, name, _itself)
    CudaToCpu().__enter__()  # for the life of the process
    if replace_products() and os.environ.get("RANK", "0") == "0":
        log.info("train: this CPU cannot multiply in BF16: products of BF16 recipes are computed in FP32 and rounded")


def replace_in_megatron() -> None:
    """Let the trainer start without CUDA. To be called after megatron is imported."""
    from megatron.training import training

    training.initialize_megatron = functools.partial(training.initialize_megatron, allow_no_cuda=True)


def save_in_this_process() -> None:
    """Keep the results of a synchronous save in the process. To be called after megatron is imported.

    Megatron would start one process per rank to pass them on, which takes 5 s and 0.6 GB and outlives a killed rank.
    """
    from megatron.core.dist_checkpointing.strategies import filesystem_async

    filesystem_async._results_queue = queue.Queue()
