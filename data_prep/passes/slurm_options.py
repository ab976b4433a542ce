"""Options of the Slurm jobs that run a corpus's tasks, as they are given."""

from collections.abc import Sequence
from dataclasses import fields

from ...core.errors import UserError, check_known
from ...core.slurm import SlurmOptions, check_options

LONGEST = "24:00:00"
"""Time limit of a job unless another is given."""


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
