"""The executors of NeMo-Run for the jobs of a flow. Importing this file imports NeMo-Run."""

from typing import Any

import nemo_run as run
from nemo_run.core.execution.slurm import SlurmJobDetails

from ..sbatch import BatchJob, directives, step_options
from ..slurm_site import Runtime
from .task_scripts import FlowTask, setup_lines

NUMBERS = ("nodes", "ntasks-per-node", "cpus-per-task", "gpus-per-node")
TEXTS = ("gres", "time", "account", "partition", "qos", "constraint", "array")
"""Options of sbatch that are fields of the SlurmExecutor."""
FURTHER = ("hint", "chdir", "requeue", "no-requeue")
"""Options of sbatch that it takes besides."""


def slurm_executor(task: FlowTask) -> run.SlurmExecutor:
    """The executor of a task as a job of Slurm, submitted on this machine."""
    job = task.each.job
    given = directives(job)
    fields: dict[str, Any] = {_field(name): int(given[name]) for name in NUMBERS if name in given}
    fields |= {_field(name): given.get(name) for name in TEXTS}
    further: dict[str, Any] = {_field(name): given[name] or True for name in FURTHER if name in given}
    container = job.site.container
    if container is not None and container.runtime == Runtime.PYXIS:
        fields |= {"container_image": container.image, "container_mounts": list(container.mounts)}
    return run.SlurmExecutor(
        **fields,
        signal=f"USR1@{job.lead}",
        additional_parameters=further | {"kill_on_invalid_dep": "yes"},
        # srun would end ranks that still write a minute after the first has ended.
        srun_args=[*_step_options(job), "--wait=0"],
        setup_lines=setup_lines(job),
        job_details=SlurmJobDetails(job_name=job.name),
        job_name_prefix="pdapt.",
        retries=task.retries,
        poll_estimated_start_time=False,
        tunnel=run.LocalTunnel(job_dir=""),
        packager=run.Packager(),
    )


def local_executor() -> run.LocalExecutor:
    """The executor of tasks that are processes of this machine."""
    return run.LocalExecutor(packager=run.Packager())


def _step_options(job: BatchJob) -> list[str]:
    """Options of srun, without the container's, for which the executor has fields."""
    return [option for option in step_options(job) if not option.startswith("--container-")]


def _field(option: str) -> str:
    return option.replace("-", "_")
