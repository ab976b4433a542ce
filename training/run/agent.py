"""Runs torchrun for the ranks of this machine, and writes how the ranks ended that failed first.

Its arguments are `TASK CODES LAUNCHER`.
"""

import signal
import sys
import traceback
import uuid
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from ...core.files import write_json
from ...core.system.device import has_gpu
from ...core.system.garbage import importing
from .. import rank
from ..rank_task import RankTask
from .failures.cause import ENDED_BY_US

with importing():
    import torch.multiprocessing
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch
    from torch.multiprocessing.spawn import start_processes

_forks: list[BaseProcess] = []
"""The forked ranks, in their order."""


def main() -> None:
    """Run torchrun; after a failure, write `{rank: exit code}` to the file of codes, a signal as a negative number."""
    file, codes, launcher = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    try:
        _launch(file, launcher)
    except ChildFailedError as failed:
        write_json(codes, {number: failure.exitcode for number, failure in failed.failures.items()} | _faults())
        raise


def _launch(file: Path, launcher: int) -> None:
    """Start the recipe's ranks and wait for them: as new processes or, without a GPU, as forks.

    On a CPU a rank's imports take longer than a small model's training, and forks share them. With a GPU nothing is
    forked: the imports may have begun to use the GPU.
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
        # torchrun calls it by this name.
        torch.multiprocessing.start_processes = _started  # pyright: ignore[reportPrivateImportUsage]
        elastic_launch(config, forked)(task, launcher)


def _faults() -> dict[int, int]:
    """Exit codes of the forked ranks that a fault has ended: torchrun keeps that of the rank it looked at first alone.

    The signals by which a rank ends because of another one are not counted: torchrun sends SIGTERM, then SIGKILL.
    """
    ends = {rank: process.exitcode or 0 for rank, process in enumerate(_forks)}
    return {rank: code for rank, code in ends.items() if code < 0 and -code not in (*ENDED_BY_US, signal.SIGKILL)}


def _started(*given: Any, **further: Any) -> Any:
    """Start processes as torch does, and keep them."""
    context: Any = start_processes(*given, **further)
    _forks.extend(context.processes)
    return context


def forked(task: RankTask, launcher: int) -> None:
    """Run a forked rank; it prints its error, which torch would only hand to the process that forked it."""
    try:
        rank.run_launched_rank(task, launcher)
    except Exception:
        traceback.print_exc()
        sys.exit(1)


if __name__ == "__main__":
    main()
