"""torchrun for the ranks of this machine, and a file of how each ended that it saw end first: `TASK CODES LAUNCHER`."""

import sys
import traceback
import uuid
from pathlib import Path

from ...core.files import write_json
from ...core.system.device import has_gpu
from ...core.system.garbage import importing
from .. import rank
from ..rank_task import RankTask

with importing():
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch


def main() -> None:
    """Run torchrun; of a failure, write `{rank: exit code}`, a signal's negative, to the file of codes."""
    file, codes, launcher = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    try:
        _launch(file, launcher)
    except ChildFailedError as failed:
        write_json(codes, {number: failure.exitcode for number, failure in failed.failures.items()})
        raise


def _launch(file: Path, launcher: int) -> None:
    """Start a rank for each of the recipe's, and wait for them: new processes, or forks where there is no GPU.

    What a rank imports takes longer on a CPU than what a small model computes, and forks import it once. Where there is
    a GPU, no process is forked from one that has imported what may have begun to use it.
    """
    task = RankTask.read(file)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        nproc_per_node=task.recipe.parallel.ranks_per_node,
        run_id=str(uuid.uuid4()),
        max_restarts=0,
        start_method="fork",
    )
    if has_gpu():
        elastic_launch(config, sys.executable)("-u", "-m", rank.__name__, str(file), str(launcher))
    else:
        rank.engine_of(task).load(task.recipe)
        elastic_launch(config, forked)(task, launcher)


def forked(task: RankTask, launcher: int) -> None:
    """Be a rank that was forked; its error is printed where torch would hand it to the process that forked it."""
    try:
        rank.run_launched_rank(task, launcher)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main()
