"""A recipe as a Slurm script."""

from pathlib import Path

from ..launch.sbatch import Job, render_sbatch
from ..recipes.schema import Recipe
from ..recipes.spawn import connections


def script(
    name: str, recipe_name: str, overrides: list[str], recipe: Recipe, tokens: Path, base: Path | None, out: Path
) -> str:
    """The batch script that trains a recipe: on each node torchrun, in each rank `pdapt train`."""
    command = ["--no-python", "pdapt", "train", recipe_name, *overrides, "--tokens", str(tokens), "--out", str(out)]
    if base is not None:
        command += ["--base", str(base)]
    parallel, job = recipe.parallel, recipe.job
    return render_sbatch(
        Job(
            name=name,
            nodes=parallel.nodes,
            gpus_per_node=parallel.ranks_per_node,
            cpus_per_task=job.cpus_per_rank * parallel.ranks_per_node,
            time_limit=job.time,
            command=command,
            log_dir=".",
            env={
                **connections(recipe),
                "OMP_NUM_THREADS": str(job.cpus_per_rank),
                # A failed collective ends the job instead of hanging it.
                "TORCH_NCCL_ASYNC_ERROR_HANDLING": "1",
            },
            partition=job.partition or "",
            account=job.account or "",
            qos=job.qos or "",
            constraint=job.constraint or "",
        )
    )
