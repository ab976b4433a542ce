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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import sizes
import small
import torch
from torch.cuda import nccl
from training import WARM, Row, Training, one_rank, speed, write_tokens

from pdapt.core.device import can_compile, has_gpu, has_transformer_engine
from pdapt.core.errors import UserError
from pdapt.core.files import read_json, write_json
from pdapt.recipes.megatron_args import Places, megatron_args
from pdapt.recipes.memory import GIB, of_gpu
from pdapt.recipes.schema import TRANSFORMER_ENGINE, Batch, Data, Log, Model, Recipe, Shape, shape_of

GPU = torch.cuda.is_available()
ALLOWED = {"fp32": (1e-4, 1e-5, 2e-4), "bf16": (2e-2, 2e-3, 6e-2)}
"""Precision -> how far logits, loss and the worst gradient may be from transformers' FP32: twice what rounding does."""
VOCABULARY = 4096
PROFILED = (5, 7)
KERNELS = 10


@dataclass(frozen=True)
class Step:
    """What a step is given.

    Attributes:
        work: folder of all steps.
        end: `time.monotonic()` until which it may take.
        note: writes down what is known so far.
    """

    work: Path
    end: float
    note: Callable[[Any], None]

    def left(self, most: float) -> float:
        """Seconds that one of the step's parts may take."""
        return max(1.0, min(most, self.end - time.monotonic()))

    def tokens(self) -> Path:
        """The tokens that everything is trained on."""
        folder = self.work / "tokens"
        if not (folder / "tokens.json").is_file():
            shutil.rmtree(folder, ignore_errors=True)
            write_tokens(folder, VOCABULARY, 4000 if GPU else 200)
        return folder

    def training(self, name: str, recipe: Recipe, *, deterministic: bool = False) -> Training:
        """A run of its own."""
        return Training(recipe, self.tokens(), self.work / name, deterministic)


def gpu_gib() -> float | None:
    """Memory of the GPU, as torch counts it."""
    return torch.cuda.get_device_properties(0).total_memory / GIB if GPU else None


def facts(step: Step) -> None:
    """What this machine is, and what is installed."""
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
    git = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    found["commit"] = git.stdout.strip() or None
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
    """What matrix products, in BF16 and FP8, and copies reach at most."""
    from pdapt.cli import bench_ceilings

    found: dict[str, Any] = {"products": {}, "fp8": {}}
    for case in sizes.cases(gpu_gib()):
        found["products"][case.name] = bench_ceilings.gemm(case.recipe, 10)
        try:
            found["fp8"][case.name] = bench_ceilings.gemm(case.recipe, 10, fp8=True)
        except (UserError, RuntimeError) as error:  # a GPU, or a torch, that has none
            found["fp8"][case.name] = {"left_out": str(error).splitlines()[0]}
        step.note(found)
    found["copy"] = bench_ceilings.copy(1024 if GPU else 16, 10)
    step.note(found)


def _measured(step: Step, precision: str, packs: list[list[list[int]]]) -> dict[str, torch.Tensor]:
    """Logits, loss and gradients of packs by the trainer's own model, with the small model's weights."""
    from safetensors.torch import load_file

    base = step.work / "small"
    data = Data(seq_length=small.SHAPE.max_positions)
    model = Model(shape=Shape(**vars(small.SHAPE)), precision=precision, transformer_impl=sizes.LAYERS)
    recipe = Recipe(model=model, data=data, batch=Batch(global_size=1), steps=1)
    if sizes.LAYERS == TRANSFORMER_ENGINE:
        recipe.megatron["no-gradient-accumulation-fusion"] = True  # its buffers are the trainer's, which is not there
    places = Places(step.work / "none", base, *(step.work / name for name in ("events", "cache", "read")), eod=0)
    job, out = step.work / f"{precision}-job.json", step.work / f"{precision}.safetensors"
    write_json(job, {"arguments": megatron_args(recipe, places, gpu=GPU), "packs": packs})
    command = [sys.executable, str(Path(__file__).parents[1] / "measure.py"), str(job), str(out)]
    done = subprocess.run(command, env=one_rank(), capture_output=True, text=True, check=False, timeout=step.left(110))
    if done.returncode:
        raise RuntimeError(f"the model could not be measured:\n{done.stderr[-2000:]}")
    return load_file(out)


def numbers(step: Step) -> None:
    """Forward and backward pass of a small model against numbers that transformers made on a CPU; then leaks."""
    from pdapt.conversion.convert import import_hf

    known, found = read_json(small.EXPECTED), dict[str, Any]()
    import_hf(small.write_hf(step.work / "small-hf"), step.work / "small")
    pack = small.documents(*small.LENGTHS)
    packs = {"fp32": [pack], "bf16": [pack, *_neighbours()]}
    with ThreadPoolExecutor() as pool:  # beside each other: most of their time they start
        measured = {precision: pool.submit(_measured, step, precision, packs[precision]) for precision in packs}
    for precision, allowed in ALLOWED.items():
        tensors = measured[precision].result()
        here = small.summary({name[2:]: tensor for name, tensor in tensors.items() if name.startswith("0.")})
        if here.keys() != known.keys():
            raise RuntimeError(f"other tensors than expected: {sorted(here.keys() ^ known.keys())}")
        off = {name: small.difference(here[name], known[name]) for name in known}
        gradient = max(off[name] for name in off if name.startswith("grad."))
        loss = abs(here["loss"]["norm"] - known["loss"]["norm"])
        values = (off["logits"], loss, gradient)
        found[precision] = {
            **dict(zip(("logits", "loss_nats", "worst_gradient"), values, strict=True)),
            "allowed": allowed,
            "passed": all(value <= most for value, most in zip(values, allowed, strict=True)),
        }
        step.note(found)
        if precision == "bf16":
            found["masks"] = _leaks([tensors[f"{number}.logits"] for number in range(1, 5)])
            step.note(found)


def _neighbours() -> list[list[list[int]]]:
    """Packs that differ in their second document, as three documents and as a single one."""
    first, second, other, third = small.documents(200, 101, 101, 150, seed=1)
    return [
        [first, second, third],
        [first, other, third],
        [[*first, *second, *third]],
        [[*first, *other, *third]],
    ]


def _leaks(logits: list[torch.Tensor]) -> dict[str, Any]:
    """How much a document's logits change with its neighbour: with masks not a bit, without them they have to."""
    masked, joined = ((one - other).abs().amax(1) for one, other in (logits[:2], logits[2:]))
    found = {
        "others_changed_by": float(torch.cat([masked[:200], masked[301:]]).max()),
        "itself_changed_by": float(masked[200:301].min()),
        "after_it_without_masks": float(joined[301:].min()),
    }
    passed = found["others_changed_by"] == 0 < min(found["itself_changed_by"], found["after_it_without_masks"])
    return found | {"passed": passed}


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
    from pdapt.cli.plan_data import filling
    from pdapt.scaling.constants import read_fit
    from pdapt.scaling.of_recipe import Site, work_of
    from pdapt.scaling.step_time import step_time
    from pdapt.scaling.trainer import MEMORY

    slots = filling(recipe, step.tokens())
    work = replace(work_of(recipe, slots, Site()), node=1, nics=1, memory=MEMORY[_kind()] * 1e12)
    seconds = float(step_time(work, read_fit()[0]).total)
    planned = {"planned_tokens_per_second": float(work.slots) * slots.fill / seconds, "planned_step_seconds": seconds}
    return planned | {"planned_gib": of_gpu(recipe).total / GIB}


def _kind() -> str:
    return "H200" if GPU and "H200" in torch.cuda.get_device_name() else "H100"


def _row(step: Step, name: str, recipe: Recipe, measured: Row) -> Row:
    """A speed in the form of the planner's rows."""
    from pdapt.cli.plan_data import filling

    layers = "Transformer Engine" if sizes.LAYERS == TRANSFORMER_ENGINE else "local layers"
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
        "software": f"Megatron, {layers} ({time.strftime('%Y-%m')})",
        "hw": f"{_kind()} SXM, 1/node" if GPU else "cores, 1/node",
        "tokens_s_gpu": measured["slots_per_second"],
    }


def checkpoint(step: Step) -> None:
    """Save, resume, compare to the bit with a run that was not interrupted; export, and compare again."""
    from pdapt.conversion.convert import export_hf
    from pdapt.conversion.verify import verify

    found: dict[str, Any] = {"deterministic": True}
    try:
        whole, parts = _interrupted(step, deterministic=True)
    except RuntimeError as error:
        if "deterministic" not in str(error):
            raise
        found = {"deterministic": False, "why": str(error).splitlines()[-1]}
        whole, parts = _interrupted(step, deterministic=False)
    losses = [{row["step"]: row["loss"] for row in training.rows()} for training in (whole, parts)]
    found["losses_equal"] = losses[0] == losses[1]
    found["loss_difference"] = max(abs(losses[0][number] - losses[1][number]) for number in losses[0])
    step.note(found)
    last = [training.out / "checkpoints" for training in (whole, parts)]
    found["weights_equal"] = verify(last[0], last[1])["identical"]
    step.note(found)
    begin = time.monotonic()
    export_hf(last[1], step.work / "exported")
    found["export_seconds"] = time.monotonic() - begin
    found["export_equal"] = verify(last[1], step.work / "exported")["identical"]
    found["passed"] = found["losses_equal"] and found["weights_equal"] and found["export_equal"]
    step.note(found)


def _interrupted(step: Step, *, deterministic: bool) -> tuple[Training, Training]:
    """A run of four steps, and the same in two starts.

    Raises:
        RuntimeError: one failed, or was not finished in time.
    """
    kind, recipe = "strict" if deterministic else "free", sizes.small(gpu=GPU)
    whole, parts = (step.training(f"{name}-{kind}", recipe, deterministic=deterministic) for name in ("whole", "parts"))
    with ThreadPoolExecutor() as pool:  # beside each other: most of their time they start
        starts = ((whole, ()), (parts, ("--stop-at", "2")))
        ended = [pool.submit(training.finish, step.left(90), *further) for training, further in starts]
    for start in ended:
        start.result()
    parts.finish(step.left(60))
    return whole, parts


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


def layouts(step: Step) -> None:
    """The paper's layout beside packed rows, of the first size: real tokens a second."""
    case = sizes.cases(gpu_gib())[0]
    step.note([_speed(step, "paper", case.name, sizes.in_papers_layout(case))])


def data(step: Step) -> None:
    """What one process reads of the data a second, beside what the trainer takes."""
    from pdapt.cli import bench_ceilings

    step.note(bench_ceilings.data(sizes.cases(gpu_gib())[0].recipe, step.tokens(), 500 if GPU else 20))


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
