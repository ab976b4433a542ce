"""The jobs of a chain: a batch script for each step of a flow."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path

from ...core.errors import UserError
from ...core.slurm import SITE_OPTIONS, SlurmOptions, as_time, check_plain, seconds_of
from ...recipes.load import to_yaml
from ...recipes.schema import Recipe
from ...training.requested_run import Run
from ...training.run.folder import JOBS
from ..job_time import UNPREDICTED, describe_time
from ..recipe_job import recipe_job, wants_gpus
from ..run_defaults import CPT
from ..sbatch import BatchJob
from ..slurm_site import SlurmSite, longest_seconds, options_at, read_site
from ..steps import Place, Step, flow_steps, parts_left
from ..whole_run import WholeRun, base_root, pretraining

LOGS = f"{JOBS}/logs"
RECIPES = f"{JOBS}/recipes"
"""Folders of a run: its jobs' logs, and the recipes that its ranks train."""


@dataclass(frozen=True)
class ChainJob:
    """A step as a job.

    Attributes:
        step: that it does.
        job: its script's content.
        files: path -> text of what the job reads and the chain writes.
        notes: sentences on what it takes.
        gpu_hours: of a job of one process, the most that its time limit allows, of all jobs of an array together.
        starts: how often the job is expected to start, if its run takes the most that is predicted.
    """

    step: Step
    job: BatchJob
    files: dict[Path, str]
    notes: list[str]
    gpu_hours: float = 0.0
    starts: int = 1


@dataclass(frozen=True)
class Chain:
    """A flow that is to run as jobs.

    Attributes:
        whole: the run; its folder is absolute.
        site: name or path, as `read_site` takes it.
        folder: that paths of the request are relative to.
    """

    whole: WholeRun
    site: str
    folder: Path

    def jobs(self) -> list[ChainJob]:
        """A job for each step, whether it is done or not.

        Raises:
            UserError: the site would not take one, or a path cannot be in a script.
        """
        check_plain(str(self.whole.out), "--out")
        cluster = replace(read_site(self.site), logs=str(self.whole.out / LOGS))
        if self.whole.request.jobs and cluster.container:
            raise UserError(
                "jobs would be submitted from within the site's container, which lacks Slurm's commands",
                where="data.jobs",
                fix="leave it out: the parts are then worked on by the cores of the step's own job",
            )
        return [self._job(step, cluster) for step in flow_steps(self.whole.request)]

    def _job(self, step: Step, cluster: SlurmSite) -> ChainJob:
        run = self.whole.out
        made = self._training(step) if step.place == Place.RANKS else self._single(step, cluster)
        array = () if step.parts == 1 else tuple(parts_left(step, self.whole.request, run) or range(step.parts))
        job = replace(job_in_chain(made.job, step, run=run, cluster=cluster, folder=self.folder), array=array)
        return replace(made, job=job, gpu_hours=made.gpu_hours * max(1, len(job.array)))

    def _training(self, step: Step) -> ChainJob:
        """The job of a recipe's ranks; its time follows from the plan."""
        whole, recipe = self.whole, self.whole.assumed
        base = None
        if step.name == "base":
            recipe = replace(pretraining(recipe), job=recipe.job)
        else:
            base = base_root(whole)
        path = whole.out / RECIPES / f"{step.name}.yaml"
        run = Run(recipe, whole.out / "tokens", whole.out / step.name, base)
        command = ["pdapt", "train", str(path), "--tokens", str(run.tokens), "--out", str(run.out)]
        command += ["--base", str(base)] if base else []
        job, time = recipe_job(run, command, name=step.name, site=self.site, gpu=wants_gpus(self._recipe_name()))
        notes = [f"{step.name}: {sentence}" for sentence in describe_time(time, recipe, read_site(self.site))]
        return ChainJob(step, job, {path: to_yaml(recipe)}, notes, starts=time.jobs or 1)

    def _single(self, step: Step, cluster: SlurmSite) -> ChainJob:
        """The job of one process."""
        run, recipe = self.whole.out, self.whole.assumed
        gpu = step.place == Place.GPU and cluster.gpus_per_node != 0 and wants_gpus(self._recipe_name())
        options, longest = _gpu_options(cluster, recipe) if gpu else cpu_options(cluster, recipe)
        command = step.command(run)
        if step.divided and self.whole.request.jobs:
            command += _parts_as_jobs(self.whole.request.jobs, options, longest)
        job = process_job(step, command, run=run, cluster=cluster, options=options, longest=longest, gpu=gpu)
        hours = seconds_of(job.options.time or "") / 3600 if gpu else 0.0
        return ChainJob(step, job, {}, [], gpu_hours=hours)

    def _recipe_name(self) -> str:
        return Path(self.whole.request.recipe or CPT).stem


def job_in_chain(job: BatchJob, step: Step, *, run: Path, cluster: SlurmSite, folder: Path) -> BatchJob:
    """A job under the name, and with the notes, of a step of a chain.

    Args:
        job: of the step.
        step: of the chain.
        run: the chain's folder.
        cluster: the site, whose logs are the chain's.
        folder: that the job starts in.
    """
    notes = str(notes_folder(run, step.name))
    return replace(job, name=job_name(step.name, run), site=cluster, notes=notes, folder=str(folder))


def _parts_as_jobs(jobs: int, options: SlurmOptions, longest: int) -> list[str]:
    """Options of a step's command that has jobs work on its parts, of the same kind as its own."""
    given = {"time": as_time(longest)} | {name: getattr(options, name) for name in SITE_OPTIONS}
    return ["--workers", str(jobs), *(f"--slurm={name}={value}" for name, value in given.items() if value)]


def process_job(
    step: Step,
    command: list[str],
    *,
    run: Path,
    cluster: SlurmSite,
    options: SlurmOptions,
    longest: int,
    gpu: bool = False,
) -> BatchJob:
    """The job of one process.

    Args:
        step: that it does.
        command: of the process.
        run: the chain's folder.
        cluster: the site.
        options: of the job, without its time.
        longest: seconds that the site allows; a step of fewer hours asks for those.
        gpu: whether it has a GPU.
    """
    limit = longest if step.hours is None else min(longest, round(step.hours * 3600))
    return BatchJob(
        name=step.name,
        nodes=1,
        ranks_per_node=1,
        gpu=gpu,
        options=replace(options, time=as_time(limit)),
        lead=min(UNPREDICTED, limit // 4),
        command=command,
        site=cluster,
        out=str(run),
        env={"OMP_NUM_THREADS": str(options.cpus_per_rank)},
    )


def _gpu_options(cluster: SlurmSite, recipe: Recipe) -> tuple[SlurmOptions, int]:
    """Options of a job with one GPU, and its longest time in seconds."""
    options = options_at(cluster, _of_any_job(recipe), nodes=1, gpus_per_node=1)
    return options, longest_seconds(cluster, options.qos)


def cpu_options(cluster: SlurmSite, recipe: Recipe) -> tuple[SlurmOptions, int]:
    """Options of a job on cores, and its longest time in seconds."""
    cpu = cluster.cpu
    if cpu is None:
        options = options_at(cluster, _of_any_job(recipe), nodes=1, gpus_per_node=0)
        return options, longest_seconds(cluster, options.qos)
    account = cpu.account or recipe.job.account or cluster.account
    options = SlurmOptions(
        cpus_per_rank=cpu.cores, partition=cpu.partition, account=account, qos=cpu.qos, constraint=cpu.constraint
    )
    return options, seconds_of(cpu.longest or cluster.longest)


def _of_any_job(recipe: Recipe) -> SlurmOptions:
    """A recipe's options that hold for jobs of other sizes, too."""
    return replace(recipe.job, time=None, cpus_per_rank=None)


def job_name(step: str, run: Path) -> str:
    """The name of a step's job, unique to the run, so that Slurm can be asked for it."""
    return f"{step}.{sha256(str(run).encode()).hexdigest()[:10]}"


def notes_folder(run: Path, step: str) -> Path:
    """Folder in which a step's script notes how each start ended."""
    return run / JOBS / step


def log_file(run: Path, step: str, number: str) -> Path:
    """The log of a step's job; the number of one of an array is `NUMBER_PART`."""
    return run / LOGS / f"{job_name(step, run)}-{number}.out"


def sentences(jobs: list[ChainJob]) -> Iterator[str]:
    """Sentences on what the jobs need, to print before they are submitted."""
    for each in jobs:
        yield from each.notes
    others = {each.step.name: each.gpu_hours for each in jobs if each.gpu_hours}
    if others:
        by_step = ", ".join(f"{name} {hours:,.0f}" for name, hours in others.items())
        yield f"in addition, up to {sum(others.values()):,.0f} GPU-hours by the jobs' time limits: {by_step}"
