"""`pdapt merge sweep` compared with mergekit's command on random models of Qwen3's shapes: time, memory, equality."""

import resource
import shutil
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE

from ..core import log
from ..core.errors import UserError, check_known
from ..core.files import remove, write_json
from ..core.hf.weights import Tensor, Weights, one_thread, pieces
from ..core.hf.writer import Writer
from ..core.qwen3 import SIZES, Qwen3Config, hf_shapes
from ..merge.card import CONFIG_NAME
from ..merge.factors import parse_points
from .processes import run_logged
from .resident_memory import wait_and_watch

COMPARED = (0.1, 0.5, 0.9)
"""Points at which mergekit's output is compared value by value."""
SWEEP = ("-m", "pdapt.cli.main", "merge", "sweep", "base", "tuned")
STRAY = (0.0, 1e-3, 0.03, 0.3, 3.0)
"""Distances of the second model's tensors from the first's, relative to their size: equal, parallel, different."""


@dataclass(frozen=True)
class Result:
    """Time and memory of a command.

    Attributes:
        what: the command.
        seconds: wall time, start-up included.
        cpu_seconds: processor time of all its threads, which other work on the machine affects less.
        peak_mb: peak memory, mapped files included, in 10^6 bytes.
    """

    what: str
    seconds: float
    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Difference:
    """Differences between a merged model's values and mergekit's.

    Attributes:
        values: number of values that were compared.
        differing: number of values that differ.
        ulps: largest difference in BF16 units in the last place.
    """

    values: int
    differing: int
    ulps: int


@dataclass(frozen=True)
class Comparison:
    """A sweep compared with mergekit.

    Attributes:
        ways: the sweep, then mergekit's merges.
        times_one_merge: time of the sweep divided by that of one merge.
        equality: t -> differences from mergekit's values, for each of COMPARED.
        ends: parent -> whether the sweep's end at t = 0 or t = 1 equals it.
    """

    ways: list[Result]
    times_one_merge: float
    equality: dict[str, Difference]
    ends: dict[str, bool]

    def passes(self) -> bool:
        """Whether the sweep takes at most twice as long as one merge, and practically equals mergekit's."""
        close = all(difference.ulps <= 1 for difference in self.equality.values())
        return self.times_one_merge <= 2 and close and all(self.ends.values())


def bench(size: str, points: str, work: Path) -> Comparison:
    """Make two models in `work`, merge them both ways, and compare.

    Args:
        size: a key of SIZES.
        points: points of the sweep, as `--t` takes them; COMPARED must be among them.
        work: an empty folder for the models, which stay there.

    Raises:
        UserError: there is no such size, a point is missing, or there is too little space.
        RuntimeError: a command failed.
    """
    _check(size, points, work)
    for seed, name in enumerate(("base", "tuned")):
        log.info(f"bench: making {name}")
        make_model(SIZES[size], work / name, seed)
    ours = _run("pdapt merge sweep", [*SWEEP, "sweep", "--t", points], work)
    log.info(f"bench: {ours}")
    theirs: list[Result] = []
    equality: dict[str, Difference] = {}
    for t in COMPARED:
        theirs.append(_run(f"mergekit-yaml, t = {t:g}", _mergekit(work / "sweep" / f"t{t:g}" / CONFIG_NAME), work))
        equality[f"{t:g}"] = differences(work / "sweep" / f"t{t:g}", work / "theirs")
        log.info(f"bench: {theirs[-1]}, {equality[f'{t:g}']}")
        remove(work / "theirs")
    _run("the ends", [*SWEEP, "ends", "--t", "0,1"], work)
    ends = {
        name: not differences(work / "ends" / point, work / name).differing
        for point, name in (("t0", "base"), ("t1", "tuned"))
    }
    mean = sum(result.seconds for result in theirs) / len(theirs)
    return Comparison([ours, *theirs], ours.seconds / mean, equality, ends)


def _check(size: str, points: str, work: Path) -> None:
    """Check that the size is known, that its points can be compared, and that the models have space."""
    check_known(size, SIZES, "size", "--size")
    chosen = parse_points(points)
    if not set(COMPARED) <= set(chosen):
        raise UserError(
            f"{points} lacks a point that is compared",
            where="--t",
            allowed="0.1, 0.5 and 0.9 among others",
        )
    # Two parents, the points, mergekit's, and the two ends.
    needed, free = 2 * SIZES[size].parameters * (len(chosen) + 5), shutil.disk_usage(work).free
    if free < needed:
        raise UserError(f"the models take {needed / 1e9:.0f} GB, but {free / 1e9:.0f} GB are free", where=str(work))


def _mergekit(config: Path) -> list[str]:
    options = ["--device", "cpu", "--quiet", "--no-copy-tokenizer"]
    return ["-m", "mergekit.scripts.run_yaml", str(config), "theirs", *options]


def _run(what: str, arguments: list[str], work: Path) -> Result:
    log.info(f"bench: {what}")
    begin, cpu = time.monotonic(), _cpu_seconds()
    command = [sys.executable, *arguments]
    peak = run_logged(command, work / "log", partial(wait_and_watch, field="VmHWM"), name=what, cwd=work)
    seconds = time.monotonic() - begin
    return Result(what, seconds, _cpu_seconds() - cpu, peak / 1e6)


def _cpu_seconds() -> float:
    """CPU time of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@one_thread()
def make_model(shape: Qwen3Config, folder: Path, seed: int) -> None:
    """Write a random BF16 model: with seed 0 the base, with other seeds one that differs from it, tensor by tensor.

    Args:
        shape: shape of the model.
        folder: the folder to make.
        seed: seed of the model.
    """
    folder.mkdir()
    tensors = {name: Tensor("BF16", size) for name, size in hf_shapes(shape).items()}
    writer = Writer(folder, tensors)
    for place, (name, tensor) in enumerate(tensors.items()):
        writer.write(name, [_values(tensor, place, seed)])
    writer.finish()
    write_json(folder / "config.json", shape.to_hf("bfloat16"))
    Tokenizer(BPE()).save(str(folder / "tokenizer.json"))


def _values(tensor: Tensor, place: int, seed: int) -> torch.Tensor:
    def draw(number: int) -> torch.Tensor:
        return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(number)) * 0.02

    first = draw(place)
    if len(tensor.shape) == 1:
        first += 1
    if seed:
        first += STRAY[place % len(STRAY)] * draw(seed * 1_000_003 + place)
    return first.to(torch.bfloat16)


def differences(ours: Path, theirs: Path) -> Difference:
    """Compare two BF16 models of the same tensors."""
    first, second = Weights(ours), Weights(theirs)
    assert first.tensors == second.tensors, "both have the same tensors"
    values, differing, ulps = 0, 0, 0
    for name in first.tensors:
        for x, y in zip(pieces(first, name), pieces(second, name), strict=True):
            values += x.numel()
            if not torch.equal(x, y):
                steps = (_ordered(x) - _ordered(y)).abs()
                differing += int((steps > 0).sum())
                ulps = max(ulps, int(steps.max()))
    return Difference(values, differing, ulps)


def _ordered(values: torch.Tensor) -> torch.Tensor:
    """Convert BF16 numbers to integers in the same order, with neighbours one apart; both zeros become 0."""
    bits = values.contiguous().view(torch.int16).int()
    return torch.where(bits < 0, -(bits & 0x7FFF), bits)


def table(result: Comparison) -> list[str]:
    """Lines for people."""
    lines = [
        f"{way.what}: {way.seconds:.1f} s, {way.cpu_seconds:.1f} s of CPU, {way.peak_mb:,.0f} MB" for way in result.ways
    ]
    lines.append(f"the sweep took {result.times_one_merge:.2f} times one merge")
    for t, row in result.equality.items():
        lines.append(
            f"t = {t}: {row.differing:,} of {row.values:,} values differ from mergekit's, by at most "
            f"{row.ulps} BF16 units in the last place"
        )
    lines += [f"t = {t} is {name}: {'yes' if same else 'NO'}" for t, (name, same) in enumerate(result.ends.items())]
    return lines
