"""`pdapt convert` at full size: is what comes back the same to the bit, how fast beside `cp`, in how much memory?

Random weights of a published size go from Hugging Face's format to Megatron's and back. Each step is a process of its
own, start-up included, once with its input on the disk alone and once with it in memory. `cp` is measured as it is,
which ends before its copy is on the disk, and with the flush that both commands end with. A folder is removed as soon
as it has been read, so that two of them are on the disk at most.
"""

import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..conversion.checkpoint_as_hf import MASTER, SOURCES
from ..conversion.convert import parts_of
from ..conversion.distcp_write import write
from ..core import log
from ..core.errors import UserError, check_known
from ..core.files import list_files, read_json, remove, sha256, write_json
from ..core.hf.weights import DTYPES, NAMES, PIECE, Tensor, Weights
from ..core.hf.writer import Writer
from ..core.manifest import MANIFEST_FILE
from ..core.qwen3 import SIZES, Qwen3Config, hf_shapes
from ..core.system.process import die_with_parent
from .resident_memory import wait_and_watch

GB = 1e9
SEED = 0
COLD, WARM = "cold", "warm"
"""Whether a step finds its input on the disk alone, or in memory."""
FLUSHED = "cp, flushed"
_CP = ["cp", "-r"]
_CP_FLUSHED = ["sh", "-c", 'cp -r "$1" "$2" && find "$2" -type f -exec sync {} +', "sh"]
Steps = dict[str, dict[str, "Step"]]
"""State of the input -> name -> step."""


@dataclass(frozen=True)
class Step:
    """Time and memory of a step.

    Attributes:
        seconds: wall time of its process.
        stage_seconds: of these the stage's own, without the start of Python and torch.
        gb_per_second: bytes of weights, in 10^9, a second of `seconds`.
        anonymous_gb: memory without page cache at the highest, in 10^9 bytes.
    """

    seconds: float
    stage_seconds: float
    gb_per_second: float
    anonymous_gb: float


def bench(size: str, source: str, work: Path) -> dict[str, Any]:
    """Convert a size there and back.

    Args:
        size: a key of `SIZES`.
        source: `parameters`: BF16 there and back; `master`: FP32 weights as an optimizer's, and back.
        work: a folder that is thrown away.

    Returns:
        JSON values: `identical`, whether every file that came back has the hash of the one that went; `gb`, bytes of
        weights; `limit_gb`, twice the largest tensor and 1 GB; and each step's figures, `cp`'s among them, by the state
        of its input and its name.

    Raises:
        UserError: no such size or source, or the disk has not the space of two such folders.
    """
    check_known(source, SOURCES, "set of weights", "--from")
    check_known(size, SIZES, "size", "--size")
    shape, dtype = SIZES[size], "F32" if source == MASTER else "BF16"
    tensors = {name: Tensor(dtype, dimensions) for name, dimensions in hf_shapes(shape).items()}
    total = sum(tensor.nbytes for tensor in tensors.values())
    _check_space(work, total)
    log.info(f"bench: {total / GB:.1f} GB of random weights")
    sent = _generate(work / "hf", tensors, shape)
    steps: Steps = {COLD: {}, WARM: {}}
    for state in steps:
        for name, command in {"cp": _CP, FLUSHED: _CP_FLUSHED}.items():
            steps[state][name] = _run([*command, str(work / "hf"), str(work / "copy")], work / "hf", total, state)
            remove(work / "copy")
    _settings(work / "settings", shape, dtype)
    if source == MASTER:
        _as_masters(work / "hf", work / "megatron", shape)
    else:
        _convert("import", [work / "hf"], work / "megatron", total, steps=steps)
    remove(work / "hf")
    options = ["--from", source, "--reference", work / "settings"]
    _convert("export", [work / "megatron", *options], work / "back", total, steps=steps)
    received = {
        name: value for name, value in read_json(work / "back" / MANIFEST_FILE)["outputs"].items() if name in sent
    }
    return {
        "size": size,
        "from": source,
        "identical": received == sent,
        "gb": total / GB,
        "limit_gb": 2 * max(tensor.nbytes for tensor in tensors.values()) / GB + 1,
        "steps": {state: {name: vars(step) for name, step in of_state.items()} for state, of_state in steps.items()},
    }


def _check_space(work: Path, total: int) -> None:
    free = shutil.disk_usage(work).free
    if free < 2.1 * total:
        needed = f"{2.1 * total / GB:.0f} GB"
        raise UserError(f"{free / GB:.0f} GB are free", where=str(work), allowed=needed, fix="name another --work")


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
    """A configuration, and a tokenizer's file that nothing reads but which has to come along."""
    folder.mkdir(exist_ok=True)
    write_json(folder / "config.json", shape.to_hf(NAMES[DTYPES[dtype]]))
    write_json(folder / "tokenizer.json", {})


def _random(tensor: Tensor, generator: np.random.Generator) -> Iterator[torch.Tensor]:
    """Numbers of random bits, below 2 in size, so that each is one."""
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


def _convert(verb: str, arguments: list[Any], out: Path, total: int, *, steps: Steps) -> None:
    """Run a command in each state of its input; what it wrote last is left."""
    command = [sys.executable, "-m", "pdapt.cli.main", "convert", verb, str(arguments[0]), str(out)]
    for state, of_state in steps.items():
        remove(out)
        step = _run([*command, *(str(argument) for argument in arguments[1:])], arguments[0], total, state)
        of_state[verb] = replace(step, stage_seconds=read_json(out / MANIFEST_FILE)["seconds"])


def _run(command: list[str], source: Path, total: int, state: str) -> Step:
    """Run a command and look at its memory.

    It begins with its input in the state that is asked for, and with nothing left to be written by the one before: else
    who comes first writes for the others, and how much of a large model is in memory is chance.
    """
    os.sync()
    for path in list_files(source):
        if state == WARM:
            sha256(path)
        else:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    log.info(f"bench: {state}: {' '.join(command[-4:])}")
    begin = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)
    anonymous = wait_and_watch(process, "RssAnon")
    seconds = time.monotonic() - begin
    if process.returncode:
        raise RuntimeError(f"{command} ended with code {process.returncode}")
    return Step(seconds, seconds, total / GB / seconds, anonymous / GB)


def table(result: dict[str, Any]) -> list[str]:
    """Lines for a person."""
    same = "the same to the bit" if result["identical"] else "NOT THE SAME"
    lines = [f"{result['size']}, {result['gb']:.2f} GB from {result['from']}: {same}"]
    for state, steps in result["steps"].items():
        flushed = steps[FLUSHED]["seconds"]
        for name, step in steps.items():
            lines.append(
                f"{state}, {name}: {step['seconds']:.1f} s ({step['stage_seconds']:.1f} s without the start), "
                f"{flushed / step['seconds']:.2f} x the speed of {FLUSHED} ({flushed / step['stage_seconds']:.2f} x), "
                f"{step['anonymous_gb']:.2f} GB of anonymous memory at the highest"
            )
    return [*lines, f"allowed memory: {result['limit_gb']:.2f} GB"]
