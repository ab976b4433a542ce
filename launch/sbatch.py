"""A Slurm batch script for a training job on any number of nodes."""

import re
import shlex
from dataclasses import dataclass, field
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from ..core.errors import UserError
from ..core.slurm import ARRAY_VARIABLE, SITE_OPTIONS, SlurmOptions, check_options, check_plain
from ..training.run.failures import cause
from ..training.run.folder import JOBS
from .slurm_site import GPU_OPTIONS, Container, Runtime, SlurmSite, check_variable

CRASHES = 3
"""Starts in a row that may fail without a new checkpoint."""
PATIENCE = round(2 * cause.PATIENCE)
"""Seconds after a rank's failure in which the others may say whom they have lost, before they are ended."""
REPEAT = 10
"""Seconds after which ranks that have not ended are asked again."""


@dataclass(frozen=True)
class BatchJob:
    """A command that is started in every rank of several nodes.

    Attributes:
        name: the job's name; with its number it names the log file.
        nodes: number of nodes.
        ranks_per_node: processes of each.
        gpu: whether each rank has a GPU.
        options: its time limit, its CPU cores and the site's names, all of them chosen.
        lead: seconds before the time limit at which it is asked to save.
        command: of each rank: a program and its arguments.
        site: where it runs.
        out: the run's folder, which every node sees.
        env: variables that every rank sees, besides the site's.
        notes: folder of what the script remembers from one start to the next; by default `slurm` in `out`.
        array: numbers of the jobs that the script is for, each a part of the work; by default it is one job.
        folder: that the job starts in; by default the submitter's.
        exclude_failed: whether a node on which a rank failed first is left out when the job is started again.

    Raises:
        UserError: a number out of range, or text that a batch script cannot carry.
    """

    name: str
    nodes: int
    ranks_per_node: int
    gpu: bool
    options: SlurmOptions
    lead: int
    command: list[str]
    site: SlurmSite
    out: str
    env: dict[str, str] = field(default_factory=dict)
    exclude_failed: bool = False
    notes: str | None = None
    folder: str | None = None
    array: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("nodes", "ranks_per_node", "lead"):
            value = getattr(self, name)
            if value < 1:
                raise UserError(f"{name} is {value}", where="job", allowed="1 or more")
        if "/" in self.name:
            raise UserError(
                f"the job's name contains a '/': {self.name}",
                where="name",
                fix="leave it out: the name becomes a file's",
            )
        check_plain(self.name, "name")
        if self.folder is not None:
            check_plain(self.folder, "folder")
        check_options(self.options)
        assert self.options.time is not None
        assert self.options.cpus_per_rank is not None
        _check_command(self)


def render_sbatch(job: BatchJob) -> str:
    """Return the batch script of a job, ready for `sbatch`."""
    return _template().render(
        job=job,
        site=job.site,
        directives=directives(job),
        step=step_options(job),
        within=within_container(job.site.container, job),
        command=command_line(job),
        jobs=JOBS,
        part=ARRAY_VARIABLE,
        crashes=CRASHES,
        patience=PATIENCE,
        repeat=REPEAT,
    )


def command_line(job: BatchJob) -> str:
    """The command of each rank, as the shell reads it, without the container."""
    return shlex.join(job.command)


def script_part(job: BatchJob, *names: str) -> str:
    """Parts of the batch script for other scripts that run the job: `modules`, `environment` or `meeting`."""
    template = _template()
    context = template.new_context({"job": job, "site": job.site})
    return "".join(text for name in names for text in template.blocks[name](context)).strip("\n")


@cache
def _template() -> Template:
    """The template, which takes longer to compile than to fill in."""
    environment = Environment(  # noqa: S701 - a shell script, where HTML escaping would be wrong
        loader=PackageLoader("pdapt.launch", ""),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters["quote"] = shlex.quote
    return environment.get_template("sbatch.jinja")


def directives(job: BatchJob) -> dict[str, str]:
    """Options of the #SBATCH lines, without those left to the cluster."""
    options = {
        "job-name": job.name,
        "nodes": str(job.nodes),
        "ntasks-per-node": str(job.ranks_per_node),
        "cpus-per-task": str(job.options.cpus_per_rank),
        job.site.gpu_option: GPU_OPTIONS[job.site.gpu_option].format(job.ranks_per_node) if job.gpu else None,
        "hint": job.site.hint,
        "time": job.options.time,
        **{name: getattr(job.options, name) for name in SITE_OPTIONS},
        "signal": f"B:USR1@{job.lead}",
        "requeue" if job.site.requeue else "no-requeue": "",
        "chdir": job.folder,
        "array": ",".join(map(str, job.array)) or None,
        "output": f"{job.site.logs}/%x-{'%A_%a' if job.array else '%j'}.out",
        # A requeued job appends to its log: truncating would lose the reason for the requeue.
        "open-mode": "append",
    }
    return {name: value for name, value in options.items() if value is not None}


def step_options(job: BatchJob) -> list[str]:
    """Options of srun. It does not take --cpus-per-task over from sbatch, nor --hint."""
    options = [f"--ntasks-per-node={job.ranks_per_node}", f"--cpus-per-task={job.options.cpus_per_rank}"]
    options += [f"--hint={job.site.hint}"] if job.site.hint else []
    container = job.site.container
    if container is not None and container.runtime == Runtime.PYXIS:
        options.append(f'--container-image="{container.image}"')
        options += [f'--container-mounts="{",".join(container.mounts)}"'] if container.mounts else []
    return options


def within_container(container: Container | None, job: BatchJob) -> list[str]:
    """Words before a rank's command that start a container; pyxis needs none."""
    if container is None or container.runtime == Runtime.PYXIS:
        return []
    words = [f"{container.runtime} exec", *(["--nv"] if job.gpu else [])]
    return [*words, *(f'--bind "{mount}"' for mount in container.mounts), f'"{container.image}"']


def _check_command(job: BatchJob) -> None:
    if not job.command:
        raise UserError("the job has no command", where="command", allowed="a program and its arguments")
    for name in job.env:
        check_variable(name, "env")
    for value in (job.out, job.notes or "", *job.command, *job.env.values()):
        if re.search(r"[\n\r\0]", value):
            raise UserError(
                f"{value!r} contains a line break or a NUL", where="command, out or env", fix="give one line of text"
            )
