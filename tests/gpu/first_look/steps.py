"""The steps of a first look, each in a process of its own: `steps.py NAME WORK SECONDS`.

A step writes what it has found to `WORK/NAME.json` as soon as it knows it, so that a cut loses nothing.
"""

import gzip
import inspect
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import sizes
import torch
from exactness import checkpoint, numbers
from one_run import WARM, Row
from speeds import layouts, speeds, sweep
from step import GPU, Step, gpu_gib
from torch.cuda import nccl

from pdapt.core.errors import UserError
from pdapt.core.files import write_json
from pdapt.core.system.device import can_compile, has_gpu, has_transformer_engine
from pdapt.recipes.schema import Log
from pdapt.training.preflight.kept_code import commit

PROFILED = (5, 7)
KERNELS = 10


def facts(step: Step) -> None:
    """Describe this machine, and what is installed."""
    found: dict[str, Any] = {"rehearsal": not GPU, "python": platform.python_version(), "torch": torch.__version__}
    found |= {"megatron_core": _version("megatron-core"), "triton": _version("triton")}
    found |= {"transformer_engine": has_transformer_engine(), "compiles": can_compile(), "varlen_attn": _varlen()}
    found |= {
        "layers": sizes.LAYERS,
        "driver_device": has_gpu(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
    }
    found["disk_free_gb"] = shutil.disk_usage(step.work).free / 1e9
    found["commit"] = commit()
    step.note(found)
    if not GPU:
        return
    found |= {"gpu": torch.cuda.get_device_name(), "gpus": torch.cuda.device_count(), "gpu_gib": gpu_gib()}
    found |= {"capability": torch.cuda.get_device_capability(), "cuda": torch.version.cuda}
    found |= {"cudnn": torch.backends.cudnn.version(), "nccl": list(nccl.version())}
    step.note(found)
    asked = "driver_version,power.limit,clocks.max.sm,clocks.max.mem,memory.total,ecc.mode.current"
    if shutil.which("nvidia-smi"):
        command = ["nvidia-smi", f"--query-gpu={asked}", "--format=csv,noheader"]
        told = subprocess.run(command, capture_output=True, text=True, check=False, timeout=20).stdout
        found |= dict(zip(asked.split(","), told.splitlines()[0].split(", "), strict=False)) if told else {}
    step.note(found)


def _version(package: str) -> str | None:
    from importlib.metadata import distributions

    return next((found.version for found in distributions(name=package)), None)


def _varlen() -> str | None:
    """Signature of torch's attention over packs; None where it has none."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return ", ".join(inspect.signature(varlen_attn).parameters)


def ceilings(step: Step) -> None:
    """Measure the most that matrix products, in BF16 and FP8, and copies reach."""
    from pdapt.bench import ceilings as bench_ceilings

    found: dict[str, Any] = {"products": {}, "fp8": {}}
    for case in sizes.cases(gpu_gib()):
        found["products"][case.name] = asdict(bench_ceilings.gemm(case.recipe, 10))
        try:
            # Cores multiply FP8 through a loop that only shows what is right: 2 s for a product of these shapes.
            found["fp8"][case.name] = asdict(bench_ceilings.gemm(case.recipe, 10 if GPU else 1, fp8=True))
        except (UserError, RuntimeError) as error:  # a GPU, or a torch, that has none
            found["fp8"][case.name] = {"left_out": str(error).splitlines()[0]}
        step.note(found)
    found["copy"] = asdict(bench_ceilings.copy(1024 if GPU else 16, 10))
    step.note(found)


def profile(step: Step) -> None:
    """The kernels that take longest in three steps of the first size, and what share of a step each is."""
    first, last = PROFILED
    case = sizes.cases(gpu_gib())[0]
    training = step.training("profile", replace(case.recipe, log=Log(profile=[first, last])))
    training.watch(step.left(90), lambda: len(training.rows()) > last + 1)
    steps = training.rows()
    traces = list(training.out.glob("torch_profile/*.json.gz"))
    if not traces or len(steps) <= last + 1:
        raise RuntimeError(f"no profile after {len(steps)} steps")
    with gzip.open(traces[0], "rt", encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    seconds = statistics.median(row["seconds"] for row in steps[WARM : first - 1] or steps[:1])
    step.note(_longest(events, seconds, "kernel" if GPU else "cpu_op") | {"name": case.name})


def _longest(events: list[Row], seconds: float, category: str) -> Row:
    """The longest kinds of kernels.

    Args:
        events: of the trace.
        seconds: of a step that was not recorded.
        category: of the events that count; on a CPU they lie within each other, and shares do not add up.
    """
    count = PROFILED[1] - PROFILED[0] + 1
    total: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == category:
            total.setdefault(event["name"], []).append(event["dur"] / 1e6)
    order = sorted(total.items(), key=lambda item: -sum(item[1]))
    kernels = [
        {"name": name, "calls": len(each) / count, "ms": 1000 * sum(each) / count, "share": sum(each) / count / seconds}
        for name, each in order[:KERNELS]
    ]
    busy = sum(map(sum, total.values())) / count
    return {"step_seconds": seconds, "busy_share": busy / seconds, "kinds": len(total), "kernels": kernels}


def data(step: Step) -> None:
    """Measure the data that one process reads a second, beside the trainer's demand."""
    from pdapt.bench import ceilings as bench_ceilings

    step.note(asdict(bench_ceilings.data(sizes.cases(gpu_gib())[0].recipe, step.tokens(), 500 if GPU else 20)))


STEPS: dict[str, tuple[Callable[[Step], None], float]] = {
    "facts": (facts, 40),
    "ceilings": (ceilings, 60),
    "numbers": (numbers, 130),
    "speeds": (speeds, 240),
    "sweep": (sweep, 100),
    "checkpoint": (checkpoint, 120),
    "profile": (profile, 60),
    "layouts": (layouts, 50),
    "data": (data, 40),
}
"""Name -> step, and the most seconds that it may take; in the order of their value."""


def main() -> None:
    """Do one step."""
    name, work, seconds = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3])
    STEPS[name][0](Step(work, time.monotonic() + seconds, lambda found: write_json(work / f"{name}.json", found)))


if __name__ == "__main__":
    main()
