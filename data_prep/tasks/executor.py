"""Steps of a stage as datatrove pipelines: each item of a step is a task, and none is done twice."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from datatrove.executor.local import LocalPipelineExecutor

from ...core import log
from ...core.errors import Failed
from ...core.files import remove
from ...core.log import counted
from ...core.system.process import die_with_parent
from .task_options import Tasks
from .task_step import TaskStep

QUIET = 1
"""Local rank of a task of which datatrove logs to its file alone."""


class LocalExecutor(LocalPipelineExecutor):
    """datatrove's local executor on a pool that ends where a worker is killed: datatrove's own would wait for ever."""

    def __init__(self, step: TaskStep[Any], logs: Path) -> None:
        super().__init__([step], step.tasks, logging_dir=str(logs))
        self.step = step

    def run_in(self, pool: ProcessPoolExecutor) -> None:
        """Run the tasks that are not finished in a pool's workers.

        Raises:
            Failed: a worker was killed; what is finished stays.
        """
        folder = Path(self.logging_dir.path)
        ranks = self.get_incomplete_ranks()
        try:
            for task in as_completed([pool.submit(_run_rank, self.step.only(rank), folder, rank) for rank in ranks]):
                task.result()
        except BrokenProcessPool:
            left = counted(len(self.get_incomplete_ranks()), "task")
            raise Failed(
                f"{self.step.stage}: a worker was killed, perhaps for lack of memory; {left} of {self.tasks:,} left. "
                "Run the same command again; with fewer --workers it takes less memory"
            ) from None


def _run_rank(step: TaskStep[Any], logs: Path, rank: int) -> None:
    LocalExecutor(step, logs)._run_for_rank(rank, QUIET)


@dataclass(frozen=True)
class TaskRunner:
    """Runs the steps of a stage, task by task.

    Attributes:
        stage: its name, for messages.
        folder: of the tasks: what they give, and in `logs` datatrove's notes on what is finished of each step.
        tasks: who runs them.
        pool: processes of this machine that do; None on Slurm.
    """

    stage: str
    folder: Path
    tasks: Tasks
    pool: ProcessPoolExecutor | None

    def run[T](self, name: str, work: Callable[[T], None], items: Sequence[T]) -> None:
        """Run the tasks of a step that are not finished.

        Args:
            name: of the step, which no other step of the stage has.
            work: what is done with an item.
            items: one for each task.

        Raises:
            Failed: a worker was killed, or a job failed.
            UserError: Slurm does not take a job.
        """
        step = TaskStep(self.stage, name, work, items=dict(enumerate(items)), tasks=len(items))
        workers = self.tasks.workers
        if self.pool is None:
            from .slurm_executor import SlurmExecutor

            assert self.tasks.slurm
            executor = SlurmExecutor(step, workers, self._logs(name), self.tasks.slurm)
            run = executor.submit_and_wait
        else:
            workers = workers or len(os.sched_getaffinity(0))
            executor = LocalExecutor(step, self._logs(name))
            run = partial(executor.run_in, self.pool)
        left = executor.get_incomplete_ranks()
        if left:
            at_once = f", {counted(workers, 'worker')}" if workers else ""
            log.info(f"{self.stage}: {name}: {counted(len(left), 'task')} of {len(items):,}{at_once}")
            begin = time.monotonic()
            run()
            seconds = time.monotonic() - begin
            log.info(f"{self.stage}: {name}: {counted(len(left), 'task')} done in {seconds:.2f} s")

    def forget(self, name: str, rank: int) -> None:
        """Mark a finished task of a step as not done."""
        remove(self._logs(name) / "completions" / f"{rank:05d}")

    def _logs(self, name: str) -> Path:
        return self.folder / "logs" / name


@contextmanager
def task_runner(stage: str, folder: Path, tasks: Tasks) -> Iterator[TaskRunner]:
    """A runner of a stage's tasks, whose processes start with its first task and end with the block.

    Args:
        stage: its name, for messages.
        folder: of the tasks.
        tasks: who runs them.
    """
    if tasks.slurm:
        yield TaskRunner(stage, folder, tasks, None)
        return
    workers = tasks.workers or len(os.sched_getaffinity(0))
    # Forked workers would hold the threads' locks of this process.
    with ProcessPoolExecutor(workers, get_context("spawn"), die_with_parent, (os.getpid(),)) as pool:
        try:
            yield TaskRunner(stage, folder, tasks, pool)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
