"""The check of a start, by all its ranks together before the first step.

The first rank of each node reports the node's facts, and rank 0 judges them; then all ranks perform one all-reduce.
They exchange notes in a store of torch, not in a process group, so that a rank that does not arrive, or cannot take
part in the all-reduce, can be named.
"""

import json
import os
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import Failed, UserError
from ...core.files import read_object, write_json
from ..rank_task import RankTask
from ..run.folder import checkpoints, iteration
from . import all_reduce
from .environment import differences, read_environment, shortened, write_environment
from .judge_nodes import Judgement, Space, judge_nodes, space_needed
from .node_facts import NodeFacts, node_name

PREFLIGHT = "preflight.json"
ARRIVAL = 1800.0
"""Seconds for all nodes to arrive: each may first compare hundreds of GB of tokens with their hashes."""
PATIENCE = all_reduce.PATIENCE * (all_reduce.REPEATS + 1)
"""Seconds for the ranks to report on their all-reduce, once all nodes have arrived."""
READING = 20.0
"""Seconds for the other ranks to read why a start is refused: a store that rank 0 keeps ends with rank 0."""
CLOCKS = 5.0
"""Seconds that a node's clock may be off. The nodes' clocks decide which rank failed first, and the other ranks wait
twice as long for its error (`failures/cause.py`)."""
FIX = 'see "Before the first step" in docs/launch.md; correct it and run the same command again: nothing has begun'


@dataclass(frozen=True)
class Reduced:
    """A rank's report on the all-reduce: its clock at the beginning, the seconds taken, or an error."""

    rank: int
    node: str
    clock: float
    seconds: float
    error: str


def check_start(task: RankTask, store: Any) -> None:
    """Check a start, as one of its ranks.

    Args:
        task: the run.
        store: the store in which all ranks of this start leave notes.

    Raises:
        UserError: a check has failed; every rank raises it, with the same message.
        Failed: rank 0, which judges, has not answered.
    """
    rank, begin = int(os.environ["RANK"]), time.monotonic()
    if os.environ["LOCAL_RANK"] == "0":
        facts = json.dumps(asdict(NodeFacts.gather(task)))
        store.set(f"node {store.add('nodes', 1)}", facts)
    if rank == 0:
        _Judge(task, store, begin).judge()
        return
    _verdict(store, "facts", ARRIVAL)
    store.set(f"reduced {rank}", json.dumps(asdict(_reduce(store))))
    _verdict(store, "all", PATIENCE)


def read_problems(out: Path) -> list[str]:
    """List the problems that ended the last start before its first step; empty if there were none, or no record.

    Raises:
        UserError: the file is damaged.
    """
    path = out / PREFLIGHT
    return list(map(str, read_object(path).list("problems"))) if path.is_file() else []


def refuse(problems: list[str], out: Path) -> None:
    """Raise the error of a start that cannot work.

    Raises:
        UserError: there are problems.
    """
    if problems:
        raise UserError("this start cannot work: " + "\n  and: ".join(problems), where=str(out / PREFLIGHT), fix=FIX)


def _verdict(store: Any, name: str, patience: float) -> None:
    """Wait for rank 0's verdict, and end if it has found problems."""
    try:
        store.wait([f"verdict {name}"], timedelta(seconds=patience))
    except Exception as error:  # which error torch raises for a store that does not answer depends on its version
        raise Failed(f"rank 0 has not finished the check of this start within {patience:,.0f} s: {error}") from error
    problems, out = json.loads(store.get(f"verdict {name}"))
    if problems:
        store.set(_has_read(int(os.environ["RANK"])), "")
    refuse(problems, Path(out))


def _has_read(rank: int) -> str:
    """Name the note by which a rank says that it has read why a start is refused."""
    return f"read {rank}"


def _reduce(store: Any) -> Reduced:
    clock, seconds, error = time.time(), 0.0, ""
    try:
        seconds = all_reduce.measure(_within(store), all_reduce.bound())
    except RuntimeError as raised:  # a wrong sum, and all that torch.distributed raises
        error = str(raised).partition("\n")[0]
    return Reduced(rank=int(os.environ["RANK"]), node=node_name(), clock=clock, seconds=seconds, error=error)


def _within(store: Any) -> Any:
    """The store under a prefix, for the names that a process group writes."""
    import torch

    c10d: Any = torch.distributed
    return c10d.PrefixStore("all-reduce", store)


class _Judge:
    """Rank 0's part."""

    def __init__(self, task: RankTask, store: Any, begin: float) -> None:
        self.task, self.store, self.begin = task, store, begin
        self.nodes: list[NodeFacts] = []
        self.report: dict[str, Any] = {}

    def judge(self) -> None:
        """Judge the facts, then the all-reduce; write the result, and inform the other ranks."""
        space = _space(self.task)
        judgement = self._facts(space)
        self.report = {
            "nodes": [node.summary() for node in self.nodes],
            "checkpoint_bytes": space.each,
            "checkpoints_at_once": space.count,
        }
        if not judgement.problems:
            environment, before = self.nodes[0].environment, read_environment(self.task.out)
            changed = differences(before, environment, "at the last start", "now") if before is not None else []
            if changed:
                judgement.warnings.append(f"packages: {shortened(changed)}")
            write_environment(self.task.out, environment)
        self._tell("facts", judgement)
        self._reduced(judgement)
        self._tell("all", judgement)
        for warning in judgement.warnings:
            log.warn(f"train: {warning}")

    def _facts(self, space: Space) -> Judgement:
        wanted = self.task.recipe.parallel.nodes
        names = [f"node {number}" for number in range(1, wanted + 1)]
        missing = self._missing(names, ARRIVAL)
        self.nodes = [NodeFacts(**json.loads(self.store.get(name))) for name in names if name not in missing]
        if missing:
            came = ", ".join(node.node for node in self.nodes)
            within = f"within {ARRIVAL / 60:.0f} minutes"
            return Judgement([f"nodes: only {len(self.nodes)} of {wanted} arrived {within} ({came})"])
        return judge_nodes(self.task.recipe, self.nodes, space)

    def _reduced(self, judgement: Judgement) -> None:
        released, expected = time.time(), all_reduce.bound()
        own = _reduce(self.store)
        size = int(os.environ["WORLD_SIZE"])
        names = [f"reduced {rank}" for rank in range(1, size)]
        missing = self._missing(names, PATIENCE)
        received = time.time()
        all_ = [own, *(Reduced(**json.loads(self.store.get(name))) for name in names if name not in missing)]
        judgement.problems += [f"all-reduce: rank {name.split()[1]} has not answered" for name in missing]
        judgement.problems += judge_reduced(all_, expected, size)
        judgement.problems += judge_clocks(all_, released, received)
        slowest = max(each.seconds for each in all_)
        self.report["all_reduce"] = {"seconds": slowest, "bytes": expected.size, "backend": expected.backend}

    def _missing(self, names: list[str], patience: float) -> list[str]:
        """List the notes that have not arrived in time."""
        try:
            if names:
                self.store.wait(names, timedelta(seconds=patience))
        except Exception:  # as in `_verdict`; which notes are there is then asked one by one
            return [name for name in names if not self.store.check([name])]
        return []

    def _tell(self, name: str, judgement: Judgement) -> None:
        seconds = round(time.monotonic() - self.begin, 3)
        write_json(self.task.out / PREFLIGHT, self.report | asdict(judgement) | {"seconds": seconds})
        self.store.set(f"verdict {name}", json.dumps([judgement.problems, str(self.task.out)]))
        if judgement.problems:
            self._missing([_has_read(rank) for rank in range(1, int(os.environ["WORLD_SIZE"]))], READING)
        refuse(judgement.problems, self.task.out)


def judge_reduced(ranks: list[Reduced], expected: all_reduce.Bound, size: int) -> list[str]:
    """List the problems of an all-reduce: errors, or the slowest rank if it is below the bound."""
    failed = [
        f"all-reduce ({expected.backend}): {each.error}, rank {each.rank} on {each.node}"
        for each in ranks
        if each.error
    ]
    if failed or size < 2:
        return failed
    slowest = max(ranks, key=lambda each: each.seconds)
    rate = all_reduce.bandwidth(expected, slowest.seconds, size)
    if rate >= expected.least:
        return []
    return [
        f"all-reduce ({expected.backend}): {rate / 1e6:,.1f} MB/s, rank {slowest.rank} on {slowest.node}; expected: at "
        f"least {expected.least / 1e6:,.0f} MB/s ({expected.reason})"
    ]


def judge_clocks(ranks: list[Reduced], released: float, received: float) -> list[str]:
    """List the clocks that are off: each was read between two readings of rank 0's clock."""
    late = {each.node: max(released - each.clock, each.clock - received) for each in ranks}
    return [
        f"clock: {off:,.1f} s off on {node}, expected: at most {CLOCKS:g} s; set the time by NTP"
        for node, off in late.items()
        if off > CLOCKS
    ]


def _space(task: RankTask) -> Space:
    """The disk space that the checkpoints of this start need."""
    there = [iteration(path) for path in checkpoints(task.out)]
    every = task.recipe.checkpoint.keep_every
    return space_needed(
        task.recipe,
        reached=max(there, default=0),
        last=min(task.stop_at or task.recipe.steps, task.recipe.steps),
        others=sum(step % every > 0 for step in there) if every is not None else 0,
        limited=task.deadline is not None or "SLURM_JOB_ID" in os.environ,
    )
