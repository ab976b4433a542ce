"""`pdapt train` compared with the trainers that a user would otherwise use, on the cores of this machine.

Four parts. Processes that are compared take turns, because other work on a machine slows down whatever runs then:

- `throughput`: real tokens per second of pdapt and of transformers.Trainer, which reads the same packed rows, or the
  paper's: one piece of a document per row, padded. All begin with the same weights.
- `overhead`: a step of pdapt compared with one of Megatron's trainer alone, on rows without masks, where both compute
  the same.
- `own_time`: pdapt's own time in a step, within one process, over ten times as many steps, since it is small.
- `saves`: how long a checkpoint stalls training, asynchronous and synchronous.
"""

import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np
import psutil

from ..core import log
from ..core.errors import UserError, check_known
from ..core.files import read_json, write_json, write_text
from ..data_prep.tokens.layouts import Layout
from ..data_prep.tokens.tokens_record import read_record
from ..recipes.load import to_yaml
from ..recipes.schema import Recipe, model_parallel, shape_of
from ..scaling.measured import WARM
from ..training.run.journal import JOURNAL_FILE, Event, read, steps_in
from .processes import run_logged
from .side_job import SideJob
from .train_results import Overhead, OwnTime, Results, Saves, Throughput, Way

DISTURBED = 0.05
"""Share of the cores' time above which a warning names other processes: they slow down whatever runs."""
SAVES = 3
"""Checkpoints of a run of the part `saves`, the last step's aside."""
OWN_TIME_STEPS = 10
"""Times the steps of the other parts."""
OWN_TIME_LEAST = 8
"""Steps of the other parts with which two pairs of blocks count."""
STEPS_FILE = "steps.json"
IGNORED = -100
"""The label of a slot that does not count, in transformers."""


@dataclass(frozen=True)
class Steps:
    """Steps of one process.

    Attributes:
        seconds: time of each step, from the end of the one before, without the warm-up steps.
        loss: loss of the first step in nats per token; None if it is not comparable.
    """

    seconds: list[float]
    loss: float | None = None


@dataclass(frozen=True)
class Bench:
    """The trainings to compare, and their folder.

    Attributes:
        recipe: a recipe for one machine, without model parallelism, which transformers.Trainer lacks on CPUs.
        tokens: the tokens stage's folder.
        work: a temporary folder.
        repeats: how often each process is run.
    """

    recipe: Recipe
    tokens: Path
    work: Path
    repeats: int


def check(recipe: Recipe, parts: list[str]) -> None:
    """Check that there is something to compare.

    Raises:
        UserError: the recipe is spread in a way that the other trainers do not support, is too short, or a part is
            unknown.
    """
    if recipe.parallel.nodes > 1 or model_parallel(recipe) > 1:
        raise UserError(
            "the recipe uses several nodes, or splits the model",
            where="parallel",
            allowed="one node, and copies of the model on its ranks",
            fix="parallel.nodes=1 parallel.tp=1 parallel.pp=1 parallel.cp=1",
        )
    for part in parts:
        check_known(part, PARTS, "part", "--part")
    least = OWN_TIME_LEAST if "own_time" in (parts or PARTS) else WARM + 1
    if recipe.steps < least:
        raise UserError(
            f"the first {WARM} steps are not counted, but there are only {recipe.steps}",
            where="--steps",
            allowed=f"from {least}, better 30",
        )


def sample_tokens(recipe: Recipe, work: Path) -> Path:
    """Tokens of the embedded sample, all of it, with a tokenizer of its own."""
    from ..data_prep.corpus import build_corpus, discover
    from ..data_prep.sample import write_sample
    from ..data_prep.tokens.build import Options, build_tokens, training_texts
    from ..data_prep.tokens.tokenizer import train_tokenizer

    write_sample(work / "sample")
    build_corpus(discover([str(path) for path in sorted((work / "sample").rglob("*.jsonl"))]), work / "corpus")
    corpus, options, vocab = [str(work / "corpus")], Options(), shape_of(recipe).vocab
    train_tokenizer(training_texts(corpus, options), vocab, work / "tokenizer")
    build_tokens(corpus, work / "tokenizer", work / "tokens", options, vocab_size=vocab)
    return work / "tokens"


def run(bench: Bench, parts: list[str]) -> Results:
    """Measure.

    Args:
        bench: see `Bench`.
        parts: keys of PARTS; none for all.
    """
    check(bench.recipe, parts)
    results: dict[str, Any] = {}
    work_of_others = WorkOfOthers()
    for part in parts or PARTS:
        work = bench.work / part
        work.mkdir()
        results[part] = PARTS[part](replace(bench, work=work))
    others = work_of_others.share()
    if others > DISTURBED:
        log.warn(f"bench: other processes took {others:.0%} of the cores' time; repeat it on an idle machine")
    return Results(**results, others=others)


class WorkOfOthers:
    """The work of processes other than this one and its children, from now on."""

    def __init__(self) -> None:
        """Begin."""
        self._begin, self._spent = time.monotonic(), spent_by_others()

    def share(self) -> float:
        """Share of the time of all cores that they have taken; the kernel's clocks are coarse, so at least 0."""
        passed = (time.monotonic() - self._begin) * os.sysconf("SC_NPROCESSORS_ONLN")
        return max(0.0, (spent_by_others() - self._spent) / passed)


def spent_by_others() -> float:
    """CPU seconds, over all cores, that processes other than this one and its children have used."""
    times = psutil.cpu_times()
    busy = sum(getattr(times, name) for name in ("user", "nice", "system", "irq", "softirq", "steal"))
    own = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return busy - sum(usage.ru_utime + usage.ru_stime for usage in own)


# Throughput.


def throughput(bench: Bench) -> Throughput:
    """Measure the speed of each way."""
    recipe = unsaved(replace(bench.recipe, data=replace(bench.recipe.data, layout=Layout.PACKED, document_masks=None)))
    _side("prepare", SideJob(recipe, bench.work / "same", tokens=bench.tokens), bench.work / "same")
    same = bench.work / "same"

    def pdapt(turn: Path) -> Steps:
        return _pdapt(recipe, bench.tokens, turn, same / "base")

    def theirs(layout: str) -> Callable[[Path], Steps]:
        def steps(turn: Path) -> Steps:
            job = SideJob(recipe, turn / STEPS_FILE, model=same / "hf", rows=same / f"{layout}.npz")
            result = _side("trainer", job, turn)
            return Steps(durations(result["ends"]), result["loss"])

        return steps

    sides = {
        "pdapt train, packed": (Layout.PACKED, pdapt),
        "transformers.Trainer, packed": (Layout.PACKED, theirs(Layout.PACKED)),
        "transformers.Trainer, padded": (Layout.PAPER, theirs(Layout.PAPER)),
    }
    turns = _turns(bench, {way: steps for way, (_, steps) in sides.items()})
    counts = {layout: counted(same / f"{layout}.npz") / recipe.steps for layout in (Layout.PACKED, Layout.PAPER)}
    ways = [way_of(way, turns[way], counts[layout]) for way, (layout, _) in sides.items()]
    speedup = {way.way: ways[0].tokens_per_second / way.tokens_per_second for way in ways[1:]}
    return Throughput(ways, speedup)


def counted(rows: Path) -> int:
    """Labels that count in a file of rows."""
    columns = np.load(rows)
    labels = columns["shift_labels"] if "shift_labels" in columns else columns["labels"][:, 1:]
    return int(np.count_nonzero(labels != IGNORED))


def way_of(way: str, turns: list[Steps], tokens: float) -> Way:
    """A way's figures, of all its turns.

    Args:
        way: its name.
        turns: at least one.
        tokens: labels that count in a step, the mean.
    """
    seconds = statistics.median(second for turn in turns for second in turn.seconds)
    speed, loss = tokens / seconds, turns[0].loss
    return Way(way, seconds, tokens, tokens_per_second=speed, first_loss=loss)


# Overhead.


def overhead(bench: Bench) -> Overhead:
    """Measure the extra time of a step of pdapt over one of Megatron's trainer alone."""
    data = replace(bench.recipe.data, layout=Layout.CONCAT, document_masks=False)
    recipe = unsaved(replace(bench.recipe, data=data))
    eod = read_record(bench.tokens).eod_id

    def bare(turn: Path) -> Steps:
        return Steps(durations(_side("bare", SideJob(recipe, turn / STEPS_FILE, eod=eod), turn)["begins"]))

    mine, alone = "pdapt train, without masks", "Megatron's trainer alone"
    turns = _turns(bench, {mine: lambda turn: _pdapt(recipe, bench.tokens, turn), alone: bare})
    medians = {way: [statistics.median(turn.seconds) for turn in of_way] for way, of_way in turns.items()}
    percents = [100 * (ours / theirs - 1) for ours, theirs in zip(medians[mine], medians[alone], strict=True)]
    return Overhead(medians, percents, statistics.median(percents))


# Own time.


def own_time(bench: Bench) -> OwnTime:
    """Measure pdapt's own time in a step."""
    from .own_time import summarize, times_of

    recipe = unsaved(replace(bench.recipe, steps=OWN_TIME_STEPS * bench.recipe.steps))
    log.info(f"bench: own time, {recipe.steps} steps")
    ranks = recipe.parallel.ranks_per_node
    job = SideJob(recipe, bench.work / "run", tokens=bench.tokens.resolve())
    write_json(bench.work / "job.json", job.to_json())
    _process([*torchrun(ranks), "-m", "pdapt.bench.own_time", str(bench.work / "job.json")], bench.work, ranks)
    return summarize([read_json(times_of(bench.work, rank)) for rank in range(ranks)])


# Saves.


def saves(bench: Bench) -> dict[str, Saves]:
    """Measure how long training stands still for a checkpoint, synchronous and asynchronous."""
    every = max(2, bench.recipe.steps // (SAVES + 1))
    results = {}
    for name, asynchronous in (("synchronous", False), ("asynchronous", True)):
        checkpoint = replace(bench.recipe.checkpoint, every=every, asynchronous=asynchronous)
        recipe = replace(unsaved(bench.recipe), checkpoint=checkpoint, steps=every * SAVES + 1)
        log.info(f"bench: {name} saves")
        _pdapt(recipe, bench.tokens, bench.work / name)
        stalled = stalls(bench.work / name / "run")[:SAVES]  # nothing trains on after the last step's
        results[name] = Saves(stalled, statistics.median(stalled))
    return results


def stalls(run_folder: Path) -> list[float]:
    """Seconds that training stood still for each of a run's checkpoints, in their order."""
    rows = [row for row in read(run_folder / JOURNAL_FILE) if row["event"] == Event.SAVE]
    return [row["stall_seconds"] for row in sorted(rows, key=lambda row: row["step"])]


PARTS: dict[str, Callable[[Bench], Throughput | Overhead | OwnTime | dict[str, Saves]]] = {
    "throughput": throughput,
    "overhead": overhead,
    "own_time": own_time,
    "saves": saves,
}


# Processes.


def unsaved(recipe: Recipe) -> Recipe:
    """The recipe without saves and validation before its end."""
    later = recipe.steps + 1
    checkpoint = replace(recipe.checkpoint, every=later, keep_every=None)
    return replace(recipe, checkpoint=checkpoint, validation=replace(recipe.validation, every=later, batches=1))


def _turns(bench: Bench, sides: dict[str, Callable[[Path], Steps]]) -> dict[str, list[Steps]]:
    """Let the sides run one after the other, again and again; each turn has a folder of its own."""
    turns: dict[str, list[Steps]] = {side: [] for side in sides}
    for turn in range(bench.repeats):
        for number, (side, steps) in enumerate(sides.items()):
            log.info(f"bench: {side}, turn {turn + 1} of {bench.repeats}")
            turns[side].append(steps(bench.work / f"{turn}-{number}"))
    return turns


def durations(moments: list[float]) -> list[float]:
    """Seconds of the steps that count.

    Args:
        moments: one of each step, always the same one, such as its end.
    """
    return [after - before for before, after in zip(moments[WARM - 1 :], moments[WARM:], strict=False)]


def _pdapt(recipe: Recipe, tokens: Path, work: Path, base: Path | None = None) -> Steps:
    """The steps of `run_pdapt`."""
    run_pdapt(recipe, tokens, work, base)
    return steps_of(work / "run")


def run_pdapt(recipe: Recipe, tokens: Path, work: Path, base: Path | None = None, *, gpu: bool = False) -> None:
    """`pdapt train` into `work/run`, as a user starts it; on the cores, whatever GPUs there are, unless `gpu`."""
    work.mkdir(parents=True)
    write_text(work / "recipe.yaml", to_yaml(recipe))
    command = ["-m", "pdapt.cli.main", "train", str(work / "recipe.yaml"), "--tokens", str(tokens.resolve())]
    command += ["--out", str(work / "run"), *(["--base", str(base)] if base else [])]
    _process(command, work, gpu=gpu)


def steps_of(run_folder: Path) -> Steps:
    """The steps of a run of `pdapt train`, of its journal's rows: all that is done between two of them counts."""
    steps = steps_in(read(run_folder / JOURNAL_FILE))
    return Steps(durations([step.time for step in steps]), steps[0].loss)


def _side(side: str, job: SideJob, work: Path) -> Any:
    """Run a side of `trainers`, and read what it wrote; nothing of `prepare`, which writes into `work` itself."""
    work.mkdir()
    alone, path = side == "prepare", work / "job.json"
    write_json(path, job.to_json())
    ranks = job.recipe.parallel.ranks_per_node
    _process([*([] if alone else torchrun(ranks)), "-m", "pdapt.bench.trainers", side, str(path)], work, ranks)
    return None if alone else read_json(job.out)


def torchrun(ranks: int) -> list[str]:
    """Arguments of Python that start so many ranks of what follows."""
    return ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]


def _process(arguments: list[str], work: Path, ranks: int = 1, *, gpu: bool = False) -> None:
    """Run Python with as many threads a rank as `pdapt train` gives it, output in `work/log`.

    Raises:
        RuntimeError: it failed; its last lines are in the error.
    """
    threads = max(1, len(os.sched_getaffinity(0)) // ranks)
    environment = os.environ | {"OMP_NUM_THREADS": str(threads), "CUDA_DEVICE_MAX_CONNECTIONS": "1"}
    if not gpu:
        environment["CUDA_VISIBLE_DEVICES"] = ""  # cores are compared
    run_logged([sys.executable, *arguments], work / "log", Popen.wait, cwd=work, env=environment)
