"""Slurm's commands as a chain uses them: each with a time limit, and a clear word where one does not answer."""

import subprocess
from dataclasses import dataclass

from ...core.errors import Failed, UserError

PATIENCE = 30.0
"""Seconds that Slurm has for an answer."""


class SlurmSilent(Failed):
    """Slurm has not answered, so that nothing is known of the jobs."""


@dataclass(frozen=True)
class QueuedJob:
    """A job that has not ended: its number, Slurm's state, the reason for that, and the comment it was given."""

    number: str
    state: str
    reason: str
    comment: str


def queued(names: list[str]) -> dict[str, QueuedJob]:
    """The jobs of these names that have not ended, of this user; of an array one that runs, if any does.

    Raises:
        SlurmSilent: squeue is not there, fails or does not answer.
    """
    listed = slurm(["squeue", "--me", "--noheader", "--format=%j|%i|%T|%r|%k", f"--name={','.join(names)}"])
    jobs: dict[str, QueuedJob] = {}
    for line in listed.splitlines():
        name, number, state, reason, comment = line.split("|", 4)
        if state != "COMPLETING" and (name not in jobs or state == "RUNNING"):
            number = number.partition("_")[0]  # of an array
            jobs[name] = QueuedJob(number, state, reason, "" if comment == "(null)" else comment)
    return jobs


def submit_script(script: str, options: list[str]) -> str:
    """Submit a batch script; the job's number.

    Raises:
        UserError: Slurm does not take it.
        SlurmSilent: sbatch is not there or does not answer.
    """
    return slurm(["sbatch", "--parsable", *options], script, refused="sbatch does not take the job").split(";")[0]


def slurm(command: list[str], given: str = "", *, refused: str = "") -> str:
    """Run one of Slurm's commands; what it printed.

    Args:
        command: with its arguments.
        given: on its standard input.
        refused: what to say where Slurm refuses, which is the user's mistake then.

    Raises:
        UserError: it fails, and `refused` is given.
        SlurmSilent: it is not there, fails, or does not answer.
    """
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except FileNotFoundError:
        raise SlurmSilent(f"{command[0]} is not on this machine: nothing is known of the jobs") from None
    except subprocess.TimeoutExpired:
        raise SlurmSilent(f"{command[0]} has not answered for {PATIENCE:g} s: nothing is known of the jobs") from None
    if done.returncode == 0:
        return done.stdout.strip()
    said = done.stderr.strip().splitlines()
    first = said[0] if said else f"code {done.returncode}"
    if refused:
        raise UserError(f"{refused}: {first}", where=" ".join(command), fix="the site's file, or job.* of the recipe")
    raise SlurmSilent(f"{command[0]} failed: {first}")
