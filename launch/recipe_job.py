"""A recipe as a Slurm script."""

from ..training.requested_run import Run
from ..training.run.spawn import connections
from .sbatch import BatchJob, render_sbatch


def script(name: str, recipe_name: str, overrides: list[str], run: Run, *, allow_env: bool = False) -> str:
    """The batch script that trains a recipe: on each node torchrun, in each rank `pdapt train`.

    Args:
        name: of the job.
        recipe_name, overrides, allow_env: as `pdapt train` is given them.
        run: what they stand for.
    """
    recipe = run.recipe
    command = ["--no-python", "pdapt", "train", recipe_name, *overrides]
    for option, value in (("tokens", run.tokens), ("out", run.out), ("base", run.base), ("tokenizer", run.tokenizer)):
        command += [f"--{option}", str(value)] if value is not None else []
    command += ["--no-verify"] if not run.verify else []
    command += ["--allow-env"] if allow_env else []
    env = connections(recipe) | {
        "OMP_NUM_THREADS": str(recipe.job.cpus_per_rank),
        # A failed collective ends the job instead of hanging it.
        "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
    }
    nodes, gpus = recipe.parallel.nodes, recipe.parallel.ranks_per_node
    job = BatchJob(
        name=name, nodes=nodes, gpus_per_node=gpus, options=recipe.job, command=command, log_dir=".", env=env
    )
    return render_sbatch(job)
