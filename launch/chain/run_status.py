"""How a run stands: its steps, their jobs, how training gets on, and why a chain has stopped; from files and squeue."""

import math
import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from ...core import log
from ...core.checkpoint import IDENTITY
from ...core.errors import UserError, check_known
from ...core.files import read_lines, read_object
from ...core.log import counted
from ...core.slurm import as_time
from ...core.system.slurm_queue import QueuedJob, SlurmSilent, commented, queued, slurm
from ...training.run.journal import JOURNAL_FILE, Event, kept, read_history, spent
from ...training.run.spawn import LOG
from ..steps import Place, Step, step_called
from .chain_jobs import LOGS, job_name, log_file, notes_folder
from .folder_steps import FolderSteps, read_steps
from .submitted import CANCELLED, Submitted, note_job, read_jobs

HISTORY_FILE = "history.tsv"
RECENT = 50
"""Number of recent training steps from which the remaining time is estimated."""
LOG_END = 200_000
"""Bytes at a log's end in which an error is looked for."""


class StepState(StrEnum):
    """How a step stands."""

    DONE = "done"
    RUNNING = "running"
    WAITING = "waiting"
    HELD = "held"
    FAILED = "failed"
    CANCELLED = "cancelled"
    UNKNOWN = "unknown"
    """Slurm does not answer."""
    LEFT = "left"


@dataclass(frozen=True)
class Progress:
    """How far a training is: steps done, of how many, loss, goodput, seconds left; None where nothing is known yet."""

    step: int
    steps: int
    loss: float | None
    goodput: float
    seconds_left: float | None


@dataclass(frozen=True)
class StepStatus:
    """A step of a run: its state, its newest job, why it stands so, and how far training is."""

    name: str
    state: StepState
    job: str | None = None
    reason: str = ""
    progress: Progress | None = None


@dataclass(frozen=True)
class RunStatus:
    """A run: its steps in order, why it has stopped, and what Slurm did not answer; empty where there is nothing."""

    title: str
    steps: list[StepStatus]
    stopped: str
    slurm: str

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def run_status(run: Path) -> RunStatus:
    """Read the status of a run, whoever works on it.

    Raises:
        UserError: the folder holds no run, or its records are damaged.
    """
    run = run.resolve()
    listed, jobs = read_steps(run), read_jobs(run)
    problem, there = "", dict[str, QueuedJob]()
    if jobs:
        try:
            there = queued([job_name(name, run) for name in jobs])
        except SlurmSilent as error:
            problem = str(error)
    looked = _Look(run, listed, jobs, there, silent=bool(problem))
    states = [looked.status(step) for step in listed.steps]
    return RunStatus(listed.title, states, _stopped(states) if jobs and not problem else "", problem)


@dataclass(frozen=True)
class _Look:
    """One look at a run."""

    run: Path
    listed: FolderSteps
    jobs: dict[str, Submitted]
    there: dict[str, QueuedJob]
    silent: bool

    def status(self, step: Step) -> StepStatus:
        """A step's status."""
        progress = training_progress(self.run / step.outputs[0]) if step.place == Place.RANKS else None
        job = self.jobs.get(step.name)
        state, reason = self._state(step, job)
        return StepStatus(step.name, state, job=job and job.number, reason=reason, progress=progress)

    def _state(self, step: Step, job: Submitted | None) -> tuple[StepState, str]:
        waiting = self.there.get(job_name(step.name, self.run))
        if waiting is not None:
            state, reason = _queued_state(waiting)
            done = step.parts - len(self.listed.left(step, self.run))
            return state, f"{done} of {step.parts} done" if done and step.parts > 1 else reason
        if self.listed.done(step, self.run):
            return StepState.DONE, ""
        if job is None:
            return StepState.LEFT, ""
        if self.silent:
            return StepState.UNKNOWN, "Slurm does not answer"
        if job.cancelled:
            return StepState.CANCELLED, "by pdapt cancel"
        return self._ended(step, job)

    def _ended(self, step: Step, job: Submitted) -> tuple[StepState, str]:
        """The status of a step whose job has ended before the step was done."""
        numbers = _numbers(step, self.listed, self.run, job)
        for part, number in numbers.items():
            notes = notes_folder(self.run, step.name) / part
            ends = [end for end in read_ends(notes) if end[0].split(".")[0] == job.number]
            if ends:
                _, code, words = ends[-1]
                return StepState.FAILED, first_error(log_file(self.run, step.name, number)) or f"code {code}: {words}"
        if any(log_file(self.run, step.name, number).is_file() for number in numbers.values()):
            return (
                StepState.FAILED,
                "its job ended without a note: it was cancelled, reached its time limit, or its node failed",
            )
        return StepState.CANCELLED, "its job ended before it began: a step that it needs has failed"


def _numbers(step: Step, listed: FolderSteps, run: Path, job: Submitted) -> dict[str, str]:
    """Folder of each part's notes -> number of its job, of the parts that are not done; a step in one piece has one."""
    if step.parts == 1:
        return {"": job.number}
    return {str(part): f"{job.number}_{part}" for part in listed.left(step, run)}


def _queued_state(job: QueuedJob) -> tuple[StepState, str]:
    if job.state == "PENDING":
        held = "held" in job.reason.lower()
        return (StepState.HELD if held else StepState.WAITING), job.comment or job.reason
    return StepState.RUNNING, "" if job.state == "RUNNING" else job.state.lower()


def read_ends(notes: Path) -> list[tuple[str, str, str]]:
    """Job and restart, code and words of each end that a step's script has noted; torn lines are left out."""
    path = notes / HISTORY_FILE
    if not path.is_file():
        return []
    rows = [line.decode("utf-8", errors="replace").rstrip("\n").split("\t") for _, line in read_lines(path)]
    return [(row[1], row[2], row[4]) for row in rows if len(row) == 5]


def first_error(path: Path) -> str:
    """The first line of the last error in a log; empty where there is none."""
    lines = list(tail(path, LOG_END))
    errors = [line.removeprefix("pdapt: ") for line in lines if line.startswith("pdapt: ")]
    return errors[-1] if errors else ""


def tail(path: Path, count: int) -> Iterator[str]:
    """The lines in a file's last bytes; none where there is no file."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - count))
        yield from file.read(count).decode("utf-8", errors="replace").splitlines()


def training_progress(training: Path) -> Progress | None:
    """How far a training is; None before its first step.

    Raises:
        UserError: the run's records are damaged.
    """
    if not (training / IDENTITY).is_file():
        return None
    steps = read_object(training / IDENTITY).object("recipe").integer("steps")
    history = read_history(training / JOURNAL_FILE)
    done, cost = kept(history.rows, Event.STEP), spent(history)
    if not done or cost is None:
        return None
    last = max(done)
    loss = done[last].get("loss")
    recent = statistics.median(row["seconds"] for row in list(done.values())[-RECENT:])
    finite = isinstance(loss, int | float) and math.isfinite(loss)
    left = (steps - last) * recent if last < steps else None
    return Progress(last, steps, loss if finite else None, goodput=cost.goodput, seconds_left=left)


def _stopped(states: list[StepStatus]) -> str:
    """Why a chain does not go on; empty where it does, or is done."""
    going = {StepState.RUNNING, StepState.WAITING}
    for status in states:
        if status.state == StepState.HELD:
            return f"{status.name} is held: {status.reason}"
    bad = next((status for status in states if status.state == StepState.FAILED), None)
    if bad is not None:
        lost = [status.name for status in states if status.state == StepState.CANCELLED]
        cancelled = f"; {', '.join(lost)} cancelled" if lost else ""
        return f"{bad.name} has failed: {bad.reason}{cancelled}"
    if any(status.state in going for status in states):
        return ""
    ended = [status for status in states if status.state == StepState.CANCELLED]
    return f"{ended[0].name} was cancelled: {ended[0].reason}" if ended else ""


def table_rows(status: RunStatus) -> list[list[str]]:
    """A row of text for each step: name, state, job, and what there is to say."""
    return [[each.name, each.state, each.job or "", _words(each)] for each in status.steps]


def _words(status: StepStatus) -> str:
    words = [status.reason] if status.reason else []
    if status.progress is not None:
        progress = status.progress
        loss = "" if progress.loss is None else f", loss {progress.loss:.3f}"
        words.append(f"step {progress.step:,} of {progress.steps:,}{loss}, goodput {progress.goodput:.0%}")
        if progress.seconds_left is not None:
            words.append(f"{as_time(round(progress.seconds_left))} left")
    return "; ".join(words)


def step_log(run: Path, name: str) -> Path:
    """The log of a step's newest job; for an array, that of the first part that is not done.

    For a step that no job did, the log that its ranks have left in its folder.

    Raises:
        UserError: there is no such step, or it has no job or no log yet.
    """
    run = run.resolve()
    listed = read_steps(run)
    check_known(name, [step.name for step in listed.steps], "step of this run", "STEP")
    step = step_called(name, listed.steps)
    job = read_jobs(run).get(name)
    if job is None:
        local = run / name / LOG
        if local.is_file():
            return local
        raise UserError(
            f"{name} has no job, and no log",
            where=str(run),
            fix="`pdapt status` shows which steps have a job; `pdapt run` keeps the log of what it trains alone",
        )
    numbers = _numbers(step, listed, run, job)
    paths = [log_file(run, name, number) for number in numbers.values()]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        raise UserError(f"job {job.number} has not written anything yet", where=str(run / LOGS))
    return path


def cancel_run(run: Path) -> dict[str, str]:
    """Cancel the jobs of a run that have not ended, and those that work on parts of its steps; step -> number.

    Raises:
        UserError: the folder holds no run.
        SlurmSilent: Slurm does not answer.
    """
    run = run.resolve()
    read_steps(run)
    jobs = read_jobs(run)
    names = {job_name(step, run): step for step in jobs}
    there = queued(list(names)) if names else {}
    cancelled = {names[name]: job.number for name, job in there.items()}
    parts = commented(f"{run}/")
    if parts:
        log.info(f"cancel: {counted(len(parts), 'job')} on parts of a step: {', '.join(parts)}")
    if cancelled or parts:
        slurm(["scancel", *cancelled.values(), *parts])
    for step, number in cancelled.items():
        note_job(run, step, number, CANCELLED)
    return cancelled
