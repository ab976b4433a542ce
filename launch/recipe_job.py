"""A recipe as a Slurm script."""

import re
from dataclasses import replace
from pathlib import Path

from ..core.slurm import as_time
from ..recipes.schema import Recipe
from ..training.requested_run import Run
from ..training.run.spawn import connections
from .job_time import JobTime, job_time
from .sbatch import BatchJob
from .slurm_site import options_at, read_site


def wants_gpus(name: str) -> bool:
    """Whether a recipe is for GPUs, by its name, which says the hardware: `..._2xcpu` is not."""
    return re.search(r"_\d+xcpu(_|$)", name) is None


def recipe_job(
    run: Run,
    command: list[str],
    *,
    name: str,
    site: str,
    gpu: bool,
    measured: Path | None = None,
    exclude_failed: bool = False,
) -> tuple[BatchJob, JobTime]:
    """The job that trains a recipe at a site, and the time it takes.

    Args:
        run: recipe, inputs and folder.
        command: that each rank runs.
        name: of the job.
        site: name or path, as `read_site` takes it.
        gpu: whether the ranks are GPUs.
        exclude_failed: see `BatchJob`.
        measured: the tokens' folder, if predictions may read it; else documents' lengths are drawn.

    Raises:
        UserError: the site would not take the job.
    """
    recipe, cluster = run.recipe, read_site(site)
    gpu = gpu and cluster.gpus_per_node != 0
    nodes, ranks = recipe.parallel.nodes, recipe.parallel.ranks_per_node
    options = options_at(cluster, recipe.job, nodes=nodes, gpus_per_node=ranks if gpu else 0)
    time = job_time(recipe, site, cluster, options, tokens=measured, gpu=gpu)
    job = BatchJob(
        name=name,
        nodes=nodes,
        ranks_per_node=ranks,
        gpu=gpu,
        options=replace(options, time=as_time(time.limit)),
        lead=time.lead,
        command=command,
        site=cluster,
        out=str(run.out),
        exclude_failed=exclude_failed,
        env=_environment(recipe, options.cpus_per_rank or 1),
    )
    return job, time


def _environment(recipe: Recipe, cores: int) -> dict[str, str]:
    return connections(recipe) | {"OMP_NUM_THREADS": str(cores)}


def train_command(recipe_name: str, overrides: list[str], run: Run, *, allow_env: bool = False) -> list[str]:
    """The command of each rank.

    Args:
        recipe_name, overrides, allow_env: as `pdapt train` is given them.
        run: what they stand for.
    """
    command = ["pdapt", "train", recipe_name, *overrides]
    for option, value in (("tokens", run.tokens), ("out", run.out), ("base", run.base), ("tokenizer", run.tokenizer)):
        command += [f"--{option}", str(value)] if value is not None else []
    command += ["--no-verify"] if not run.verify else []
    command += ["--allow-env"] if allow_env else []
    return command
