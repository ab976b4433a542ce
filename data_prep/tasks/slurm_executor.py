"""The tasks of a step as jobs of Slurm's: datatrove's executor, waited for."""

import math
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from datatrove.executor.slurm import SlurmPipelineExecutor

from ...core import log
from ...core.errors import Failed, UserError
from ...core.log import counted
from ...core.slurm import PLAIN, SlurmOptions
from ...core.system.slurm_queue import JobWait, SlurmMissing, SlurmSilent, queued, slurm
from .task_step import TaskStep

MOST_JOBS = 1000
"""Jobs of one array: Slurm's own limit is 1,001."""
SHORTEST_POLL, LONGEST_POLL = 0.2, 5.0
"""Seconds between two looks at what is finished: first and, after half a minute or so, at most."""
PATIENCE = 60.0
"""Seconds for which Slurm may leave a question unanswered."""
SETTLING = 15.0
"""Seconds until a shared disk shows what a job that has ended wrote there."""


class SlurmExecutor(SlurmPipelineExecutor):
    """datatrove's Slurm executor, which submits the tasks that are not finished, and waits for them.

    Args:
        step: the tasks.
        workers: jobs at a time, at most; None for as many as Slurm runs.
        logs: folder on a disk that all nodes share.
        options: of the jobs.
    """

    def __init__(self, step: TaskStep[Any], workers: int | None, logs: Path, options: SlurmOptions) -> None:
        if not PLAIN.fullmatch(str(logs)):
            allowed = "letters, digits and ./%+,:=@&|()[]*-_"
            raise UserError("the path would need quotes in a batch script", where=str(logs), allowed=allowed)
        assert options.time
        more = {name: getattr(options, name) for name in ("account", "constraint")} | {"comment": str(logs)}
        super().__init__(
            [step],
            step.tasks,
            options.time,
            options.partition or "",
            workers=workers or -1,
            # Known before sbatch answers, and the same for the next command: so it ends what a killed one has left.
            job_name=f"pdapt-{step.name}-{sha256(str(logs).encode()).hexdigest()[:12]}",
            qos=options.qos or "",
            env_command=f"export PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH",
            sbatch_args={name: value for name, value in more.items() if value},
            logging_dir=str(logs),
            tasks_per_job=math.ceil(step.tasks / MOST_JOBS),
        )
        self.stage, self.step = step.stage, step.name

    def get_sbatch_args(self, max_array: int = 1) -> dict[str, object]:
        """The options of the batch script, without a partition where Slurm's default is meant."""
        return {name: value for name, value in super().get_sbatch_args(max_array).items() if value or name == "requeue"}

    def launch_merge_stats(self) -> None:
        """Submit no job for datatrove's statistics."""

    def submit_and_wait(self) -> None:
        """Submit the tasks that are not finished, and wait until they are; the jobs of a killed command are ended.

        Raises:
            UserError: this is a job of an array itself, or Slurm does not take the job.
            Failed: jobs ended, and left tasks unfinished; or Slurm does not say whether a killed command's have ended.
        """
        if "SLURM_ARRAY_TASK_ID" in os.environ:
            raise UserError("this is a job of an array: it cannot submit others", where="--slurm")
        if not self._end_jobs():
            raise Failed(
                f"{self.stage}: jobs {self.job_name} of an earlier command may still write; squeue has been silent for "
                f"{PATIENCE:.0f} s; run the same command again once it answers"
            )
        try:
            self._submit()
            self._wait()
        except UserError:
            raise
        except BaseException:
            if not self._end_jobs():
                log.warn(f"Slurm does not answer: jobs may still run; end them: scancel --name={self.job_name}")
            raise

    def _submit(self) -> None:
        try:
            with _outside_of_a_job():
                self.launch_job()
        except (OSError, subprocess.CalledProcessError) as error:
            raise UserError(f"sbatch refused the job: {error}", where="--slurm") from None
        log.info(f"{self.stage}: {self.step}: submitted as job {self.job_id}")

    def _wait(self) -> None:
        ended, silent, pause = 0.0, False, SHORTEST_POLL
        what, before = f"{self.stage}: {self.step}", 0
        wait = JobWait(what)
        while left := self.get_incomplete_ranks():
            if len(left) != before:
                wait, before = JobWait(f"{what}, {counted(len(left), 'task')} to do"), len(left)
            listed = self._is_queued(wait)
            if listed is None and not silent:
                log.warn(f"{self.stage}: squeue does not answer; still waiting")
            silent = listed is None
            if listed is not False:
                ended = 0.0
            elif not ended:
                ended = time.monotonic()
            elif time.monotonic() - ended > SETTLING:
                raise Failed(
                    f"{self.stage}: job {self.job_id} ended with {len(left):,} tasks left: {self.slurm_logs_folder}; "
                    "run the same command again"
                )
            time.sleep(pause)
            pause = min(LONGEST_POLL, pause * 1.2)

    def _end_jobs(self) -> bool:
        """End the jobs of that name, of whichever command, and wait until none writes any more; whether that is so."""
        wait, deadline = JobWait(f"{self.stage}: {self.step}, to end"), time.monotonic() + PATIENCE
        while (listed := self._is_queued(wait)) is not False and time.monotonic() < deadline:
            with suppress(SlurmSilent):
                slurm(["scancel", f"--name={self.job_name}", f"--user={os.getuid()}"])
            deadline = time.monotonic() + PATIENCE if listed else deadline
            time.sleep(SHORTEST_POLL if listed else LONGEST_POLL)
        return listed is False

    def _is_queued(self, wait: JobWait) -> bool | None:
        """Whether Slurm has jobs of that name, for which `wait` is; None where it does not say.

        Raises:
            UserError: there is no squeue.
        """
        try:
            job = queued([self.job_name], ending=True).get(self.job_name)
        except SlurmMissing as error:
            fix = "run it where Slurm takes jobs, such as a login node"
            raise UserError(str(error), where="--slurm", fix=fix) from None
        except SlurmSilent:
            return None
        if job:
            wait.look(job)
        return job is not None


@contextmanager
def _outside_of_a_job() -> Iterator[None]:
    """Hide the variables of the job that submits another: srun would take some of them for the other's."""
    own = {
        name: os.environ.pop(name) for name in list(os.environ) if name.startswith("SLURM_") and name != "SLURM_CONF"
    }
    try:
        yield
    finally:
        os.environ |= own
