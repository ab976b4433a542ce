"""The one way in for a rank, whoever has started its torchrun.

Ranks of this machine come in as `python -m pdapt.training.rank TASK PID`, started by `run/spawn.py`; ranks of somebody
else's torchrun by `pdapt train`, which calls `run_rank_alone`.
"""

import os
import sys
from importlib import import_module
from pathlib import Path

from ..core import log
from ..core.files import read_json
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


def run_rank(task: RankTask) -> None:
    """Be one rank of a run: train until the recipe's last step, or until it has to stop."""
    stops = Stops(task.deadline)  # first: a signal that comes while Megatron is imported counts, too
    try:
        with RankFile(task.out / FOLDER, int(os.environ["RANK"])) as file:
            with importing():
                import_module("torch")
            store = torchrun_store("preflight", timeout=ARRIVAL)  # kept: a store of rank 0's would end with it
            check_start(task, store)
            engine = import_module(ENGINES[Engine(task.recipe.engine)], __package__)
            engine.train_rank(task, stops, file)
            del store
    finally:
        ignore_signals()  # Python gives up its handlers as it ends: a repeated one would kill a rank that has saved


def run_rank_alone(task: RankTask) -> None:
    """Be a rank that nobody of ours looks after: where it ends because it has lost another one, it says why."""
    out, rank = task.out, int(os.environ["RANK"])
    if rank == 0:
        log.info(f"train: the output of torch and Megatron goes to {out / LOGS}")
    try:
        with kept_apart(out / LOGS / f"rank-{rank}.log"):
            run_rank(task)
    except Exception:
        publish(out / FOLDER, rank)
        raise


def main() -> None:
    """Run a rank of a launcher: `TASK PID`, the task's file and the launcher's process number."""
    die_with_parent(int(sys.argv[2]))
    run_rank(RankTask.from_json(read_json(Path(sys.argv[1]))))


if __name__ == "__main__":
    main()
