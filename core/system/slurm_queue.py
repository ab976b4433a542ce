"""Slurm's commands, each with a time limit, and messages if Slurm does not answer or a job does not end."""

import subprocess
import time
from dataclasses import dataclass, field
from datetime import datetime

from .. import log
from ..errors import Failed, UserError

PATIENCE = 30.0
"""Seconds within which Slurm has to answer."""


ENDING = "COMPLETING"
"""State of a job that has ended except for its processes, or that was requeued and whose processes have not ended."""
LONG_WAIT = 600.0
"""Seconds after which a wait for a job is logged; it is logged again after twice as long, and so on."""


class SlurmSilent(Failed):
    """Slurm has not answered, so nothing is known about the jobs."""


class SlurmMissing(SlurmSilent):
    """The Slurm command does not exist on this machine."""


@dataclass(frozen=True)
class QueuedJob:
    """A job that has not ended: its number, Slurm's state, the reason for that, and the job's comment."""

    number: str
    state: str
    reason: str
    comment: str


@dataclass
class JobWait:
    """A wait for a job, logged if it is long: Slurm may list a job for ever, such as one that is held.

    Attributes:
        what: name of what waits, for messages.
        begin: time of the job's last progress, by `time.monotonic`.
    """

    what: str
    begin: float = field(default_factory=time.monotonic)
    _limit: float = field(default_factory=lambda: LONG_WAIT)

    def look(self, job: QueuedJob) -> None:
        """Log, if it is due, which job is waited for, since when, and how to end it; a running job is not logged."""
        now = time.monotonic()
        if now - self.begin < self._limit:
            return
        self._limit *= 2
        since = datetime.fromtimestamp(time.time() - (now - self.begin)).strftime("%Y-%m-%d %H:%M")
        reason = f" ({job.reason})" if job.reason not in ("", "None") else ""
        said = f"{self.what}: waiting since {since} for job {job.number}, which is {job.state}{reason}"
        say = log.info if job.state == "RUNNING" else log.warn
        say(f"{said}; `squeue -j {job.number}` shows it, `scancel {job.number}` ends it")


def queued(names: list[str], *, ending: bool = False) -> dict[str, QueuedJob]:
    """List this user's jobs of these names that have not ended; for an array, a running job if there is one.

    Args:
        names: names of jobs.
        ending: whether jobs count that have ended except for their processes.

    Raises:
        SlurmSilent: squeue is not there, fails or does not answer.
    """
    form = "--format=%j|%i|%T %M %S %e|%r|%k"
    listed = slurm(["squeue", "--me", "--noheader", form, f"--name={','.join(names)}"])
    jobs: dict[str, QueuedJob] = {}
    for line in listed.splitlines():
        name, number, shown, reason, comment = line.split("|", 4)
        state = _state(*shown.split(" "))
        if (ending or state != ENDING) and (name not in jobs or state == "RUNNING"):
            number = number.partition("_")[0]  # the number of an array
            jobs[name] = QueuedJob(number, state, reason, "" if comment == "(null)" else comment)
    return jobs


def _state(state: str, ran: str = "", start: str = "", end: str = "") -> str:
    """Slurm's state of a job, but `PENDING` for one that was requeued and whose processes have not ended yet.

    Such a job has run for no time but has an end time, which is its time limit after its next start.
    """
    return "PENDING" if state == ENDING and ran == "0:00" and start != end else state


def commented(begin: str) -> list[str]:
    """List the numbers of this user's jobs that have not ended and whose comment begins with a text.

    Raises:
        SlurmSilent: squeue is not there, fails or does not answer.
    """
    listed = (line.split("|", 1) for line in slurm(["squeue", "--me", "--noheader", "--format=%A|%k"]).splitlines())
    return sorted({number for number, comment in listed if comment.startswith(begin)})


def submit_script(script: str, options: list[str]) -> str:
    """Submit a batch script, and return the job's number.

    Raises:
        UserError: Slurm refuses it.
        SlurmSilent: sbatch is not there or does not answer.
    """
    return slurm(["sbatch", "--parsable", *options], script, refused="sbatch refused the job").split(";")[0]


def slurm(command: list[str], given: str = "", *, refused: str = "") -> str:
    """Run one of Slurm's commands, and return its output.

    Args:
        command: the command with its arguments.
        given: text for its standard input.
        refused: message if Slurm refuses, if that is then the user's mistake.

    Raises:
        UserError: the command fails, and `refused` is given.
        SlurmSilent: the command is not there, fails, or does not answer.
    """
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=PATIENCE)
    except FileNotFoundError:
        raise SlurmMissing(f"{command[0]} is not on this machine: nothing is known of the jobs") from None
    except OSError as error:
        raise SlurmMissing(f"{command[0]} cannot be run: {error.strerror}: nothing is known of the jobs") from None
    except subprocess.TimeoutExpired:
        raise SlurmSilent(f"{command[0]} has not answered for {PATIENCE:g} s: nothing is known of the jobs") from None
    if done.returncode == 0:
        return done.stdout.strip()
    said = done.stderr.strip().splitlines()
    first = said[0] if said else f"code {done.returncode}"
    if refused:
        raise UserError(
            f"{refused}: {first}", where=" ".join(command), fix="correct the site's file, or job.* of the recipe"
        )
    raise SlurmSilent(f"{command[0]} failed: {first}")
