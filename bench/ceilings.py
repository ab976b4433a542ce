"""`pdapt bench gemm|copy|nccl|data`: the largest speeds of this machine's arithmetic, memory, links and data.

Measured on GPUs or, without any, on the cores, which says nothing about GPUs. Times are medians over repeats after a
warm-up.
"""

import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch

from ..core.errors import UserError
from ..core.files import read_json, write_json
from ..core.gpus import H100
from ..core.log import counted
from ..core.system.process import die_with_parent
from ..recipes.schema import Recipe, shape_of
from ..scaling.constants import read_fit

WARM = 3
COLLECTIVES = ("all_reduce", "all_gather", "reduce_scatter")


@dataclass(frozen=True)
class Product:
    """A product of matrices, [m, k] times [k, n]: its median seconds, TFLOP/s, and operations."""

    name: str
    m: int
    n: int
    k: int
    seconds: float
    tflops: float
    operations: int


@dataclass(frozen=True)
class Products:
    """The products of a recipe; `share` is the share of an H100's peak over a layer's products; None on the cores."""

    device: str
    products: list[Product]
    share: float | None


@dataclass(frozen=True)
class Copies:
    """GB/s of each kind of copy; `share` is the share of an H100's memory speed; None on the cores."""

    device: str
    megabytes: int
    copies: dict[str, float]
    share: float | None


@dataclass(frozen=True)
class Collective:
    """A collective over messages of one size.

    `busbw` is in GB/s as nccl-tests count it, which does not depend on the number of ranks.
    """

    name: str
    megabytes: float
    seconds: float
    busbw: float


@dataclass(frozen=True)
class Collectives:
    """Collectives over ranks of this machine; `oversubscribed`: whether ranks share cores."""

    device: str
    ranks: int
    oversubscribed: bool
    backend: str
    collectives: list[Collective]


@dataclass(frozen=True)
class ReadingSpeed:
    """Samples and slots per second that one process reads, and the seconds until the first sample."""

    samples: int
    start_seconds: float
    samples_per_second: float
    slots_per_second: float


def device() -> torch.device:
    """This machine's first GPU, or its cores."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def timed(work: Callable[[], Any], repeats: int) -> float:
    """Median seconds of `work`, after a warm-up."""
    seconds = []
    for number in range(WARM + repeats):
        _wait()
        begin = time.perf_counter()
        work()
        _wait()
        if number >= WARM:
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def gemm(recipe: Recipe, repeats: int, *, fp8: bool = False) -> Products:
    """Measure the operations per second of the matrix products of a recipe's layer and output layer, in BF16 or FP8.

    Raises:
        UserError: this GPU has no FP8.
    """
    if fp8 and torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9):
        raise UserError(f"{_name()} has no FP8", where="--fp8", allowed="compute capability 8.9 or more")
    shape = shape_of(recipe)
    tokens = recipe.batch.micro_size * recipe.data.seq_length // recipe.parallel.cp
    q, kv, tp = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim, recipe.parallel.tp
    shapes = {
        "queries, keys and values": ((q + 2 * kv) // tp, shape.hidden),
        "attention's output": (shape.hidden, q // tp),
        "MLP, in": (2 * shape.ffn // tp, shape.hidden),
        "MLP, out": (shape.hidden, shape.ffn // tp),
        "output layer": (shape.vocab // tp, shape.hidden),
    }
    rows = []
    for name, (wide, deep) in shapes.items():
        seconds = timed(_product(tokens, wide, deep, fp8=fp8), repeats)
        operations = 2 * tokens * wide * deep
        tflops = operations / seconds / 1e12
        rows.append(Product(name, tokens, wide, deep, seconds=seconds, tflops=tflops, operations=operations))
    layer = rows[:4]
    speed = sum(row.operations for row in layer) / sum(row.seconds for row in layer)
    peak = H100.fp8 if fp8 else H100.bf16
    return Products(_name(), rows, share=speed / peak if torch.cuda.is_available() else None)


def _product(tokens: int, wide: int, deep: int, *, fp8: bool) -> Callable[[], Any]:
    """A product of random matrices, [tokens, deep] times [deep, wide], in BF16; from FP8 with one scale per matrix."""
    left = torch.randn(tokens, deep, device=device(), dtype=torch.bfloat16)
    right = torch.randn(wide, deep, device=device(), dtype=torch.bfloat16)
    if not fp8:
        return lambda: left @ right.t()
    scale = torch.ones((), device=device())
    small = [matrix.to(torch.float8_e4m3fn) for matrix in (left, right)]
    options = {"scale_a": scale, "scale_b": scale, "out_dtype": torch.bfloat16, "use_fast_accum": True}
    product = cast(Any, torch)._scaled_mm  # a name that torch keeps to itself, and documents
    return lambda: product(small[0], small[1].t(), **options)


def copy(megabytes: int, repeats: int) -> Copies:
    """Measure bytes per second of a copy inside the memory, read and written; on a GPU also from and to the host."""
    where, size = device(), megabytes * 10**6
    source = torch.empty(size, dtype=torch.uint8, device=where).fill_(1)
    target = torch.empty_like(source)
    speeds = {"inside": 2 * size / timed(lambda: target.copy_(source), repeats) / 1e9}
    if where.type == "cuda":
        host = torch.empty(size, dtype=torch.uint8, pin_memory=True)
        speeds["to the host"] = size / timed(lambda: host.copy_(source), repeats) / 1e9
        speeds["from the host"] = size / timed(lambda: target.copy_(host), repeats) / 1e9
    share = speeds["inside"] * 1e9 / H100.bandwidth if where.type == "cuda" else None
    return Copies(_name(), megabytes, copies=speeds, share=share)


def nccl(ranks: int, megabytes: list[float], repeats: int) -> Collectives:
    """Measure collectives over ranks of this machine: NCCL between GPUs, gloo between processes on the cores.

    Raises:
        UserError: there are fewer GPUs than ranks, or a size is not above 0.
    """
    if not all(0 < size < math.inf for size in megabytes):
        raise UserError(f"sizes are {megabytes}", where="--megabytes", allowed="more than 0")
    gpus = torch.cuda.device_count()
    if gpus and ranks > gpus:
        raise UserError(
            f"{counted(ranks, 'rank')}, but this machine has {counted(gpus, 'GPU')}: each rank needs one",
            where="--ranks",
            allowed=f"up to {gpus}",
        )
    with tempfile.TemporaryDirectory() as work:
        out = Path(work) / "found.json"
        write_json(Path(work) / "job.json", {"megabytes": megabytes, "repeats": repeats, "out": str(out)})
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
        command += ["-m", "pdapt.bench.ceilings", str(Path(work) / "job.json")]
        cores = len(os.sched_getaffinity(0))
        environment = os.environ | {"OMP_NUM_THREADS": str(max(1, cores // ranks))}
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment, preexec_fn=die_with_parent
        )
        if done.returncode:
            raise RuntimeError(f"the collectives failed:\n{done.stderr[-3000:]}")
        measured = read_json(out)
    return Collectives(
        device=_name(),
        ranks=ranks,
        oversubscribed=not gpus and ranks > cores,
        backend=measured["backend"],
        collectives=[Collective(**row) for row in measured["collectives"]],
    )


def _rank(job: dict[str, Any]) -> None:
    """Run one rank of `nccl`; the first one writes what it measured."""
    import torch.distributed as dist

    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if cuda else "gloo")
    ranks, rows = dist.get_world_size(), []
    for megabytes in job["megabytes"]:
        count = elements(megabytes, ranks)
        whole = torch.ones(count, device=device())
        part = torch.ones(count // ranks, device=device())
        works: dict[str, Callable[[], Any]] = {
            "all_reduce": lambda whole=whole: dist.all_reduce(whole),
            "all_gather": lambda whole=whole, part=part: dist.all_gather_into_tensor(whole, part),
            "reduce_scatter": lambda whole=whole, part=part: dist.reduce_scatter_tensor(part, whole),
        }
        for name in COLLECTIVES:
            seconds = timed(works[name], job["repeats"])
            rows.append(Collective(name, whole.nbytes / 1e6, seconds, busbw(name, whole.nbytes, ranks, seconds)))
    if dist.get_rank() == 0:
        write_json(
            Path(job["out"]), {"backend": "nccl" if cuda else "gloo", "collectives": [asdict(row) for row in rows]}
        )
    dist.destroy_process_group()


def elements(megabytes: float, ranks: int) -> int:
    """Number of FP32 values of a message that ranks share out evenly, at least one each."""
    return max(1, int(megabytes * 1e6 / torch.float32.itemsize / ranks)) * ranks


def busbw(name: str, size: int, ranks: int, seconds: float) -> float:
    """GB/s that a link moves, as nccl-tests define it (doc/PERFORMANCE.md): each byte but a rank's own, twice in a sum.

    Args:
        name: one of COLLECTIVES.
        size: bytes of the whole message.
        ranks: number of ranks.
        seconds: time of the collective.
    """
    moved = size * (ranks - 1) / ranks * (2 if name == "all_reduce" else 1)
    return moved / seconds / 1e9


def data(recipe: Recipe, tokens: Path, samples: int) -> ReadingSpeed:
    """Measure the samples and slots per second that one process reads of a recipe's data, in the order of training.

    Args:
        recipe: the recipe; its steps are set so that there are enough samples.
        tokens: the tokens stage's folder.
        samples: number of samples to read after the first.

    Raises:
        UserError: there is no tokens folder.
    """
    from ..training.megatron.sequences import read_of_recipe

    lasting = replace(recipe, steps=max(recipe.steps, samples // recipe.batch.global_size + 1))
    begin = time.perf_counter()
    stream = read_of_recipe(tokens, lasting, "train", range(samples + 1))
    next(stream)
    ready = time.perf_counter()
    read = sum(1 for _ in stream)
    seconds = time.perf_counter() - ready
    return ReadingSpeed(
        samples=read,
        start_seconds=ready - begin,
        samples_per_second=read / seconds,
        slots_per_second=read * recipe.data.seq_length / seconds,
    )


def site(out: Path, shares: dict[str, float | None]) -> None:
    """Write a site's constants: the fitted ones, of which those that were measured are replaced.

    Raises:
        UserError: a share was not measured on a GPU.
    """
    missing = [name for name, share in shares.items() if share is None]
    if missing:
        raise UserError(
            f"{', '.join(missing)} was measured on CPU cores", where="--site-out", allowed="measurements on GPUs"
        )
    fit = read_fit(out) if out.is_file() else read_fit()
    measured = {name: share for name, share in shares.items() if share is not None}
    write_json(out, fit._replace(constants=replace(fit.constants, **measured)).to_json())


def _name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    cores, threads = len(os.sched_getaffinity(0)), torch.get_num_threads()
    return f"{counted(cores, 'core')}, {counted(threads, 'thread')}: says nothing about GPUs"


if __name__ == "__main__":
    _rank(read_json(Path(sys.argv[1])))
