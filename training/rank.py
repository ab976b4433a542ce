"""The entry point of a rank, whoever has started its torchrun.

Ranks that pdapt starts on this machine enter by `run_launched_rank`, from `run/agent.py`: with a GPU as `python -m
pdapt.training.rank TASK PID`, without one as forks of a process that has imported what they need. Ranks of a torchrun
that the user started come from `pdapt train`, which calls `run_rank_alone`.
"""

import os
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from ..core import log
from ..core.system.disk import disk_errors
from ..core.system.garbage import importing
from ..core.system.process import die_with_parent
from ..recipes.schema import Engine
from .preflight.start_check import ARRIVAL, check_start
from .rank_task import RankTask
from .run.failures.cause import publish
from .run.failures.rank_file import FOLDER, RankFile
from .run.listeners.stops import Stops, ignore_signals
from .run.output import LOGS, kept_apart
from .run.torchrun_store import torchrun_store

ENGINES = {Engine.MEGATRON: ".megatron.engine", Engine.NEMO: ".nemo.bridge"}
"""Engine -> the module whose `train_rank` trains with it. Imported when it is chosen: each imports its trainer."""


def engine_of(task: RankTask) -> Any:
    """Import the module that trains with the recipe's engine: its `load` imports the trainer, `train_rank` runs it."""
    return import_module(ENGINES[Engine(task.recipe.engine)], __package__)


def run_rank(task: RankTask) -> None:
    """Run one rank: train until the recipe's last step, or until the run has to stop."""
    stops = Stops(task.deadline)  # first: a signal that comes while Megatron is imported counts, too
    try:
        with RankFile(task.out / FOLDER, int(os.environ["RANK"])) as file:
            with importing():
                import_module("torch")
            store = torchrun_store("preflight", timeout=ARRIVAL)  # a store that rank 0 keeps ends with this object
            check_start(task, store)
            engine_of(task).train_rank(task, stops, file)
            del store
    finally:
        ignore_signals()  # Python drops its handlers as it ends: a repeated signal would kill a rank that has saved


def run_rank_alone(task: RankTask) -> None:
    """Run a rank that pdapt did not start: if it ends because another rank is lost, it reports the first cause."""
    out, rank = task.out, int(os.environ["RANK"])
    if rank == 0:
        log.info(f"train: the output of torch and Megatron goes to {out / LOGS}")
    try:
        with disk_errors(out), kept_apart(out / LOGS / f"rank-{rank}.log"):
            run_rank(task)
    except Exception:
        publish(out / FOLDER, rank)
        raise


def run_launched_rank(task: RankTask, launcher: int) -> None:
    """Run a rank that the process of this number has started."""
    die_with_parent(launcher)
    run_rank(task)


if __name__ == "__main__":
    run_launched_rank(RankTask.read(Path(sys.argv[1])), int(sys.argv[2]))
