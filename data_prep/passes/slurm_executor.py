"""The passes over sources as jobs of Slurm's: datatrove's executor, waited for."""

import math
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from datatrove.executor.slurm import SlurmPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from ...core import log
from ...core.errors import Failed, UserError
from ...core.files import write_text
from ...core.slurm import PLAIN, SlurmOptions

MOST_JOBS = 1000
"""Jobs of one array: Slurm's own limit is 1,001."""
POLL = 2.0
"""Seconds between two looks at what is finished."""
SETTLING = 15.0
"""Seconds until a shared disk shows what a job that has ended wrote there."""
JOB = "job"
"""File with the number of the job that was submitted last."""


class SlurmExecutor(SlurmPipelineExecutor):
    """datatrove's Slurm executor, which submits the tasks that are not finished, and waits for them.

    Args:
        pipeline: the steps.
        tasks: how many there are.
        workers: jobs at a time, at most; None for as many as Slurm runs.
        logs: folder on a disk that all nodes share.
        options: of the jobs.
    """

    def __init__(
        self, pipeline: list[PipelineStep], tasks: int, workers: int | None, logs: Path, options: SlurmOptions
    ) -> None:
        if not PLAIN.fullmatch(str(logs)):
            allowed = "letters, digits and ./%+,:=@&|()[]*-_"
            raise UserError("the path would need quotes in a batch script", where=str(logs), allowed=allowed)
        assert options.time
        more = {name: getattr(options, name) for name in ("account", "constraint")}
        super().__init__(
            list(pipeline),
            tasks,
            options.time,
            options.partition or "",
            workers=workers or -1,
            job_name=f"pdapt-{pipeline[0].name}",
            qos=options.qos or "",
            env_command=f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH",
            sbatch_args={name: value for name, value in more.items() if value},
            logging_dir=str(logs),
            tasks_per_job=math.ceil(tasks / MOST_JOBS),
        )
        self.logs = logs

    def get_sbatch_args(self, max_array: int = 1) -> dict[str, object]:
        """The options of the batch script, without a partition where Slurm's default is meant."""
        return {name: value for name, value in super().get_sbatch_args(max_array).items() if value or name == "requeue"}

    def launch_merge_stats(self) -> None:
        """Submit no job for datatrove's statistics."""

    def submit_and_wait(self) -> None:
        """Submit the tasks that are not finished, and wait until they are; the jobs of a killed command are ended.

        Raises:
            UserError: this is a job of an array itself, or Slurm does not take the job.
            Failed: jobs ended, and left tasks unfinished.
        """
        if "SLURM_ARRAY_TASK_ID" in os.environ:
            raise UserError("this is a job of an array: it cannot submit others", where="--slurm")
        if (self.logs / JOB).exists():
            self._cancel((self.logs / JOB).read_text())
        try:
            self.launch_job()
        except (OSError, subprocess.CalledProcessError) as error:
            raise UserError(f"sbatch does not take the job: {error}", where="--slurm") from None
        job = str(self.job_id)
        write_text(self.logs / JOB, job)
        log.info(f"corpus: {self.job_name}: submitted as job {job}")
        try:
            self._wait(job)
        except BaseException:
            self._cancel(job)
            raise

    def _wait(self, job: str) -> None:
        ended = 0.0
        while left := self.get_incomplete_ranks():
            if self._is_queued(job):
                ended = 0.0
            elif not ended:
                ended = time.monotonic()
            elif time.monotonic() - ended > SETTLING:
                fix = "the same command goes on with them"
                raise Failed(f"corpus: job {job} ended with {len(left):,} tasks to do; {self.slurm_logs_folder}: {fix}")
            time.sleep(POLL)

    def _is_queued(self, job: str) -> bool:
        """Whether Slurm has the job, or cannot be asked just now."""
        asked = subprocess.run(["squeue", "-h", "-j", job, "-o", "%T"], capture_output=True, text=True, check=False)
        return bool(asked.stdout.strip()) or (asked.returncode != 0 and "Invalid job id" not in asked.stderr)

    def _cancel(self, job: str) -> None:
        """End a job, and wait until none of it writes any more."""
        subprocess.run(["scancel", job], capture_output=True, check=False)
        while self._is_queued(job):
            time.sleep(POLL)
