"""`pdapt convert` at full size: bit-for-bit equality after a round trip, speed compared with `cp`, and memory.

Random weights of a published size are converted from Hugging Face's format to Megatron's and back. Each command runs as
a process of its own, start-up included, once with its input only on the disk and once with it in memory, several times
in turn with `cp` of the Hugging Face folder; medians are stated. `cp` is measured as it is, which ends before its copy
is on the disk, and with the flush with which both commands end.
"""

import math
import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..conversion.checkpoint_as_hf import MASTER, SOURCES
from ..conversion.convert import parts_of
from ..conversion.distcp_write import write
from ..core import log
from ..core.errors import UserError, check_known
from ..core.files import list_files, remove, sha256, write_json
from ..core.hf.weights import DTYPES, NAMES, PIECE, Tensor, Weights
from ..core.hf.writer import Writer
from ..core.manifest import Manifest
from ..core.qwen3 import SIZES, Qwen3Config, hf_shapes
from ..core.system.process import die_with_parent
from .resident_memory import wait_and_watch

GB = 1e9
SEED = 0
COLD, WARM = "cold", "warm"
"""Whether a step finds its input only on the disk, or in memory."""
FLUSHED = "cp, flushed"
_CP = {
    "cp": ["cp", "-r"],
    FLUSHED: ["sh", "-c", 'cp -r "$1" "$2" && find "$2" -type f -exec sync {} +', "sh"],
}


@dataclass(frozen=True)
class Run:
    """Time and memory of one run of a step.

    Attributes:
        seconds: wall time of its process.
        stage_seconds: the stage's own part of it, without the start of Python and torch.
        cpu_seconds: processor time of its process, the user's and the system's.
        anonymous_gb: peak memory without page cache, in 10^9 bytes.
    """

    seconds: float
    stage_seconds: float
    cpu_seconds: float
    anonymous_gb: float


@dataclass(frozen=True)
class Step:
    """Runs of a step with its input in one state.

    Attributes:
        verb: `import` or `export`, in turn with which it was run.
        state: state of its input.
        name: the verb itself, or the copy that it is compared with.
        runs: the runs in their order.
    """

    verb: str
    state: str
    name: str
    runs: list[Run]

    def middle(self, figure: str) -> float:
        """The median of one of the runs' values."""
        return statistics.median(getattr(run, figure) for run in self.runs)


@dataclass(frozen=True)
class RoundTrip:
    """A model converted there and back.

    Attributes:
        size: a key of `SIZES`.
        source: the weights that were converted.
        identical: whether every file has the same hash after the round trip as before.
        gb: size of the weights in 10^9 bytes.
        limit_gb: allowed memory: twice the largest tensor plus 1 GB.
        steps: the steps in their order.
    """

    size: str
    source: str
    identical: bool
    gb: float
    limit_gb: float
    steps: list[Step]

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return {"from" if name == "source" else name: value for name, value in asdict(self).items()}


def bench(size: str, source: str, work: Path, repeats: int) -> RoundTrip:
    """Convert a size there and back.

    Args:
        size: a key of `SIZES`.
        source: `parameters`: BF16 there and back; `master`: FP32 weights as an optimizer's, and back.
        work: a temporary folder.
        repeats: runs of each step.

    Raises:
        UserError: there is no such size or source, or the disk has no space for three such folders.
    """
    check_known(source, SOURCES, "set of weights", "--from")
    check_known(size, SIZES, "size", "--size")
    shape, dtype = SIZES[size], "F32" if source == MASTER else "BF16"
    tensors = {name: Tensor(dtype, dimensions) for name, dimensions in hf_shapes(shape).items()}
    total = sum(tensor.nbytes for tensor in tensors.values())
    _check_space(work, total)
    log.info(f"bench: {total / GB:.1f} GB of random weights")
    sent = _generate(work / "hf", tensors, shape)
    _settings(work / "settings", shape, dtype)
    steps: list[Step] = []
    if source == MASTER:
        _as_masters(work / "hf", work / "megatron", shape)
    else:
        steps += _in_turns("import", [work / "hf"], work / "megatron", copied=work / "hf", repeats=repeats)
    options = ["--from", source, "--reference", work / "settings"]
    steps += _in_turns("export", [work / "megatron", *options], work / "back", copied=work / "hf", repeats=repeats)
    outputs = Manifest.read(work / "back").outputs
    return RoundTrip(
        size=size,
        source=source,
        identical={name: value for name, value in outputs.items() if name in sent} == sent,
        gb=total / GB,
        limit_gb=2 * max(tensor.nbytes for tensor in tensors.values()) / GB + 1,
        steps=steps,
    )


def _check_space(work: Path, total: int) -> None:
    free = shutil.disk_usage(work).free
    if free < 3.1 * total:
        needed = f"{3.1 * total / GB:.0f} GB"
        raise UserError(
            f"the disk has {free / GB:.0f} GB free", where=str(work), allowed=needed, fix="name another --work"
        )


def _generate(folder: Path, tensors: dict[str, Tensor], shape: Qwen3Config) -> dict[str, str]:
    """Write a Hugging Face folder of random weights, a piece at a time.

    Returns:
        SHA-256 of its safetensors files, by name.
    """
    folder.mkdir(parents=True)
    _settings(folder, shape, next(iter(tensors.values())).dtype)
    generator = np.random.default_rng(SEED)
    writer = Writer(folder, tensors)
    for name, tensor in tensors.items():
        writer.write(name, _random(tensor, generator))
    return writer.finish()


def _settings(folder: Path, shape: Qwen3Config, dtype: str) -> None:
    """Write a configuration, and a tokenizer's file that nothing reads but that has to be copied."""
    folder.mkdir(exist_ok=True)
    write_json(folder / "config.json", shape.to_hf(NAMES[DTYPES[dtype]]))
    write_json(folder / "tokenizer.json", {})


def _random(tensor: Tensor, generator: np.random.Generator) -> Iterator[torch.Tensor]:
    """Yield numbers of random bits, below 2 in size, so that each is a finite number."""
    dtype = DTYPES[tensor.dtype]
    count = math.prod(tensor.shape)
    for begin in range(0, count, PIECE):
        bits = np.frombuffer(generator.bytes(min(PIECE, count - begin) * dtype.itemsize), f"<i{dtype.itemsize}")
        largest_exponent = 1 << (8 * dtype.itemsize - 2)
        yield torch.from_numpy(bits & ~largest_exponent).view(dtype)


def _as_masters(source: Path, root: Path, shape: Qwen3Config) -> None:
    """Write a folder's weights as an optimizer's master weights, as Megatron names them."""
    weights = Weights(source)
    total = sum(tensor.nbytes for tensor in weights.tensors.values())
    parts = parts_of(weights, shape, log.Progress("masters", total), [])
    write(root, [replace(part, name=SOURCES[MASTER] + part.name) for part in parts], torch.float32, [])


def _in_turns(verb: str, arguments: list[Any], out: Path, *, copied: Path, repeats: int) -> list[Step]:
    """Run a command and both copies of a folder in turn, in each state of their input.

    The command's last output is left in place.
    """
    source, copy = arguments[0], out.with_name("copy")
    convert = [sys.executable, "-m", "pdapt.cli.main", "convert", verb, str(source), str(out)]
    convert += [str(argument) for argument in arguments[1:]]
    steps = [Step(verb, state, name, []) for state in (COLD, WARM) for name in (*_CP, verb)]
    for _ in range(repeats):
        for step in steps:
            remove(out)
            if step.name == verb:
                run = _run(convert, source, step.state)
                step.runs.append(replace(run, stage_seconds=Manifest.read(out).seconds))
            else:
                step.runs.append(_run([*_CP[step.name], str(copied), str(copy)], copied, step.state))
                remove(copy)
    return steps


def _run(command: list[str], source: Path, state: str) -> Run:
    """Run a command and watch its memory.

    It begins with its input in the given state, and with nothing left to be written by the previous command: otherwise
    one command would wait for the writes of another, and how much of a large model is in memory would be chance.
    """
    os.sync()
    for path in list_files(source):
        if state == WARM:
            sha256(path)
        else:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    log.info(f"bench: {state}: {' '.join(command[-4:])}")
    cpu, begin = _cpu_seconds(), time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)
    anonymous = wait_and_watch(process, "RssAnon")
    seconds = time.monotonic() - begin
    if process.returncode:
        raise RuntimeError(f"{command} ended with code {process.returncode}")
    return Run(seconds, seconds, _cpu_seconds() - cpu, anonymous / GB)


def _cpu_seconds() -> float:
    """Processor time of this process's children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def table(result: RoundTrip) -> list[str]:
    """Format the result for people: each step's figures, then the commands' shares of `cp`'s speed."""
    steps = result.steps
    same = "identical bit for bit" if result.identical else "NOT IDENTICAL"
    shares = [_share(step, steps) for step in steps if step.name == step.verb]
    return [
        f"{result.size}, {result.gb:.2f} GB from {result.source}: {same}",
        f"allowed memory: {result.limit_gb:.2f} GB",
        "",
        f"medians of {len(steps[0].runs)} (fastest to slowest):",
        *(_line(step, result.gb) for step in steps),
        "",
        f"share of the speed of `{FLUSHED}` of the Hugging Face folder (of `cp` without flush):",
        *shares,
    ]


def _line(step: Step, gb: float) -> str:
    seconds = [run.seconds for run in step.runs]
    of_stage = f", {step.middle('stage_seconds'):.2f} s of them without the start" if step.name == step.verb else ""
    return (
        f"{step.state}, {step.name}{'' if step.name == step.verb else f' beside {step.verb}'}: "
        f"{step.middle('seconds'):.2f} s ({min(seconds):.2f} to {max(seconds):.2f}){of_stage}, "
        f"{gb / step.middle('seconds'):.2f} GB/s, {step.middle('cpu_seconds'):.2f} s of processor time, peak of "
        f"anonymous memory {max(run.anonymous_gb for run in step.runs):.2f} GB"
    )


def _share(step: Step, steps: list[Step]) -> str:
    """Format a command's speed relative to both copies', without its start-up and with it."""
    copies = {other.name: other for other in steps if (other.verb, other.state) == (step.verb, step.state)}
    plain, flushed = copies["cp"].middle("seconds"), copies[FLUSHED].middle("seconds")
    own, whole = step.middle("stage_seconds"), step.middle("seconds")
    return (
        f"{step.state}, {step.verb}: {flushed / own:.2f} ({plain / own:.2f}) without the start of Python and torch, "
        f"{flushed / whole:.2f} ({plain / whole:.2f}) with it"
    )
