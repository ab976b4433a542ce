"""A Slurm batch script for a multi-node torchrun job."""

import re
import shlex
from dataclasses import dataclass, field

from jinja2 import Environment, PackageLoader, StrictUndefined

from ..core.errors import UserError
from ..core.slurm import check_plain, check_time

VARIABLE = re.compile(r"[A-Za-z_]\w*", re.ASCII)


@dataclass(frozen=True)
class Job:
    """What is run, on what, for how long.

    Attributes:
        name: the job's name; with its number it names the log file.
        nodes: number of nodes.
        gpus_per_node: GPUs on each; one rank a GPU. 0 asks for none and starts one rank a node.
        cpus_per_task: CPU cores on each node; a node's ranks share them.
        time_limit: in one of sbatch's spellings, such as `20:00:00` or `2-12`.
        command: what torchrun starts in each rank: `["-m", module, argument, ...]` or `[script, argument, ...]`.
        log_dir: folder of the log `<name>-<job number>.out`; it must exist when the job starts.
        env: variables that every rank sees.
        partition, account, qos, constraint: the site's; empty leaves the choice to the site.

    Raises:
        UserError: a number out of range, or text that a batch script cannot carry.
    """

    name: str
    nodes: int
    gpus_per_node: int
    cpus_per_task: int
    time_limit: str
    command: list[str]
    log_dir: str
    env: dict[str, str] = field(default_factory=dict)
    partition: str = ""
    account: str = ""
    qos: str = ""
    constraint: str = ""

    def __post_init__(self) -> None:
        _check_numbers(self)
        _check_directives(self)
        _check_command(self)

    @property
    def ranks_per_node(self) -> int:
        """Processes that torchrun starts on each node."""
        return max(1, self.gpus_per_node)


def render_sbatch(job: Job) -> str:
    """Return the batch script of a job, ready for `sbatch`."""
    environment = Environment(  # noqa: S701 - a shell script, where HTML escaping would be wrong
        loader=PackageLoader("pdapt.launch", ""),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters["quote"] = shlex.quote
    return environment.get_template("sbatch.jinja").render(job=job, directives=_directives(job))


def _directives(job: Job) -> dict[str, str]:
    """Options of the #SBATCH lines, without those left to the site."""
    options = {
        "job-name": job.name,
        "nodes": str(job.nodes),
        "ntasks-per-node": "1",
        "cpus-per-task": str(job.cpus_per_task),
        "gpus-per-node": str(job.gpus_per_node) if job.gpus_per_node else "",
        "time": job.time_limit,
        "partition": job.partition,
        "account": job.account,
        "qos": job.qos,
        "constraint": job.constraint,
        "signal": "USR1@600",
        "output": f"{job.log_dir}/%x-%j.out",
        # A requeued job goes on in its log, where truncating would lose the reason for the requeue.
        "open-mode": "append",
    }
    return {name: value for name, value in options.items() if value}


def _check_numbers(job: Job) -> None:
    for name, least in (("nodes", 1), ("gpus_per_node", 0), ("cpus_per_task", 1)):
        value = getattr(job, name)
        if value < least:
            raise UserError(f"{name} is {value}", where="job", allowed=f"{least} or more")


def _check_directives(job: Job) -> None:
    if "/" in job.name:
        raise UserError(f"the job's name holds a '/': {job.name}", where="name", mend="it names a file: leave it out")
    for name in ("name", "log_dir", "partition", "account", "qos", "constraint"):
        value = getattr(job, name)
        required = name in ("name", "log_dir")
        if value or required:
            check_plain(value, name)
    check_time(job.time_limit, "time_limit")


def _check_command(job: Job) -> None:
    if not job.command:
        raise UserError("the job has no command", where="command", allowed="a script or -m MODULE, and its arguments")
    for name in job.env:
        if not VARIABLE.fullmatch(name):
            raise UserError(f"{name!r} cannot name a variable", where="env", allowed="letters, digits and _")
    for value in (*job.command, *job.env.values()):
        if re.search(r"[\n\r\0]", value):
            raise UserError(f"a line break or a NUL in {value!r}", where="command or env", mend="give one line of text")
