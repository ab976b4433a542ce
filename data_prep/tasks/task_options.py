"""How work is divided into tasks and who does it, as it is asked for; no datatrove is loaded for it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from ...core.errors import UserError, check_known
from ...core.slurm import SlurmOptions, check_options

LONGEST = "24:00:00"
"""Time limit of a job unless another is given."""


@dataclass(frozen=True)
class Tasks:
    """How a stage's work is divided, and who does it.

    Attributes:
        most: parts that what is read is divided into, at most.
        workers: tasks at a time; None for one for each core, or as many as Slurm runs.
        slurm: options of Slurm's jobs, which run the tasks; None to run them on this machine.
    """

    most: int
    workers: int | None = None
    slurm: SlurmOptions | None = None


def tasks_of(most: int, workers: int | None, slurm: SlurmOptions | None, option: str = "--tasks") -> Tasks | None:
    """The tasks that are asked for; None if the work is not divided.

    Args:
        most: parts, at most.
        workers: tasks at a time.
        slurm: options of Slurm's jobs.
        option: that says how many parts there are.

    Raises:
        UserError: there are workers, or options of Slurm's, without tasks.
    """
    if most > 1:
        return Tasks(most, workers, slurm)
    if workers or slurm:
        where = "--workers" if workers else "--slurm"
        raise UserError("there are no tasks to work on", where=where, fix=f"{option} N makes them")
    return None


def slurm_options(given: Sequence[str]) -> SlurmOptions:
    """Options of the jobs from `KEY=VALUE`.

    Raises:
        UserError: a key is unknown, or Slurm would not take a value.
    """
    names = [field.name for field in fields(SlurmOptions) if field.name != "cpus_per_rank"]
    options = SlurmOptions(time=LONGEST)
    for each in given:
        name, equals, value = each.partition("=")
        check_known(name, names, "option of a Slurm job", "--slurm")
        if not equals:
            raise UserError(f"{each!r} has no value", where="--slurm", allowed=f"{name}=VALUE")
        setattr(options, name, value)
    check_options(options)
    return options
