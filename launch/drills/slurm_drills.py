"""The drills on Slurm: each disturbs a tiny training on two nodes, whose results are then compared."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path

from ...core import log
from ...core.errors import Failed, UserError, check_known
from ...core.files import remove
from ...core.log import counted
from ...core.manifest import MANIFEST_FILE
from ...core.slurm import as_time, seconds_of
from ...core.system.lock import locked
from ...core.system.slurm_queue import slurm
from ..slurm_site import read_site
from .cluster import NotHere, is_operator
from .disturbances import (
    ASKED,
    LIMIT,
    damage_a_checkpoint,
    fill_the_disk,
    hang_a_rank,
    hit_the_time_limit,
    kill_a_rank,
    lose_a_node,
    lose_a_node_in_a_save,
    make_folder,
    requeue,
    small_disk,
    terminate,
)
from .killed_submitter import killed_submitter, undisturbed_chain
from .results import Results, differing
from .tiny_flow import TinyFlow
from .training_job import Grounds, TrainingJob, results_of

UNDISTURBED = "undisturbed"


class DrillOutcome(StrEnum):
    """How a drill has ended."""

    SAME = "same results"
    STOPPED = "stopped with the reason"
    DIFFERENT = "different results"
    FAILED = "failed"
    REFUSED = "not run"


WRONG = (DrillOutcome.DIFFERENT, DrillOutcome.FAILED)


@dataclass(frozen=True)
class Disturbed:
    """A training of its own that is disturbed.

    Attributes:
        disturb: waits for its moment, disturbs the job and lets it continue; returns the job that continues, if it is
            another.
        values: of the recipe, beside those of every drill.
        lead: seconds before its time limit at which the job is asked to save; None: the site's.
        around: what its folder needs as long as it is there.
    """

    disturb: Callable[[TrainingJob], TrainingJob | None]
    values: tuple[str, ...] = ()
    lead: int | None = None
    around: Callable[[Path], AbstractContextManager[None]] = make_folder

    def __call__(self, grounds: Grounds, name: str) -> tuple[DrillOutcome, str]:
        """Disturb it, let it end, and compare.

        Raises:
            Failed: the job does not meet the disturbance as it should, or does not end.
        """
        expected = undisturbed(grounds)
        remove(grounds.folder / name)
        with self.around(grounds.folder / name):
            job = grounds.job(name, *self.values, lead=self.lead)
            try:
                job = self.disturb(job) or job
                job.finish()
            finally:
                job.cancel()
            names = differing(expected, results_of(job.out))
            notes = "; ".join(f"{code}: {words}" for code, words in job.history())
        return compared(names, notes)


def compared(names: list[str], notes: str) -> tuple[DrillOutcome, str]:
    """The outcome of a drill: the names of the results that differ or, if none does, the job's notes."""
    if names:
        return DrillOutcome.DIFFERENT, f"{counted(len(names), 'result')}: {', '.join(names[:5])}"
    return DrillOutcome.SAME, notes


def ask_for_too_long(grounds: Grounds, name: str) -> tuple[DrillOutcome, str]:
    """Ask for a longer job than the site allows: it is refused before it is submitted."""
    grounds.make()
    asked = seconds_of(read_site(grounds.site).longest) + 60
    try:
        job = grounds.job(name, f"job.time={as_time(asked)}")
    except UserError as error:
        if "job.time" not in error.where:
            raise
        return DrillOutcome.STOPPED, error.what
    job.cancel()
    raise Failed(f"a job of {as_time(asked)} was submitted")


def kill_the_submitter(grounds: Grounds, name: str) -> tuple[DrillOutcome, str]:
    """Kill the process that submits a chain, launch it again, and compare.

    Raises:
        Failed: see `killed_submitter`.
    """
    flow = TinyFlow(grounds.folder / "flow")
    expected = undisturbed_chain(flow, grounds.folder / f"{UNDISTURBED}-chain", grounds.site)
    results, notes = killed_submitter(flow, grounds.folder / name, grounds.site)
    return compared(differing(expected, results), notes)


@dataclass(frozen=True)
class Drill:
    """A drill.

    Attributes:
        name: on the command line.
        summary: what happens, for tables.
        run: does it, in a folder of this name; how it ends, and in which words.
        operator: whether it needs an operator's rights.
    """

    name: str
    summary: str
    run: Callable[[Grounds, str], tuple[DrillOutcome, str]]
    operator: bool = False


DRILLS = (
    Drill(
        "time-limit",
        "the time limit is hit twice",
        Disturbed(partial(hit_the_time_limit, times=2), (f"job.time={LIMIT}",), lead=ASKED),
    ),
    Drill("requeue", "`scontrol requeue` in the middle of training", Disturbed(requeue)),
    Drill("sigterm", "SIGTERM to the ranks", Disturbed(terminate)),
    Drill("rank-killed", "one rank is killed", Disturbed(kill_a_rank)),
    Drill("rank-hung", "one rank is halted for ever", Disturbed(hang_a_rank, ("guard.hang=2",))),
    Drill("damaged-checkpoint", "a byte of the newest checkpoint changes", Disturbed(damage_a_checkpoint)),
    Drill("node-down", "a node goes down in the middle of training", Disturbed(lose_a_node), operator=True),
    Drill("node-down-in-save", "a node goes down in a save", Disturbed(lose_a_node_in_a_save), operator=True),
    Drill("full-disk", "the disk of the run is full", Disturbed(fill_the_disk, around=small_disk)),
    Drill("submitter-killed", "the process that submits a chain is killed three times", kill_the_submitter),
    Drill("too-long", "a job is asked for that the site does not allow", ask_for_too_long),
)


@dataclass(frozen=True)
class DrillResult:
    """A drill's result: its outcome, what the job noted of its starts, or why it failed, and its seconds."""

    name: str
    summary: str
    outcome: DrillOutcome
    words: str
    seconds: float
    when: str


def run_drills(names: list[str], folder: Path, site: str) -> list[DrillResult]:
    """Do drills one after another, with one undisturbed training that all of them share.

    Args:
        names: of the drills; none: all of them.
        folder: of the runs, which all nodes see; absolute.
        site: name or path of a site.

    Raises:
        UserError: there is none of a name, or the site would not take the job.
        SlurmSilent: Slurm does not answer.
    """
    known = {drill.name: drill for drill in DRILLS}
    for name in names:
        check_known(name, known, "drill", "pdapt drill")
    slurm(["sinfo", "--noheader"])
    with locked(folder, "drilling in"):
        folder.mkdir(exist_ok=True)
        return [run_drill(known[name], Grounds(folder, site)) for name in names or known]


def run_drill(drill: Drill, grounds: Grounds) -> DrillResult:
    """Disturb a training of its own, and compare the results."""
    begin, when = time.monotonic(), time.strftime("%Y-%m-%d")

    def result(outcome: DrillOutcome, words: str) -> DrillResult:
        seconds = round(time.monotonic() - begin, 1)
        return DrillResult(drill.name, drill.summary, outcome, words, seconds=seconds, when=when)

    if drill.operator and not is_operator():
        return result(DrillOutcome.REFUSED, "needs an operator's rights on this Slurm")
    log.info(f"drill: {drill.name}: {drill.summary}")
    try:
        return result(*drill.run(grounds, drill.name))
    except NotHere as error:
        return result(DrillOutcome.REFUSED, str(error))
    except Failed as error:
        return result(DrillOutcome.FAILED, str(error))


def undisturbed(grounds: Grounds) -> Results:
    """The results of the training as nobody disturbs it, which all drills share.

    Raises:
        Failed: it does not end well.
    """
    grounds.make()
    out = grounds.folder / UNDISTURBED / "run"
    if not (out / MANIFEST_FILE).is_file():
        remove(out.parent)
        log.info("drill: the training, undisturbed")
        job = grounds.job(UNDISTURBED)
        try:
            job.finish()
        finally:
            job.cancel()
    return results_of(out)


def drill_table(results: list[DrillResult]) -> list[str]:
    """Lines of Markdown: a row for each drill."""
    head = ["| drill | what happens | outcome | the job's notes | s | on |", "|---|---|---|---|--:|---|"]
    rows = (
        f"| {row.name} | {row.summary} | {row.outcome} | {row.words.replace('|', '/').replace(chr(10), ' ')} | "
        f"{row.seconds:.0f} | {row.when} |"
        for row in results
    )
    return [*head, *rows]
