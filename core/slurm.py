"""The options of a Slurm job, and the spellings that Slurm accepts."""

import re
from dataclasses import dataclass

from .errors import UserError

PLAIN = re.compile(r"[\w./%+,:=@&|()\[\]*-]+", re.ASCII)
"""Values that an #SBATCH line can hold: nothing that would need sbatch's own quoting rules."""
TIME_LIMIT = re.compile(r"(\d+)(?::(\d\d?))?(?::(\d\d?))?|(\d+)-(\d\d?)(?::(\d\d?))?(?::(\d\d?))?", re.ASCII)
VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)
"""Names of environment variables."""
TIMES = "minutes, minutes:seconds, hours:minutes:seconds, or days-hours[:minutes[:seconds]]"
ARRAY_VARIABLE = "SLURM_ARRAY_TASK_ID"
"""Environment variable that holds this job's number in its array."""
SITE_OPTIONS = ("partition", "account", "qos", "constraint")
"""Options of a job whose values only its site defines."""


@dataclass
class SlurmOptions:
    """Options of the Slurm job. Each takes precedence over the site's."""

    time: str | None = None  # hours:minutes:seconds; none: from the plan, up to the site's limit
    cpus_per_rank: int | None = None  # CPU cores; none: the site's
    partition: str | None = None  # Slurm's option of this name; none: the site's
    account: str | None = None  # Slurm's option of this name; none: the site's
    qos: str | None = None  # Slurm's option of this name; none: the site's
    constraint: str | None = None  # Slurm's option of this name; none: the site's


def check_options(options: SlurmOptions) -> None:
    """Check a job's options.

    Raises:
        UserError: a number is out of range, or sbatch would not take a value.
    """
    if options.time is not None:
        check_time(options.time, "job.time")
    if options.cpus_per_rank is not None and options.cpus_per_rank < 1:
        raise UserError(f"job.cpus_per_rank is {options.cpus_per_rank}", where="job.cpus_per_rank", allowed="1 or more")
    for name in SITE_OPTIONS:
        value = getattr(options, name)
        if value is not None:
            check_plain(value, f"job.{name}")


def check_time(text: str, where: str) -> None:
    """Check a time limit.

    Args:
        text: the limit, as sbatch's `--time` accepts it.
        where: the option or key with which it was given.

    Raises:
        UserError: sbatch would not accept it, or would take it for no limit at all.
    """
    match = TIME_LIMIT.fullmatch(text)
    parts = [int(part) for part in match.groups() if part is not None] if match else []
    if not match or any(part > 59 for part in parts[2 if "-" in text else 1 :]) or ("-" in text and parts[1] > 23):
        raise UserError(f"{where} is {text!r}", where=where, allowed=TIMES, fix="for instance 20:00:00 or 2-12")
    if not any(parts):
        raise UserError(f"{where} is {text!r}, which Slurm takes for no limit", where=where, allowed="more than 0")


def seconds_of(time: str) -> int:
    """Convert a time limit that `check_time` accepts to seconds."""
    days, dash, rest = time.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if dash:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, minutes, seconds = 0, parts[0], parts[1] if len(parts) == 2 else 0
    return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds


def as_time(seconds: int) -> str:
    """Write seconds as hours:minutes:seconds."""
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def check_plain(text: str, where: str) -> None:
    """Check a name that goes into an #SBATCH line.

    Raises:
        UserError: it holds a character that such a line cannot hold.
    """
    if not PLAIN.fullmatch(text):
        raise UserError(
            f"{where} is {text!r}", where=where, allowed="letters, digits and . _ / % + , : = @ & | ( ) [ ] * -"
        )
