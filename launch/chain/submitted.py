"""The record of a chain's jobs in its run's folder: a line for each that was submitted or cancelled."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import UserError
from ...core.files import read_lines
from ...training.run.folder import JOBS

JOBS_FILE = "jobs.tsv"
CANCELLED = "cancelled"


@dataclass(frozen=True)
class Submitted:
    """A step's newest job: its number, when it was submitted, and whether `pdapt cancel` has ended it."""

    number: str
    time: float
    cancelled: bool = False


def note_job(run: Path, step: str, number: str, event: str = "submitted") -> None:
    """Append a line to the record."""
    path = run / JOBS / JOBS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_file() and not (held := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, held.rfind(b"\n") + 1)  # a kill has torn the line
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{step}\t{number}\t{time.time():.0f}\t{event}\n")


def read_jobs(run: Path) -> dict[str, Submitted]:
    """Step -> its newest job. A last line that a kill has torn is left out.

    Raises:
        UserError: a line is damaged.
    """
    path, jobs = run / JOBS / JOBS_FILE, dict[str, Submitted]()
    if not path.is_file():
        return jobs
    lines = [(where, line.decode("utf-8", errors="replace")) for where, line in read_lines(path)]
    for where, line in lines:
        parts = line.rstrip("\n").split("\t")
        if len(parts) == 4 and parts[1].isascii() and parts[1].isdigit() and parts[2].isascii() and parts[2].isdigit():
            jobs[parts[0]] = Submitted(parts[1], float(parts[2][:15]), parts[3] == CANCELLED)
        elif line.endswith("\n") or where != lines[-1][0]:
            raise UserError("not a line of a chain's jobs", where=where, allowed="STEP, JOB, TIME and EVENT, with tabs")
    return jobs
