"""Spellings that Slurm takes: a job's time limit, and names of what a site has."""

import re

from .errors import UserError

PLAIN = re.compile(r"[\w./%+,:=@&|()\[\]*-]+", re.ASCII)
"""What a value of an #SBATCH line may hold: nothing that would need the quoting rules that sbatch has of its own."""
_TIME = re.compile(r"(\d+)(?::(\d\d?))?(?::(\d\d?))?|(\d+)-(\d\d?)(?::(\d\d?))?(?::(\d\d?))?", re.ASCII)
TIMES = "minutes, minutes:seconds, hours:minutes:seconds, or days-hours[:minutes[:seconds]]"


def check_time(text: str, where: str) -> None:
    """Check a time limit.

    Args:
        text: as sbatch's `--time` takes it.
        where: the option or key that it was given with.

    Raises:
        UserError: sbatch would not take it, or would take it for no limit at all.
    """
    found = _TIME.fullmatch(text)
    parts = [int(part) for part in found.groups() if part is not None] if found else []
    if not found or any(part > 59 for part in parts[2 if "-" in text else 1 :]) or ("-" in text and parts[1] > 23):
        raise UserError(f"{where} is {text!r}", where=where, allowed=TIMES, mend="for instance 20:00:00 or 2-12")
    if not any(parts):
        raise UserError(f"{where} is {text!r}, which Slurm takes for no limit", where=where, allowed="more than 0")


def check_plain(text: str, where: str) -> None:
    """Check a name that goes into an #SBATCH line.

    Raises:
        UserError: it holds something that such a line cannot carry.
    """
    if not PLAIN.fullmatch(text):
        raise UserError(
            f"{where} is {text!r}", where=where, allowed="letters, digits and . _ / % + , : = @ & | ( ) [ ] * -"
        )
