"""Options of Slurm's jobs, as `corpus build --slurm` takes them."""

from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.core.slurm import SlurmOptions
from pdapt.data_prep.passes.executor import PartStep
from pdapt.data_prep.passes.slurm_executor import SlurmExecutor
from pdapt.data_prep.passes.slurm_options import slurm_options
from pdapt.data_prep.passes.source_parts import Pass


def test_options_are_read_and_the_time_has_a_default() -> None:
    assert slurm_options(["partition=cpu_p1", "account=abc@cpu"]) == SlurmOptions(
        time="24:00:00", partition="cpu_p1", account="abc@cpu"
    )
    assert slurm_options(["time=2-12"]).time == "2-12"


@pytest.mark.parametrize("given", ["partitoin=p", "cpus_per_rank=2", "partition", "account=a b", "time=0", "qos=x;y"])
def test_what_slurm_would_not_take_is_refused(given: str) -> None:
    with pytest.raises(UserError, match=r"allowed|fix"):
        slurm_options([given])


def test_the_batch_script_holds_what_is_given_and_no_more(tmp_path: Path) -> None:
    step = PartStep(Pass.LOOK, [])
    few = SlurmExecutor([step], 8, 3, logs=tmp_path / "logs", options=slurm_options(["account=abc", "time=90"]))
    script = few.get_launch_file_contents(few.get_sbatch_args(8), "true")
    for line in ("--account=abc", "--time=90", "--array=0-7%3", "--job-name=pdapt-look", "--requeue"):
        assert f"#SBATCH {line}\n" in script
    assert not {"partition", "qos", "constraint"} & few.get_sbatch_args(8).keys()
    many = SlurmExecutor([step], 2500, None, logs=tmp_path / "logs", options=slurm_options(["qos=long"]))
    assert many.tasks_per_job == 3
    assert many.get_sbatch_args(8)["qos"] == "long"


def test_a_folder_that_a_batch_script_cannot_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="would need quotes"):
        SlurmExecutor([PartStep(Pass.LOOK, [])], 1, None, logs=tmp_path / "my logs", options=slurm_options([]))
