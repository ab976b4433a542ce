"""Data, events and clocks around one rank's training loop, for either of Megatron's trainers."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from ..rank_task import RankTask
from ..run.events import Events, Listener
from ..run.failures.rank_file import RankFile
from ..run.folder import checkpoints, iteration
from ..run.listeners.of_rank import Beginning, listeners_of_rank
from ..run.listeners.stops import Stops
from ..run.listeners.watch import Watch
from ..run.run_state import report_hang
from .datasets import Provider
from .measuring import Measuring


class RankLoop:
    """A rank's data, events and clocks.

    Attributes:
        provider: makes the data sets.
        events: the events that the trainer's adapter raises.
        measuring: measures each step.
        watches_loss: whether the guard needs each loss before its update.
    """

    def __init__(self, task: RankTask, stops: Stops, file: RankFile, *, ranks: int, gpu: bool) -> None:
        """Prepare; arguments as in `engine.train_rank`, the number of ranks, and whether they run on GPUs."""
        self._task, self._stops, self._rank, self._ranks, self._gpu = task, stops, file.rank, ranks, gpu
        self.provider = Provider(task, saves(task))
        self._watch = Watch(file, ranks, task.recipe.guard.hang, partial(report_hang, task.out))
        self.events = Events([self._watch, stops, self.provider])
        self.measuring = Measuring(file.rank, ranks, self.provider.names)
        self.watches_loss = bool(task.recipe.guard.spike)

    def listeners(self, step: int, tensorboard: Any) -> list[Listener]:
        """Make the listeners of the whole loop; arguments as in `Beginning`."""
        beginning = Beginning(
            recipe=self._task.recipe,
            out=self._task.out,
            begun=self._task.begun,
            step=step,
            rank=self._rank,
            ranks=self._ranks,
            gpu=self._gpu,
            data_sets=self.provider.names,
            tensorboard=tensorboard,
        )
        return listeners_of_rank(beginning, self._stops)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Watch the rank, and report how its loop ended."""
        with self.events:
            self._watch.start()
            yield


def saves(task: RankTask) -> list[int]:
    """The steps after which a checkpoint may be saved, or has been."""
    last = task.recipe.steps
    intervals = [task.recipe.checkpoint.every, task.stop_at or last]  # Megatron stops at any multiple of `stop_at`
    there = [iteration(path) for path in checkpoints(task.out)]
    return sorted({last, *there, *(step for interval in intervals for step in range(interval, last, interval))})
