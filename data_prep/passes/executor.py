"""The passes over sources as datatrove pipelines: a part of a source is a task, and none is done twice."""

import os
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from datatrove.executor.local import LocalPipelineExecutor
from datatrove.pipeline.base import PipelineStep

from ...core import log
from ...core.errors import Failed
from ...core.files import remove
from ...core.log import counted
from ...core.slurm import SlurmOptions
from ...core.system.process import die_with_parent
from ..documents.faults import together
from .source_parts import Part, Pass, join_pass, run_pass

QUIET = 1
"""Local rank of a task of which datatrove logs to its file alone."""


class PartStep(PipelineStep):
    """One pass over the part that has the task's rank.

    Args:
        step: the pass.
        parts: all parts, of all sources.
    """

    type = "pdapt"

    def __init__(self, step: Pass, parts: Sequence[Part]) -> None:
        self.name = str(step)
        super().__init__()
        self.step, self.parts = step, parts

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Generator[Any]:
        """Run it; no documents go from step to step."""
        assert world_size == len(self.parts)
        with self.track_time():
            run_pass(self.step, self.parts[rank])
        yield from data or ()


class LocalExecutor(LocalPipelineExecutor):
    """datatrove's local executor on a pool that ends where a worker is killed: datatrove's own would wait for ever."""

    def run(self) -> None:
        """Run the tasks that are not finished.

        Raises:
            Failed: a worker was killed; what is finished stays.
        """
        ranks = self.get_incomplete_ranks()
        # Forked workers would hold the threads' locks of this process.
        with ProcessPoolExecutor(self.workers, get_context("spawn"), _hold, (self, os.getpid())) as pool:
            try:
                for task in as_completed([pool.submit(_run_rank, rank) for rank in ranks]):
                    task.result()
            except BrokenProcessPool:
                left = counted(len(self.get_incomplete_ranks()), "task")
                raise Failed(
                    f"corpus: a worker was killed, perhaps for want of memory; {left} of {self.tasks:,} to do. The "
                    "same command goes on with them, with fewer --workers in less memory"
                ) from None
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise


_held: list[LocalExecutor] = []
"""In a worker: the executor whose tasks it runs."""


def _hold(executor: LocalExecutor, parent: int) -> None:
    die_with_parent(parent)
    _held[:] = [executor]


def _run_rank(rank: int) -> None:
    _held[0]._run_for_rank(rank, QUIET)


def run_passes(
    sources: Sequence[Sequence[Part]], logs: Path, workers: int | None, slurm: SlurmOptions | None = None
) -> None:
    """Run all passes over the parts of some sources.

    Args:
        sources: the parts of each.
        logs: datatrove's folder, in which it notes what is finished.
        workers: tasks at a time; None for one for each core, or as many as Slurm runs.
        slurm: options of Slurm's jobs; None for this machine.

    Raises:
        UserError: files cannot be read; all of them are named.
        Failed: a worker was killed, or a job failed.
    """
    parts = [part for each in sources for part in each]
    for step in Pass:
        _run_tasks(PartStep(step, parts), logs / step, workers, slurm)
        faulty = [rank for rank, part in enumerate(parts) if part.faults()]
        if faulty:
            for rank in faulty:  # its files may be mended
                remove(logs / step / "completions" / f"{rank:05d}")
            raise together([fault for rank in faulty for fault in parts[rank].faults()])
        for each in sources:
            join_pass(step, each)


def _run_tasks(step: PartStep, logs: Path, workers: int | None, slurm: SlurmOptions | None) -> None:
    """Run the tasks of a pass that are not finished."""
    tasks = len(step.parts)
    if slurm:
        from .slurm_executor import SlurmExecutor

        executor = SlurmExecutor([step], tasks, workers, logs=logs, options=slurm)
        run = executor.submit_and_wait
    else:
        workers = workers or len(os.sched_getaffinity(0))
        executor = LocalExecutor([step], tasks, workers, str(logs))
        run = executor.run
    left = executor.get_incomplete_ranks()
    if left:
        at_once = f", {counted(workers, 'worker')}" if workers else ""
        log.info(f"corpus: {step.step}: {counted(len(left), 'task')} of {tasks:,}{at_once}")
        run()
