"""A site: a cluster's defaults and limits, one YAML file for the batch scripts and the planner.

A site gives defaults. A recipe's `job.*` wins over them, and `job.KEY=VALUE` on the command line over both.
"""

import re
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import cast

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from ..core.errors import UserError, check_known, nearest
from ..core.gpus import NETWORK_CARD, WATTS_WITH_NODE
from ..core.log import counted
from ..core.slurm import SITE_OPTIONS, VARIABLE, SlurmOptions, check_plain, check_time, seconds_of
from ..recipes.overrides import merge_layer, read_layer
from ..scaling.constants import FITTED
from ..scaling.predict_run import Site as Machines

FOLDER = Path(__file__).parent / "sites"
GENERIC = "generic"
PLACE = re.compile(r"(?:[\w./+@:=-]|\$[A-Za-z_]\w*)+", re.ASCII)
"""Paths on the cluster: plain characters and $NAMES, which the node's shell replaces, and nothing that it would run."""
GPU_OPTIONS = {"gpus-per-node": "{}", "gres": "gpu:{}"}
"""Options that ask for GPUs, and how their value is written."""


class Runtime(StrEnum):
    """Programs that start a container."""

    APPTAINER = "apptainer"
    SINGULARITY = "singularity"  # its name before, which clusters have kept; with the same options
    PYXIS = "pyxis"


@dataclass
class Container:
    """The container that ranks run in; pdapt is installed in it."""

    runtime: str = MISSING  # apptainer, singularity, or pyxis: srun's own options
    image: str = MISSING  # file, or for pyxis also a registry's name
    mounts: list[str] = field(default_factory=list)  # FOLDER or FOLDER:FOLDER_INSIDE


@dataclass
class Variable:
    """An environment variable that is there because of the network."""

    value: str = MISSING
    reason: str = MISSING  # a sentence, which the script repeats


@dataclass
class QosLimit:
    """The limits of a quality of service."""

    longest: str = MISSING  # time of a job, as Slurm writes it
    gpus: int | None = None  # of a job


@dataclass
class CpuNodes:
    """Nodes for steps that need no GPU; a value that is left out is the cluster's choice, and not the site's own."""

    account: str | None = None  # none: that of the training
    partition: str | None = None  # as Slurm calls it
    qos: str | None = None  # as partition
    constraint: str | None = None  # as partition
    cores: int = 1  # CPU cores of a step
    longest: str | None = None  # time of a job; none: the site's


@dataclass
class SlurmSite:
    """A cluster. Paths may hold $NAMES, which the node's shell replaces."""

    title: str = MISSING  # one line: what it is
    account: str | None = None  # as Slurm calls it; none: the user's own
    account_ends: str | None = None  # how an account's name has to end; one has to be given then
    partition: str | None = None  # as Slurm calls it; none: the cluster's choice
    qos: str | None = None  # as partition
    constraint: str | None = None  # as partition
    hint: str | None = None  # srun's --hint
    gpus_per_node: int | None = None  # none: as many as a recipe has ranks; 0: no GPUs, ranks run on cores
    gpu_option: str = "gpus-per-node"  # or gres
    cpus_per_rank: int = 1  # CPU cores
    longest: str = MISSING  # time of a job, as Slurm writes it
    qos_limits: dict[str, QosLimit] = field(default_factory=dict)  # those that differ, and the names that are known
    cpu: CpuNodes | None = None  # for steps that need no GPU; none: the site's own nodes, without asking for GPUs
    requeue: bool = True  # whether a job may be put back into the queue
    modules: list[str] = field(default_factory=list)  # loaded in this order
    venv: str | None = None  # virtual environment that has pdapt; none: it is on the submitter's PATH
    container: Container | None = None
    env: dict[str, str] = field(default_factory=dict)  # environment variables, as they are
    network: dict[str, Variable] = field(default_factory=dict)  # environment variables with their reasons
    scratch: str | None = None  # folder for caches
    tmp: str | None = None  # folder for temporary files
    logs: str = "."  # folder of the jobs' logs
    speed: str | None = None  # constants of the planner, beside this file; none: those of published speeds
    nics: int | None = None  # network cards of a node; none: one for each GPU
    nic_gbits: float = NETWORK_CARD * 8 / 1e9  # bandwidth of a card in Gbit/s
    watts: float = WATTS_WITH_NODE  # of a GPU, with its share of node and cooling
    gpu_hour: float | None = None  # price of a GPU-hour

    def machines(self) -> Machines:
        """The machines, as the planner describes them."""
        return Machines(nics=self.nics, nic=self.nic_gbits / 8 * 1e9, watts=self.watts)


def site_names() -> list[str]:
    """The sites that come with the project."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def site_path(site: str) -> Path:
    """The file of a site that is given by name or by path.

    Raises:
        UserError: there is neither.
    """
    path = Path(site)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise UserError(f"no such site file: {site}", where="--site", fix="check the path")
    if site not in site_names():
        raise UserError(
            f"no site is called {site!r}",
            where="--site",
            allowed=f"a YAML file, or one of {', '.join(site_names())}",
            fix=nearest(site, site_names()),
        )
    return FOLDER / f"{site}.yaml"


def read_site(site: str) -> SlurmSite:
    """Read and check a site.

    Args:
        site: a name from `site_names()`, or the path of a YAML file.

    Raises:
        UserError: an unknown key, a wrong type, a missing value, or one that a batch script cannot carry.
    """
    path = site_path(site)
    config = merge_layer(OmegaConf.structured(SlurmSite), read_layer(path, kind="site"), str(path), kind="site")
    try:
        value = cast(SlurmSite, OmegaConf.to_object(config))
    except MissingMandatoryValue as error:
        raise UserError(
            f"the site has no value for {error.full_key}", where=str(path), fix=f"add {error.full_key}"
        ) from None
    try:
        _check(value)
    except UserError as error:
        raise UserError(f"{error}\n  in: {path}") from None
    return value


def speed_path(site: str) -> Path:
    """The file of the planner's constants for a site.

    Args:
        site: as `read_site` takes it, or already a file of constants: a name that ends in .json.

    Raises:
        UserError: see `read_site`.
    """
    if site.endswith(".json"):
        return Path(site)
    speed = read_site(site).speed
    return FITTED if speed is None else site_path(site).parent / speed


def options_at(site: SlurmSite, job: SlurmOptions, *, nodes: int, gpus_per_node: int) -> SlurmOptions:
    """The options of a job at a site: the recipe's where it has them, else the site's; `time` stays as it is.

    Args:
        site: where it runs.
        job: of the recipe, with the command line's.
        nodes, gpus_per_node: that it asks for.

    Raises:
        UserError: the site would not take it.
    """
    values = {name: getattr(job, name) or getattr(site, name) for name in SITE_OPTIONS}
    options = SlurmOptions(time=job.time, cpus_per_rank=job.cpus_per_rank or site.cpus_per_rank, **values)
    ending = site.account_ends
    if ending is not None and not (options.account or "").endswith(ending):
        given = "no account is given" if options.account is None else f"job.account is {options.account!r}"
        allowed = f"{site.title} requires one that ends in {ending}"
        raise UserError(given, where="job.account", allowed=allowed, fix=f"job.account=PROJECT{ending}")
    if site.qos_limits and options.qos is not None:
        check_known(options.qos, site.qos_limits, "QoS of this site", "job.qos")
    if site.gpus_per_node is not None and gpus_per_node > site.gpus_per_node:
        raise UserError(
            f"the recipe has {gpus_per_node} ranks a node, and {site.title} has {counted(site.gpus_per_node, 'GPU')}",
            where="parallel.ranks_per_node",
            fix="set parallel.nodes and parallel.ranks_per_node",
        )
    limit = site.qos_limits.get(options.qos or "")
    if limit is not None and limit.gpus is not None and nodes * gpus_per_node > limit.gpus:
        raise UserError(
            f"the job asks for {nodes * gpus_per_node} GPUs, and {options.qos} allows {limit.gpus}",
            where="job.qos",
            fix="choose another QoS, or fewer parallel.nodes",
        )
    return options


def longest_seconds(site: SlurmSite, qos: str | None) -> int:
    """Seconds that a job may take at a site, with its QoS."""
    limit = site.qos_limits.get(qos or "")
    return seconds_of(site.longest if limit is None else limit.longest)


def _check(site: SlurmSite) -> None:
    """Check the values; the message names the key.

    Raises:
        UserError: a batch script cannot carry one, or it is out of range.
    """
    check_known(site.gpu_option, GPU_OPTIONS, "option", "gpu_option")
    for name in (*SITE_OPTIONS, "hint", "account_ends", "logs"):
        _check_optional(getattr(site, name), name)
    if site.cpu is not None:
        for name in SITE_OPTIONS:
            _check_optional(getattr(site.cpu, name), f"cpu.{name}")
        if site.cpu.longest is not None:
            check_time(site.cpu.longest, "cpu.longest")
        if site.cpu.cores < 1:
            raise UserError(f"cpu.cores is {site.cpu.cores}", where="cpu.cores", allowed="from 1")
    for name in ("modules", "qos_limits"):
        for value in getattr(site, name):
            check_plain(_text(value, name), name)
    check_time(site.longest, "longest")
    for name, limit in site.qos_limits.items():
        check_time(limit.longest, f"qos_limits.{name}.longest")
    for name in ("venv", "scratch", "tmp"):
        _check_place(getattr(site, name), name)
    _check_container(site.container)
    _check_variables(site)
    _check_numbers(site)
    if site.speed is not None and Path(site.speed).name != site.speed:
        raise UserError(f"speed is {site.speed!r}", where="speed", allowed="the name of a file beside the site's")


def _check_variables(site: SlurmSite) -> None:
    texts = {"title": site.title, **{f"env.{name}": _text(value, f"env.{name}") for name, value in site.env.items()}}
    for name, variable in site.network.items():
        texts |= {f"network.{name}.value": variable.value, f"network.{name}.reason": variable.reason}
        if not variable.reason.strip():
            raise UserError(f"network.{name} has no reason", where=f"network.{name}.reason", fix="say why it is there")
    for where, text in texts.items():
        if re.search(r"[\n\r\0]", text):
            raise UserError(f"{text!r} contains a line break or a NUL", where=where, fix="give one line of text")
    for name in (*site.env, *site.network):
        check_variable(name, "env or network")


def _check_numbers(site: SlurmSite) -> None:
    least = {"cpus_per_rank": 1, "gpus_per_node": 0, "nics": 1, "nic_gbits": 1, "watts": 1, "gpu_hour": 0}
    for name, bound in least.items():
        value = getattr(site, name)
        if value is not None and not bound <= value < float("inf"):
            raise UserError(f"{name} is {value}", where=name, allowed=f"from {bound}")


def _text(value: object, where: str) -> str:
    """An element of a list or mapping, of which the schema's reader lets nested ones pass."""
    if not isinstance(value, str):
        raise UserError(f"{where} holds {value!r}", where=where, allowed="text")
    return value


def _check_optional(value: str | None, where: str) -> None:
    if value is not None:
        check_plain(value, where)


def _check_place(value: str | None, where: str) -> None:
    if value is not None and not PLACE.fullmatch(value):
        allowed = "letters, digits, . _ / + @ : = - and $NAME"
        raise UserError(f"{where} is {value!r}", where=where, allowed=allowed)


def _check_container(container: Container | None) -> None:
    if container is None:
        return
    check_known(container.runtime, list(Runtime), "container runtime", "container.runtime")
    _check_place(container.image, "container.image")
    for mount in container.mounts:
        _check_place(_text(mount, "container.mounts"), "container.mounts")


def check_variable(name: str, where: str) -> None:
    """Check the name of an environment variable.

    Raises:
        UserError: it is not one.
    """
    if not VARIABLE.fullmatch(name):
        raise UserError(
            f"{name!r} is not a name for an environment variable", where=where, allowed="letters, digits, _"
        )
