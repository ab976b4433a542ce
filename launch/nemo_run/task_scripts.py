"""The scripts of a flow's tasks under NeMo-Run, and what NeMo-Run cannot do of a flow; NeMo-Run itself is not needed.

NeMo-Run has a batch script of its own, whose srun starts a task's script on every rank: `setup_lines` go into the
former, `rank_script` is the latter. On one machine a task is one process, `process_script`.
"""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import UserError
from ...core.exit_codes import ExitCode
from ...core.slurm import ARRAY_VARIABLE
from ...training.run.folder import JOBS
from ..chain.chain_jobs import ChainJob
from ..sbatch import CRASHES, PATIENCE, BatchJob, command_line, script_part, within_container
from ..slurm_site import Runtime

REPLACED = "/nemo_run"
"""Text that NeMo-Run replaces by a task's folder, wherever it stands in a script."""
HERE = "local_cpu"
"""The site whose tasks are processes of this machine, and not jobs of Slurm."""


@dataclass(frozen=True)
class FlowTask:
    """A step of a flow as a task.

    Attributes:
        each: the step's job in a chain.
        needs: names of the tasks that it waits for.
    """

    each: ChainJob
    needs: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of the step."""
        return self.each.step.name

    @property
    def retries(self) -> int:
        """How often NeMo-Run starts the task again: as often as training is expected to, and for crashes."""
        return self.each.starts + CRASHES - 2 if self.each.job.site.requeue else 0


def flow_tasks(jobs: list[ChainJob]) -> list[FlowTask]:
    """The tasks of the jobs of a chain, in their order."""
    names = {each.step.name for each in jobs}
    return [FlowTask(each, tuple(name for name in each.step.needs if name in names)) for each in jobs]


def setup_lines(job: BatchJob) -> str:
    """The lines that NeMo-Run's batch script runs before srun: as in the job's own batch script."""
    notes = shlex.quote(job.notes or f"{job.out}/{JOBS}") + (f"/${{{ARRAY_VARIABLE}}}" if job.array else "")
    lines = [
        script_part(job, "modules", "environment"),
        f"JOBS={notes}",
        script_part(job, "meeting"),
        'export TORCHELASTIC_RUN_ID="$SLURM_JOB_ID.${SLURM_RESTART_COUNT:-0}"',
        'rm -rf "$ENDS" && mkdir -p "$ENDS"',
    ]
    return "\n".join(lines)


def rank_script(job: BatchJob) -> str:
    """The script of each rank, which srun starts: the command of the job's own batch script, and how it ends.

    srun ends all ranks once one has failed: one that has saved waits for the others, and what others say of a rank that
    they have lost is given time. A mistake of the user's and a run that a guard ended are not started again.
    """
    corrected = f"{ExitCode.USER_ERROR} | {ExitCode.HALTED}"
    stopped = ExitCode.STOPPED_EARLY
    return "\n".join(
        [
            f"cd {shlex.quote(job.folder or '.')} || exit 1",
            'export RANK="$SLURM_PROCID" LOCAL_RANK="$SLURM_LOCALID"',
            "trap '' USR1 TERM",
            "code=0",
            f"{_command(job)} || code=$?",
            'touch "$ENDS/$RANK"',
            f'while [ "$code" = {stopped} ] && [ "$(ls "$ENDS" | wc -l)" -lt "$WORLD_SIZE" ]; do sleep 1; done',
            f'case $code in {corrected}) scontrol update JobId="$SLURM_JOB_ID" Requeue=0 ;; esac',
            f"case $code in {ExitCode.DONE} | {ExitCode.USER_ERROR} | {stopped}) ;; *) sleep {PATIENCE} ;; esac",
            'exit "$code"',
            "",
        ]
    )


def process_script(task: FlowTask) -> str:
    """The script of a task on this machine. NeMo-Run starts a task although one that it waits for has failed."""
    job = task.each.job
    waited = [f"[ -e {shlex.quote(str(done_file(job, name)))} ] || fail {name}" for name in task.needs]
    return "\n".join(
        [
            script_part(job, "modules", "environment"),
            f'fail() {{ echo "{task.name}: not started, because $1 has failed" >&2; exit 1; }}',
            *waited,
            f"cd {shlex.quote(job.folder or '.')} || exit 1",
            f"{_command(job)} || exit $?",
            f"mkdir -p {shlex.quote(str(done_file(job, task.name).parent))}",
            f"touch {shlex.quote(str(done_file(job, task.name)))}",
            "",
        ]
    )


def done_file(job: BatchJob, name: str) -> Path:
    """File by which tasks on this machine know that the task of a step has done its work."""
    assert job.notes is not None
    return Path(job.notes).parent / name / "nemo-run-done"


def _command(job: BatchJob) -> str:
    return " ".join([*within_container(job.site.container, job), command_line(job)])


def check_here(tasks: list[FlowTask]) -> None:
    """Check that tasks can be processes of this machine.

    Raises:
        UserError: one asks for several nodes, or for jobs of Slurm.
    """
    for task in tasks:
        job = task.each.job
        if job.nodes > 1:
            raise UserError(
                f"{task.name} runs on {job.nodes} nodes, and NeMo-Run's LocalExecutor has this machine alone",
                where="parallel.nodes",
                fix="set parallel.nodes=1, or name a site with Slurm",
            )
        if any(word.startswith("--slurm=") for word in job.command):
            raise UserError(
                f"{task.name} would submit jobs of Slurm from a process of this machine",
                where="data.jobs",
                fix="leave it out, or name a site with Slurm",
            )


def check_slurm(tasks: list[FlowTask]) -> None:
    """Check that NeMo-Run's SlurmExecutor leaves scripts as they are, and can hold what the site asks for.

    Raises:
        UserError: NeMo-Run would change a script; or a path of a container names a variable, which it would quote.
    """
    for task in tasks:
        for line in f"{setup_lines(task.each.job)}\n{rank_script(task.each.job)}".splitlines():
            if REPLACED in line:
                raise UserError(
                    f"NeMo-Run replaces {REPLACED} wherever it stands in a script: {line.strip()}",
                    where=task.name,
                    fix="choose paths and values that do not contain it",
                )
    for container in {id(site): site.container for site in (task.each.job.site for task in tasks)}.values():
        if container is None or container.runtime != Runtime.PYXIS:
            continue
        for path in (container.image, *container.mounts):
            if "$" in path:
                raise UserError(
                    f"NeMo-Run quotes the container's paths, and {path} names a variable",
                    where="container",
                    fix="write the path itself into a site file of your own",
                )


def differences(tasks: list[FlowTask], *, slurm: bool) -> Iterator[str]:
    """Sentences on what differs from a chain of pdapt's own, for before the tasks start."""
    names = {task.name for task in tasks}
    beside = [task.name for task in tasks if names & set(task.each.step.beside)]
    if beside:
        yield f"NeMo-Run cannot run one task beside another: {' and '.join(beside)} begin when training is done"
    if not slurm:
        yield f"each task is a process of this machine (LocalExecutor), because the site is {HERE}; none is repeated"
        return
    yield "each task is a job of Slurm (SlurmExecutor); a run that a guard has ended fails, and is not held"
    if tasks and not tasks[0].each.job.site.requeue:
        yield "NeMo-Run submits with --requeue, although the site says that no job may be put back into the queue"
