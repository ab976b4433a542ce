"""`pdapt bench scaling --on slurm`: each run is a job, and a last job combines their measurements."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..core.errors import UserError, check_known
from ..core.files import read_object
from ..core.log import counted
from ..core.slurm import check_plain
from ..launch.chain.chain_jobs import LOGS, ChainJob, cpu_options, job_in_chain, process_job
from ..launch.chain.folder_steps import STEPS_FILE, FolderSteps, steps_text
from ..launch.chain.submit import chain_script, submit_jobs
from ..launch.job_time import describe_time
from ..launch.recipe_job import recipe_job, train_command
from ..launch.slurm_site import GENERIC, SlurmSite, read_site
from ..launch.steps import Place, Step
from ..recipes.load import load, to_dict, to_yaml
from ..recipes.schema import Recipe
from ..scaling.work import Scaling
from ..training.inputs import Inputs, check_inputs
from ..training.requested_run import Run
from ..training.run.folder import JOBS
from .scaling import Plan, check, run_name

SLURM = "slurm"
COLLECT = "collect"
RECIPE_FILE = "recipe.yaml"


@dataclass(frozen=True)
class Launch:
    """How a benchmark is submitted.

    Attributes:
        on: the scheduler that runs the jobs.
        tokens: the tokens stage's folder, as the cluster sees it.
        out: folder of the runs and of the results.
        only_print: whether to print the submitting script instead of submitting.
        as_json: whether to print the jobs' numbers as one JSON object.
    """

    on: str | None
    tokens: Path | None
    out: Path
    only_print: bool
    as_json: bool


def make_plan(
    recipe: str,
    overrides: list[str],
    *,
    world: list[int] | None,
    nodes: str | None,
    way: list[str] | None,
    repeats: int,
    gpu: bool,
    site: str | None,
) -> Plan:
    """Make and check the plan of a benchmark from the command's options.

    Raises:
        UserError: an option is invalid, or excludes another.
    """
    for name in way or []:
        check_known(name, list(Scaling), "way to scale", "--way")
    ways = [Scaling(name) for name in dict.fromkeys(way or Scaling)]
    loaded = load(recipe, overrides)
    if nodes is not None and world:
        raise UserError(
            "--nodes and --world both set the number of ranks", where="--nodes", fix="give only one of them"
        )
    worlds = world or [1, 2, 4]
    if nodes is not None:
        worlds = [count * loaded.parallel.ranks_per_node for count in _counts(nodes)]
    plan = Plan(loaded, sorted(set(worlds)), ways, repeats, gpu=gpu, nodes=nodes is not None, site=site)
    check(plan)
    return plan


def _counts(text: str) -> list[int]:
    """Read numbers of nodes."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and int(part[:6]) > 0 and len(part) < 6 for part in parts):
        raise UserError(f"--nodes is {text!r}", where="--nodes", allowed="whole numbers from 1, such as 1,2,4,8")
    return [int(part) for part in parts]


def launch_scaling(plan: Plan, launch: Launch) -> Iterator[str]:
    """Submit the steps that are not done, or give the script that does so; yield the lines to print.

    Raises:
        UserError: tokens are missing or do not fit, the folder holds something else, or the site would refuse a job.
        SlurmSilent: Slurm does not answer.
    """
    if launch.on != SLURM:
        given = "--on is missing" if launch.on is None else f"--on is {launch.on!r}"
        raise UserError(f"{given}: with --nodes the runs are jobs", where="--on", allowed=SLURM)
    if not plan.nodes:
        raise UserError("--nodes is missing", where="--on", fix="give --nodes 1,2,4: each number is a job")
    if launch.tokens is None:
        raise UserError("--tokens is missing", where="--on", fix="give the folder as the cluster sees it")
    plan, run, tokens = replace(plan, site=plan.site or GENERIC), launch.out.resolve(), launch.tokens.resolve()
    chain = _Chain(plan, tokens, run)
    check_plain(str(run), "--out")
    check_inputs(plan.recipe, Inputs(tokens, verify=False))
    steps, files = chain.steps(), {run / STEPS_FILE: chain.text()}
    check_folder(run, files[run / STEPS_FILE])
    jobs = chain.jobs(steps)
    if launch.only_print:
        yield chain_script(chain.title, jobs, steps, run=run, files=files)
        return
    numbers = submit_jobs(jobs, steps, run, files, left=lambda: {each.step.name for each in chain.jobs(steps)})
    if launch.as_json:
        yield json.dumps({"jobs": numbers})
    else:
        yield from [f"{step}: job {number}" for step, number in numbers.items()] or ["every step is done"]


def check_folder(run: Path, text: str) -> None:
    """Check that a folder is new, or was made for the same benchmark.

    Raises:
        UserError: it was not.
    """
    path = run / STEPS_FILE
    if path.is_file():
        if read_object(path).values != json.loads(text):
            raise UserError("the folder holds another benchmark", where=str(path), fix="choose another --out")
    elif run.is_dir() and {item.name for item in run.iterdir()} - {JOBS}:
        raise UserError(f"{run} is not empty and holds no benchmark", where="--out", fix="choose another folder")


@dataclass(frozen=True)
class _Chain:
    """The steps and jobs of a benchmark in its folder."""

    plan: Plan
    tokens: Path
    run: Path

    @property
    def title(self) -> str:
        """The heading of the status."""
        return f"Scaling on {self.nodes.replace(',', ', ')} nodes"

    @property
    def nodes(self) -> str:
        """Numbers of nodes, as `--nodes` takes them."""
        return ",".join(str(world // self.plan.recipe.parallel.ranks_per_node) for world in self.plan.worlds)

    def text(self) -> str:
        """The content of the list of steps, with all that the results depend on."""
        plan = self.plan
        settings: dict[str, Any] = {"recipe": to_dict(plan.recipe), "tokens": str(self.tokens), "site": plan.site}
        return steps_text(self.title, self.steps(), settings | {"gpu": plan.gpu, "repeats": plan.repeats})

    def steps(self) -> list[Step]:
        """A step for each run, and one that combines their measurements."""
        runs = [
            Step(
                _step_name(way, world, turn),
                f"{way} scaling, {counted(world, 'rank')}, turn {turn + 1} of {self.plan.repeats}",
                (),
                (f"{run_name(way, world, turn)}/run",),
                place=Place.RANKS,
            )
            for way, world, turn, _ in self.plan.runs()
        ]
        needs = tuple(step.name for step in runs)
        return [*runs, Step(COLLECT, "combine the measurements", needs, (".",), hours=1)]

    def jobs(self, steps: list[Step]) -> list[ChainJob]:
        """The jobs of the steps that are not done; if a run is measured again, the results are combined again."""
        cluster = replace(read_site(self.plan.site or GENERIC), logs=str(self.run / LOGS))
        *runs, last = steps
        listed = FolderSteps(self.title, steps)
        recipes = [recipe for _, _, _, recipe in self.plan.runs()]
        jobs = [
            self._training(step, recipe, cluster)
            for step, recipe in zip(runs, recipes, strict=True)
            if not listed.done(step, self.run)
        ]
        return [*jobs, self._collecting(last, cluster)] if jobs or not listed.done(last, self.run) else []

    def _training(self, step: Step, recipe: Recipe, cluster: SlurmSite) -> ChainJob:
        folder, site = (self.run / step.outputs[0]).parent, self.plan.site or GENERIC
        path, run = folder / RECIPE_FILE, Run(recipe, self.tokens, folder / "run", None)
        command = train_command(str(path), [], run)
        job, time = recipe_job(run, command, name=step.name, site=site, gpu=self.plan.gpu)
        job = job_in_chain(job, step, run=self.run, cluster=cluster, folder=Path.cwd())
        notes = [f"{step.name}: {sentence}" for sentence in describe_time(time, recipe, cluster)]
        return ChainJob(step, job, {path: to_yaml(recipe)}, notes)

    def _collecting(self, step: Step, cluster: SlurmSite) -> ChainJob:
        options, longest = cpu_options(cluster, self.plan.recipe)
        job = process_job(step, self._command(), run=self.run, cluster=cluster, options=options, longest=longest)
        job = job_in_chain(job, step, run=self.run, cluster=cluster, folder=Path.cwd())
        return ChainJob(step, job, {self.run / RECIPE_FILE: to_yaml(self.plan.recipe)}, [])

    def _command(self) -> list[str]:
        """The command that combines the measurements."""
        plan = self.plan
        command = ["pdapt", "bench", "scaling", "--recipe", str(self.run / RECIPE_FILE), "--nodes", self.nodes]
        command += [word for way in plan.ways for word in ("--way", way)]
        command += ["--steps", str(plan.recipe.steps), "--repeats", str(plan.repeats), *(["--gpu"] if plan.gpu else [])]
        return [
            *command,
            "--tokens",
            str(self.tokens),
            "--out",
            str(self.run),
            "--site",
            plan.site or GENERIC,
            "--collect",
        ]


def _step_name(way: str, world: int, turn: int) -> str:
    """A run's name in a chain, where it also is a variable of bash."""
    return run_name(way, world, turn).replace("-", "_")
