"""A Slurm batch script for a multi-node torchrun job."""

import re
import shlex
from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..core.errors import UserError
from ..core.slurm import SITE_OPTIONS, SlurmOptions, check_options, check_plain

VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True)
class BatchJob:
    """A command that torchrun starts on several nodes.

    Attributes:
        name: the job's name; with its number it names the log file.
        nodes: number of nodes.
        gpus_per_node: GPUs on each; one rank a GPU. 0 asks for none and starts one rank a node.
        options: its time limit, its CPU cores and the site's names.
        command: started by torchrun in each rank: `["-m", module, argument, ...]` or `[script, argument, ...]`.
        log_dir: folder of the log `<name>-<job number>.out`; it must exist when the job starts.
        env: variables that every rank sees.

    Raises:
        UserError: a number out of range, or text that a batch script cannot carry.
    """

    name: str
    nodes: int
    gpus_per_node: int
    options: SlurmOptions
    command: list[str]
    log_dir: str
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (("nodes", 1), ("gpus_per_node", 0)):
            value = getattr(self, name)
            if value < least:
                raise UserError(f"{name} is {value}", where="job", allowed=f"{least} or more")
        if "/" in self.name:
            raise UserError(
                f"the job's name contains a '/': {self.name}",
                where="name",
                fix="leave it out: the name becomes a file's",
            )
        check_plain(self.name, "name")
        check_plain(self.log_dir, "log_dir")
        check_options(self.options)
        _check_command(self)

    @property
    def ranks_per_node(self) -> int:
        """Processes that torchrun starts on each node."""
        return max(1, self.gpus_per_node)

    @property
    def cpus_per_task(self) -> int:
        """CPU cores of each node, whose one task is torchrun."""
        return self.options.cpus_per_rank * self.ranks_per_node


def render_sbatch(job: BatchJob) -> str:
    """Return the batch script of a job, ready for `sbatch`."""
    environment = Environment(  # noqa: S701 - a shell script, where HTML escaping would be wrong
        loader=PackageLoader("pdapt.launch", ""),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters["quote"] = shlex.quote
    return environment.get_template("sbatch.jinja").render(job=job, directives=_directives(job))


def _directives(job: BatchJob) -> dict[str, str]:
    """Options of the #SBATCH lines, without those left to the site."""
    options = {
        "job-name": job.name,
        "nodes": str(job.nodes),
        "ntasks-per-node": "1",
        "cpus-per-task": str(job.cpus_per_task),
        "gpus-per-node": str(job.gpus_per_node) if job.gpus_per_node else None,
        "time": job.options.time,
        **{name: getattr(job.options, name) for name in SITE_OPTIONS},
        "signal": "USR1@600",
        "output": f"{job.log_dir}/%x-%j.out",
        # A requeued job goes on in its log, where truncating would lose the reason for the requeue.
        "open-mode": "append",
    }
    return {name: value for name, value in options.items() if value}


def _check_command(job: BatchJob) -> None:
    if not job.command:
        raise UserError("the job has no command", where="command", allowed="a script or -m MODULE, and its arguments")
    for name in job.env:
        if not VARIABLE.fullmatch(name):
            raise UserError(
                f"{name!r} is not a name for an environment variable", where="env", allowed="letters, digits and _"
            )
    for value in (*job.command, *job.env.values()):
        if re.search(r"[\n\r\0]", value):
            raise UserError(
                f"{value!r} contains a line break or a NUL", where="command or env", fix="give one line of text"
            )
