"""Disturbances of a training job: each waits for its moment, disturbs it, and lets it go on.

Each raises `Failed` where the job does not meet it as docs/launch.md says.
"""

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ...core.checkpoint import HASHES_FILE
from ...core.errors import Failed
from ...core.system.slurm_queue import SlurmSilent, slurm
from ...training.run.folder import checkpoints
from ...training.run.run_state import read_state
from .cluster import (
    NotHere,
    alone_on,
    is_down,
    is_operator,
    job_state,
    nodes_of,
    send_signal,
    start_now,
    wait_for_state,
    wait_until,
)
from .training_job import TrainingJob

LIMIT, ASKED = "5", 270
"""Minutes of a job that is to hit its limit, and seconds before it at which Slurm is to ask for a save. Slurm looks
twice a minute, half a minute ahead: it asks in the job's first half minute."""
HALTED = 45
"""Seconds into such a job until which its ranks are halted, for training is not to be done before Slurm has asked."""
AT_WORK = ("RUNNING", "STOPPED")
"""States of such a job as long as it has not ended: Slurm says the second of one whose ranks are halted."""
RAISED = "30"
"""Minutes of the job once it has hit its limit, where this user may give it more."""
INSIDE_A_SAVE = 8
"""Tries to meet a save, which takes a part of a second."""
SAVED = ("75", "saved, goes on")


def hit_the_time_limit(job: TrainingJob, times: int) -> None:
    """Let Slurm ask for a save before the limit.

    Afterwards an operator's job gets half an hour; another user's job keeps limits of five minutes.
    """
    for _ in range(times):
        restarts = job_state(job.number).restarts
        job.wait_for_steps()
        with suppress(SlurmSilent):  # ranks that were asked as they started may have saved and ended by now
            send_signal(job.number, "STOP")
            wait_until(lambda: _has_run(job, HALTED), f"{HALTED} s of job {job.number}")
            send_signal(job.number, "CONT")
        wait_for_state(job.number, "PENDING", restarts=restarts + 1)
        if (reason := read_state(job.out).reason) != "SIGUSR1":
            raise Failed(f"the ranks were to stop because of SIGUSR1, and not of {reason!r}")
        _expect_saved(job)
        start_now(job.number, restarts + 1)
    if is_operator():
        slurm(["scontrol", "update", f"JobId={job.number}", f"TimeLimit={RAISED}"])


def _has_run(job: TrainingJob, seconds: int) -> bool:
    state = job_state(job.number)
    return state.state not in AT_WORK or state.seconds >= seconds


def requeue(job: TrainingJob) -> None:
    """Requeue the job by hand in the middle of its steps; its script must note that, if Slurm leaves it the time."""
    restarts = job_state(job.number).restarts
    job.wait_for_steps()
    slurm(["scontrol", "requeue", job.number])
    start_now(job.number, restarts + 1)
    if refused := [words for _, words in job.history() if words.startswith("not put back")]:
        raise Failed(f"a job that was put back by hand says: {refused[0]}")


def terminate(job: TrainingJob) -> None:
    """Send SIGTERM to the ranks, which save; the script, which was not asked, starts them again in the same job."""
    ends = len(job.history())
    job.wait_for_steps()
    send_signal(job.number, "TERM")
    wait_until(lambda: len(job.history()) > ends, "ranks that end as saved after SIGTERM")
    _expect_saved(job)


def kill_a_rank(job: TrainingJob) -> None:
    """Kill the second rank: the job names it, with its node, and is put back."""
    restarts = job_state(job.number).restarts
    job.wait_for_steps()
    node = job.signal_rank(1, "KILL")
    wait_for_state(job.number, "PENDING", restarts=restarts + 1)
    code, words = job.history()[-1]
    if code != "1" or not words.endswith(f"rank 1 on {node} ended first, with code 137"):
        raise Failed(f"a killed rank was to be named, and the job says: {words}")
    start_now(job.number, restarts + 1)


def hang_a_rank(job: TrainingJob) -> None:
    """Halt the second rank: the others notice, the job is held with the reason, and continues when it is released."""
    restarts = job_state(job.number).restarts
    job.wait_for_steps()
    job.signal_rank(1, "STOP")
    state = wait_for_state(job.number, "PENDING", restarts=restarts + 1)
    code, words = job.history()[-1]
    if code != "76" or "rank 1" not in words or state.reason != "job_requeued_in_held_state":
        raise Failed(f"a hung rank was to hold the job, and it is {state.reason}: {words}")
    slurm(["scontrol", "release", job.number])
    start_now(job.number, restarts + 1)


def damage_a_checkpoint(job: TrainingJob) -> None:
    """Change a byte of the newest checkpoint between two starts: the run must name it and use the one before."""
    restarts = job_state(job.number).restarts
    job.wait_for_steps(more=3)
    send_signal(job.number, "USR1", "--batch")
    wait_for_state(job.number, "PENDING", restarts=restarts + 1)
    _expect_saved(job)
    newest = checkpoints(job.out)[-1]
    wait_until((newest / HASHES_FILE).is_file, f"the hashes of {newest.name}")
    largest = max(newest.glob("*.distcp"), key=lambda path: path.stat().st_size)
    _flip(largest, largest.stat().st_size // 2)
    start_now(job.number, restarts + 1)
    words = f"{newest.name} is damaged ({largest.name}: another SHA-256 than when it was saved)"
    wait_until(lambda: words in job.log.read_text(encoding="utf-8"), f"'{words}' in {job.log}")


def _flip(path: Path, place: int) -> None:
    with path.open("r+b") as file:
        file.seek(place)
        value = file.read(1)[0]
        file.seek(place)
        file.write(bytes([value ^ 0xFF]))


def lose_a_node(job: TrainingJob) -> None:
    """Lose the second node in the middle of the steps."""
    _check_alone(job)
    job.wait_for_steps()
    with _node_lost(job):
        pass


def lose_a_node_in_a_save(job: TrainingJob) -> None:
    """Lose the second node while a checkpoint is written, which has to be unfinished afterwards."""
    _check_alone(job)
    for _ in range(INSIDE_A_SAVE):
        job.wait_for_steps()
        wait_until(lambda: bool(job.unfinished()), "a save that has begun", pause=0.01)
        with _node_lost(job):
            if job.unfinished():
                return
    raise Failed(f"the node was lost {INSIDE_A_SAVE} times, and never in a save")


def _check_alone(job: TrainingJob) -> None:
    for node in nodes_of(wait_for_state(job.number, "RUNNING")):
        if not alone_on(node, job.number):
            raise NotHere(f"node {node} has other jobs, and is not taken down")


@contextmanager
def _node_lost(job: TrainingJob) -> Iterator[None]:
    """Kill the second node's rank, take the node down and up again, and start the job, which is put back by then.

    Slurm does not end the processes of a node that is down: a node that has lost its power has none.
    """
    restarts = job_state(job.number).restarts
    node = job.signal_rank(1, "KILL")
    slurm(["scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=drill of pdapt"])
    try:
        wait_for_state(job.number, "PENDING", restarts=restarts + 1)
        yield
    finally:
        if is_down(node):  # Slurm itself takes one back that answers, by `ReturnToService=2`
            slurm(["scontrol", "update", f"NodeName={node}", "State=RESUME"])
        start_now(job.number, restarts + 1)


def fill_the_disk(job: TrainingJob) -> TrainingJob:
    """Leave no byte on the disk of the job's folder: it fails as a mistake, and so does a job that is submitted then.

    The job that is returned is submitted when there is space again.
    """
    job.wait_for_steps()
    filler = job.out.parent / "filler"
    _fill(filler)
    _expect_mistake(job)
    text = job.log.read_text(encoding="utf-8")
    if "the disk is full: " not in text or f"free on {job.out.parent}" not in text:
        raise Failed(f"a full disk was to be named in the job's log: {job.log}")
    _fill(filler)  # the space that the ranks have freed at their end
    again = job.again()
    try:
        _expect_mistake(again)
    finally:
        again.cancel()
    filler.unlink()
    return job.again()


def _fill(filler: Path) -> None:
    with suppress(OSError), filler.open("ab", buffering=0) as file:
        while file.write(bytes(2**20)):
            pass


def _expect_mistake(job: TrainingJob) -> None:
    ended = wait_for_state(job.number, "FAILED")
    if ended.code != "2:0":
        raise Failed(f"a full disk was to end job {job.number} with 2:0, and it ended with {ended.code}: {job.log}")


@contextmanager
def make_folder(folder: Path) -> Iterator[None]:
    """Make a folder that needs nothing else."""
    folder.mkdir()
    yield


@contextmanager
def small_disk(folder: Path) -> Iterator[None]:
    """Mount a disk of 128 MiB at a folder: for root, where the job's nodes are this machine."""
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128m", "none", str(folder)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise NotHere(f"a small disk takes root's rights: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def in_turn(*disturbances: Callable[[TrainingJob], None]) -> Callable[[TrainingJob], None]:
    """Several disturbances of one job, one after another: fewer starts than jobs of their own would take."""

    def disturb(job: TrainingJob) -> None:
        for each in disturbances:
            each(job)

    return disturb


def _expect_saved(job: TrainingJob) -> None:
    if (end := job.history()[-1]) != SAVED:
        raise Failed(f"a start was to end as {SAVED}, and not as {end}")
