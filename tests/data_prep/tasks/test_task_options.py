"""Options of Slurm's jobs, as `corpus build --slurm` takes them."""

import pytest

from pdapt.core.errors import UserError
from pdapt.core.slurm import SlurmOptions
from pdapt.data_prep.tasks.task_options import slurm_options


def test_options_are_read_and_the_time_has_a_default() -> None:
    assert slurm_options(["partition=cpu_p1", "account=abc@cpu"]) == SlurmOptions(
        time="24:00:00", partition="cpu_p1", account="abc@cpu"
    )
    assert slurm_options(["time=2-12"]).time == "2-12"


@pytest.mark.parametrize("given", ["partitoin=p", "cpus_per_rank=2", "partition", "account=a b", "time=0", "qos=x;y"])
def test_what_slurm_would_not_take_is_refused(given: str) -> None:
    with pytest.raises(UserError, match=r"allowed|fix"):
        slurm_options([given])
