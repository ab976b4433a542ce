"""Slurm as drills use it: a job's state, its signals, and what an operator may do."""

import getpass
import os
import time
from collections.abc import Callable
from dataclasses import dataclass

from ...core.errors import Failed
from ...core.slurm import seconds_of
from ...core.system.slurm_queue import SlurmSilent, slurm

LOOK = 0.5
"""Seconds between two looks."""
PATIENCE = 3600.0
"""Seconds in which what a drill waits for has to come, a job's turn in the queue included."""
SETTLING = 1.0
"""Seconds after which a job that was put back has settled: until then Slurm sets its time once more."""
ENDED = {"COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "BOOT_FAIL", "DEADLINE"}
"""States of a job that has ended, as Slurm calls them."""
ADMINISTRATORS = ("Operator", "Administrator")


class NotHere(Failed):
    """A drill that this Slurm, or this user on it, does not allow."""


@dataclass(frozen=True)
class JobState:
    """A job as Slurm shows it: its state, why, restarts, seconds that it has run, exit code and nodes."""

    state: str
    reason: str
    restarts: int
    seconds: int
    code: str
    nodes: str


def job_state(number: str) -> JobState:
    """Look at a job.

    Raises:
        SlurmSilent: Slurm does not answer, or has forgotten the job.
    """
    shown = slurm(["scontrol", "show", "job", "--oneliner", number])
    fields = {name: value for name, equals, value in (word.partition("=") for word in shown.split(" ")) if equals}
    return JobState(
        state=fields["JobState"],
        reason=fields["Reason"],
        restarts=int(fields["Restarts"]),
        seconds=seconds_of(fields["RunTime"]),
        code=fields["ExitCode"],
        nodes=fields.get("NodeList", ""),
    )


def wait_until(condition: Callable[[], bool], awaited: str, *, seconds: float = PATIENCE, pause: float = LOOK) -> None:
    """Wait for something.

    Raises:
        Failed: it has not come in time; `awaited` says what it is.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"waited {seconds:g} s in vain: {awaited}")
        time.sleep(pause)


def wait_for_state(number: str, *states: str, restarts: int = 0) -> JobState:
    """Wait until a job is in one of these states, and has been started again so often.

    Raises:
        Failed: it has not come in time, or the job has ended in another state.
    """
    seen: list[JobState] = []

    def reached() -> bool:
        seen.append(state := job_state(number))
        _check_alive(state, number, states)
        return state.state in states and state.restarts >= restarts

    wait_until(reached, f"job {number} {' or '.join(states)} with {restarts} restarts")
    return seen[-1]


def _check_alive(state: JobState, number: str, awaited: tuple[str, ...]) -> None:
    if state.state in ENDED - set(awaited):
        raise Failed(f"job {number} is {state.state} ({state.reason}, {state.code}), not {' or '.join(awaited)}")


def wait_for_end(number: str) -> None:
    """Wait until a job is done; where it is put back on the way, it is started again at once.

    Raises:
        Failed: it ends otherwise, or not in time.
    """
    restarts = job_state(number).restarts

    def done() -> bool:
        nonlocal restarts
        state = job_state(number)
        _check_alive(state, number, ("COMPLETED",))
        if state.state == "PENDING" and state.restarts > restarts:
            restarts = state.restarts
            start_now(number, restarts)
        return state.state == "COMPLETED"

    wait_until(done, f"the end of job {number}")


def start_now(number: str, restarts: int) -> None:
    """Start a job that was put back without the two minutes that Slurm lets it wait.

    Raises:
        Failed: it is not put back in time.
    """
    wait_for_state(number, "PENDING", restarts=restarts)
    time.sleep(SETTLING)
    slurm(["scontrol", "update", f"JobId={number}", "StartTime=now"])


def send_signal(number: str, name: str, *options: str) -> None:
    """Send a signal to a job's ranks, or with `--batch` to its script."""
    slurm(["scancel", *options, f"--signal={name}", number])


def nodes_of(state: JobState) -> list[str]:
    """The names of a job's nodes, in the order of its ranks."""
    return slurm(["scontrol", "show", "hostnames", state.nodes]).split()


def on_node(number: str, node: str, command: list[str]) -> None:
    """Run a command on a node of a job, beside its ranks."""
    options = [f"--jobid={number}", "--overlap", f"--nodelist={node}", "--nodes=1", "--ntasks=1", "--mem=0"]
    slurm(["srun", *options, *command])


def is_operator() -> bool:
    """Whether this user may take nodes down and change what jobs were given."""
    if os.geteuid() == 0:
        return True
    try:
        level = slurm(["sacctmgr", "-nP", "show", "user", getpass.getuser(), "format=adminlevel"])
    except SlurmSilent:  # a Slurm without accounts has root alone
        return False
    return level in ADMINISTRATORS


def alone_on(node: str, number: str) -> bool:
    """Whether no other job is on a node."""
    return set(slurm(["squeue", "--noheader", "--format=%A", f"--nodelist={node}"]).split()) <= {number}


def is_down(node: str) -> bool:
    """Whether a node takes no job until somebody resumes it."""
    return "down" in slurm(["sinfo", "--noheader", f"--nodes={node}", "--format=%T"])
