"""`pdapt launch FLOW --on nemo-run`: the flow as an experiment, shown or run. NeMo-Run is imported late."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING

from ...core import log
from ...core.errors import Failed, UserError
from ...core.files import remove
from ...core.system.lock import locked
from ...core.system.slurm_queue import queued
from ...training.nemo.installed import REQUIREMENTS, wrong_version
from ..chain.chain_jobs import ChainJob, job_name
from ..chain.flow_file import Flow
from ..chain.submit import plan_chain, write_files
from ..request import REQUEST_FILE, request_text
from .task_scripts import (
    HERE,
    FlowTask,
    check_here,
    check_slurm,
    differences,
    done_file,
    flow_tasks,
    process_script,
    rank_script,
)

if TYPE_CHECKING:
    import nemo_run

VERSION = "0.11.1"


def check_nemo_run() -> None:
    """Check that NeMo-Run is installed, in the version that was tried.

    Raises:
        UserError: it is not.
    """
    wrong = wrong_version("nemo-run", VERSION)
    if wrong:
        raise UserError(
            f"a flow cannot run on NeMo-Run here: {wrong}",
            where="--on nemo-run",
            fix=f"install {REQUIREMENTS} in an environment of its own, or use --on slurm; docs/nemo.md says how",
        )


def plan_tasks(flow: Flow, out: Path, folder: Path) -> list[FlowTask]:
    """The tasks of a flow's steps that are not done, checked as a chain's jobs are.

    Args:
        flow, out, folder: see `plan_chain`.

    Raises:
        UserError: see `plan_chain`; or NeMo-Run cannot do one of them.
    """
    tasks = flow_tasks(plan_chain(flow, out, folder))
    if flow.site == HERE:
        check_here(tasks)
    else:
        check_slurm(tasks)
    return tasks


def show_tasks(flow: Flow, out: Path, folder: Path) -> list[str]:
    """Lines of NeMo-Run's dry run: each task's batch script, if Slurm runs it, and the script of its process.

    Raises:
        UserError: see `plan_tasks`.
    """
    check_nemo_run()
    tasks, run = plan_tasks(flow, out, folder), Path(folder, out).resolve()
    _say(tasks, flow)
    with tempfile.TemporaryDirectory() as base, _experiment(run, base) as experiment:
        made = Path(base, "experiments", experiment._title, experiment._id)
        _add(experiment, tasks, flow)
        experiment.dryrun(log=False, delete_exp_dir=False)
        return [line for task in tasks for line in _shown(task, made)]


def _shown(task: FlowTask, made: Path) -> Iterator[str]:
    """A task, and the scripts of it that a dry run has made."""
    waits = f", after {', '.join(task.needs)}" if task.needs else ""
    yield f"# {task.name}: {task.each.step.summary}{waits}"
    for path in (made / f"{task.name}_sbatch.sh", made / task.name / "scripts" / f"{task.name}.sh"):
        if path.exists():
            yield f"# {path.relative_to(made)}"
            yield path.read_text(encoding="utf-8")


def run_tasks(flow: Flow, out: Path, folder: Path) -> list[str]:
    """Run the tasks, or submit them where Slurm runs them; names of the tasks.

    Raises:
        UserError: see `plan_tasks`; or jobs of the run are in Slurm's queue.
        Failed: a task on this machine has failed.
    """
    check_nemo_run()
    tasks, run = plan_tasks(flow, out, folder), Path(folder, out).resolve()
    if not tasks:
        return []
    jobs = [task.each for task in tasks]
    if flow.site != HERE:
        _check_queue(jobs, run)
    with locked(run, "running the tasks of"):
        write_files(jobs, {run / REQUEST_FILE: request_text(flow.request)})
        for task in tasks:
            remove(done_file(task.each.job, task.name))
        _say(tasks, flow)
        with _experiment(run) as experiment:
            _add(experiment, tasks, flow)
            experiment.run(detach=flow.site != HERE)
    if flow.site == HERE:
        failed = [task.name for task in tasks if not done_file(task.each.job, task.name).exists()]
        if failed:
            number = [task.name for task in tasks].index(failed[0])
            raise Failed(f"{failed[0]} has failed: `nemo experiment logs {experiment._id} {number}` shows why")
    return [task.name for task in tasks]


def _say(tasks: list[FlowTask], flow: Flow) -> None:
    for sentence in differences(tasks, slurm=flow.site != HERE):
        log.info(f"launch: {sentence}")


@contextmanager
def _experiment(run: Path, shown_in: str | None = None) -> "Iterator[nemo_run.Experiment]":
    """The experiment of a run, or of one that is only shown; what NeMo-Run says of it goes to standard error."""
    from nemo_run import Experiment

    level = "INFO" if shown_in is None else "WARNING"
    with redirect_stdout(sys.stderr):
        made = Experiment(job_name(run.name, run), base_dir=shown_in, log_level=level, skip_status_at_exit=True)
        with made as experiment:
            yield experiment


def _add(experiment: "nemo_run.Experiment", tasks: list[FlowTask], flow: Flow) -> None:
    from nemo_run import Script

    from .executors import local_executor, slurm_executor

    for task in tasks:
        here = flow.site == HERE
        experiment.add(
            Script(inline=process_script(task) if here else rank_script(task.each.job)),
            executor=local_executor() if here else slurm_executor(task),
            name=task.name,
            dependencies=list(task.needs),
        )


def _check_queue(jobs: list[ChainJob], run: Path) -> None:
    there = queued([each.job.name for each in jobs])
    if there:
        numbers = ", ".join(job.number for job in there.values())
        raise UserError(
            f"jobs of this run are in Slurm's queue: {numbers}",
            where=str(run),
            fix="wait for them, or end them with scancel (`pdapt cancel` ends those of `pdapt launch --on slurm`)",
        )
