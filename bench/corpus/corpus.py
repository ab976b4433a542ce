"""A corpus of the paper's shape made in tasks: words per second by step, memory, and the time on several nodes."""

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

from ...core.log import counted
from ...data_prep.dedup.near_duplicates import MOST_COMPARISONS
from ...data_prep.documents.sources import HUB
from ...data_prep.tokens.parcomed import table
from ..processes import run_logged
from .synthetic import Made, write_corpus

STEP = re.compile(r"\] \w+: (?P<name>\w+): (?P<tasks>[\d,]+) tasks? done in (?P<seconds>[\d.]+) s$", re.MULTILINE)
"""Line in which a command says how long a step took."""
REST = "rest"
"""Name for everything that a command does beside its steps: it finds and hashes files, joins parts, lists and drops."""
SHORTEST = 0.01
"""Least seconds that a step counts as."""
EVERY = 0.1
"""Seconds between two looks at the memory."""


class Spread(StrEnum):
    """How a step's work is divided.

    Attributes:
        CORES: among the cores of all nodes, as tasks.
        FEW: among as many cores as there are tasks that compare pairs.
        SOURCES: one core for each source; the largest source takes longest.
        CORE: on one core.
    """

    CORES = "all nodes"
    FEW = f"{MOST_COMPARISONS} cores"
    SOURCES = "a core a source"
    CORE = "one core"


SPREADS = {"compare": Spread.FEW} | dict.fromkeys(("join", "drop", "assemble"), Spread.SOURCES)
"""Steps whose tasks do not become more with those that are asked for."""


@dataclass(frozen=True)
class Step:
    """A step of a command.

    Attributes:
        command: command of `pdapt`.
        name: name of the step, or REST.
        spread: how its work is divided on several nodes.
        seconds: time that it took here.
        words_per_second: words of the corpus per second, here.
        hours: hours for the words of the paper's Table 1, on the nodes.
    """

    command: str
    name: str
    spread: Spread
    seconds: float
    words_per_second: float
    hours: float


@dataclass(frozen=True)
class Memory:
    """The peak of a command's resident memory, in bytes.

    Attributes:
        command: command of `pdapt`.
        words: words of the corpus that it worked on.
        together: memory of all its processes; shared memory is counted in each.
        largest: memory of the largest process.
    """

    command: str
    words: int
    together: int
    largest: int


@dataclass(frozen=True)
class Nodes:
    """Nodes to which a measurement is extrapolated: each core is as fast as one here, and the disk is not the limit."""

    nodes: int
    cores: int

    def seconds(self, spread: Spread, workers: int, times: tuple[float, float], words: tuple[int, int, int]) -> float:
        """Compute the seconds that a step takes there.

        The part that does not grow with the words, such as the start of processes, stays; the other part is divided.

        Args:
            spread: how its work is divided.
                workers: cores that it had here, of a step of more than one core.
            times: seconds that it took here, on a small corpus and on a large one.
            words: of the small corpus, the large one, and the one there.
        """
        (small, large), (few, many, there) = times, words
        a_word = min(max(0.0, large - small) / (many - few), large / many)
        at_once = {
            Spread.CORES: self.nodes * self.cores,
            Spread.FEW: MOST_COMPARISONS,
            Spread.SOURCES: 1 / _largest_share(),
            Spread.CORE: workers,
        }
        return large - a_word * many + a_word * there * min(1.0, workers / at_once[spread])


def _largest_share() -> float:
    """The largest source's share of the paper's words."""
    words = [source["words"] for source in table()["sources"]]
    return max(words) / sum(words)


@dataclass(frozen=True)
class Result:
    """A measurement.

    Attributes:
        documents, words: documents and words of the corpus that was made.
        paper_words: words of the paper's Table 1.
        workers: number of processes, or threads, that worked.
        nodes: the nodes to which it is extrapolated.
        steps: the steps in their order.
        memory: memory of each command, for a tenth of the corpus and for all of it.
    """

    documents: int
    words: int
    paper_words: int
    workers: int
    nodes: Nodes
    steps: list[Step]
    memory: list[Memory]


@dataclass(frozen=True)
class Plan:
    """The work to measure.

    Attributes:
        words: approximate words of the corpus.
        seed: seed of the corpus.
        tasks: largest number of parts of each source, and of the corpus.
        workers: number of processes.
        tokenizer: tokenizer as `pdapt tokens build` takes it; None to leave that command out.
    """

    words: int
    seed: int
    tasks: int
    workers: int
    tokenizer: str | None = None

    def commands(self, work: Path) -> dict[str, list[str]]:
        """Options of each command."""
        paths = [f"{path.stem}={path}" for path in sorted((work / "in").glob("*.jsonl"))]
        corpus, tasks, workers = str(work / "corpus"), str(self.tasks), ["--workers", str(self.workers)]
        commands = {
            "corpus build": [*paths, "--out", corpus, "--duplicates", "near", "--tasks", tasks, *workers],
            "corpus decontaminate": [corpus, "--out", str(work / "contamination"), "--parts", tasks, *workers],
        }
        if self.tokenizer:
            hub = self.tokenizer.startswith(HUB)
            tokenizer = self.tokenizer if hub else str(Path(self.tokenizer).absolute())
            tokens = ["--tokenizer", tokenizer, "--out", str(work / "tokens")]
            commands["tokens build"] = [corpus, *tokens, "--tasks", tasks, *workers]
        return commands


def bench(work: Path, plan: Plan, nodes: Nodes) -> Result:
    """Make a corpus of Table 1's shape, clean it, drop near-duplicates, look for its test parts, tokenize it.

    The same is done with a tenth of the words, which shows what grows with them.

    Args:
        work: folder for all files, some 40 bytes per word.
        plan: the work to measure.
        nodes: the nodes to which the times are extrapolated.

    Raises:
        RuntimeError: a command failed; the end of its log is in the error.
    """
    small, less, memory = _measured(work / "tenth", plan, plan.words // 10)
    made, times, more = _measured(work / "whole", plan, plan.words)
    paper_words = sum(source["words"] for source in table()["sources"])
    words, steps = (small.words, made.words, paper_words), list[Step]()
    for (command, name), (spread, took) in times.items():
        before = less[command, name][1] if (command, name) in less else 0.0
        there = nodes.seconds(spread, plan.workers, (before, took), words)
        rate = made.words / max(took, SHORTEST)
        steps.append(Step(command, name, spread, took, words_per_second=rate, hours=there / 3600))
    return Result(
        made.documents,
        made.words,
        paper_words=paper_words,
        workers=plan.workers,
        nodes=nodes,
        steps=steps,
        memory=memory + more,
    )


def _measured(
    work: Path, plan: Plan, words: int
) -> tuple[Made, dict[tuple[str, str], tuple[Spread, float]], list[Memory]]:
    """Measure a corpus of some words: spread and seconds of each step of each command, and the commands' memory."""
    made = write_corpus(work / "in", words, plan.seed)
    times, memory = dict[tuple[str, str], tuple[Spread, float]](), list[Memory]()
    for command, options in plan.commands(work).items():
        seconds, (together, largest), said = _run(work, command, options)
        memory.append(Memory(command, made.words, together=together, largest=largest))
        steps = _steps(said)
        rest = seconds - sum(took for _, _, took in steps)
        steps.append((REST, Spread.CORE, rest))
        times |= {(command, name): (spread, took) for name, spread, took in steps}
    return made, times, memory


def _steps(said: str) -> list[tuple[str, Spread, float]]:
    """Name, spread and seconds of each step that a command names."""
    steps = [(each["name"], each["tasks"], float(each["seconds"])) for each in STEP.finditer(said)]
    return [
        (name, SPREADS.get(name, Spread.CORE if tasks == "1" else Spread.CORES), seconds)
        for name, tasks, seconds in steps
    ]


def _run(work: Path, command: str, options: Sequence[str]) -> tuple[float, tuple[int, int], str]:
    """Seconds, memory (see `_watched`) and messages of a command."""
    log = work / f"{command.replace(' ', '-')}.log"
    begin = time.monotonic()
    called = [sys.executable, "-m", "pdapt.cli.main", *command.split(), *options]
    most = run_logged(called, log, _watched, cwd=work, name=f"pdapt {command}")
    return time.monotonic() - begin, most, log.read_text(encoding="utf-8")


def _watched(process: "subprocess.Popen[bytes]") -> tuple[int, int]:
    """Wait for a process: most memory of it and its children together, and of one of them."""
    together = largest = 0
    while process.poll() is None:
        sizes = [_resident(process.pid), *map(_resident, _children(process.pid))]
        together, largest = max(together, sum(sizes)), max(largest, *sizes)
        time.sleep(EVERY)
    return together, largest


def _children(pid: int) -> list[int]:
    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _resident(pid: int) -> int:
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.NoSuchProcess:
        return 0


def rows(result: Result) -> list[list[str]]:
    """The steps, as a table has them."""
    return [
        [
            each.command,
            each.name,
            f"{each.seconds:.1f}",
            f"{each.words_per_second:,.0f}",
            f"{each.hours:.3f}",
            each.spread,
        ]
        for each in result.steps
    ]


def sentences(result: Result) -> list[str]:
    """Memory of each command, and the whole on several nodes."""
    there, hours = result.nodes, sum(step.hours for step in result.steps)
    return [
        f"{result.words:,} words in {counted(result.documents, 'document')}, {counted(result.workers, 'worker')}",
        *(
            f"{each.command}, {each.words:,} words: {each.together / 1e6:,.0f} MB together, the largest process "
            f"{each.largest / 1e6:,.0f} MB"
            for each in result.memory
        ),
        f"{result.paper_words:,} words on {counted(there.nodes, 'node')} of {there.cores} cores: {hours:.2f} hours, if "
        "each core is as fast as one here, and the disk is not the limit",
    ]
