"""The listeners of a rank, from the moment at which its training loop begins."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....recipes.schema import Recipe
from ..events import Listener
from ..folder import skipped
from ..journal import JOURNAL_FILE, Event, Goodput, Journal, read_history
from ..sums import DataSets
from .end_state import EndState
from .guard import GradientGuard
from .journal_rows import JournalRows, StepWork
from .saves import Hashing
from .stops import Stops
from .straggler import Straggler
from .trackers import Trackers


@dataclass(frozen=True)
class Beginning:
    """A rank's training loop, as it begins.

    Attributes:
        recipe: the recipe.
        out: run folder.
        begun: Unix time of this start.
        step: step that the run continues after; 0 at its beginning.
        rank: this rank's number.
        ranks: number of ranks.
        gpu: whether the ranks run on GPUs.
        data_sets: names of the data sets.
        tensorboard: writes scalars, like torch's `SummaryWriter`; on the last rank.
    """

    recipe: Recipe
    out: Path
    begun: float
    step: int
    rank: int
    ranks: int
    gpu: bool
    data_sets: DataSets
    tensorboard: Any

    @property
    def writes(self) -> bool:
        """Whether this rank writes for all: the last one, which has the losses."""
        return self.rank == self.ranks - 1


def listeners_of_rank(beginning: Beginning, stops: Stops) -> list[Listener]:
    """Make the listeners: the guard on every rank, and those that write on the one rank that writes for all."""
    recipe, out, step = beginning.recipe, beginning.out, beginning.step
    # Every rank reads it: all have to decide alike, and as if the run had not been interrupted.
    history = read_history(out / JOURNAL_FILE)  # the process that started the run has said what of it is lost
    guard = GradientGuard.resumed(recipe.guard, history.rows, step, rewinds=len(skipped(out)))
    if not beginning.writes:
        return [guard]
    goodput = Goodput(history, step, beginning.begun)
    journal = Journal(out / JOURNAL_FILE)
    journal.write(Event.START, time=beginning.begun, step=step, ranks=beginning.ranks, host=os.uname().nodename)
    trackers = Trackers(recipe, out, beginning.tensorboard)
    work = StepWork(recipe, beginning.ranks, beginning.gpu)
    return [
        guard,
        Straggler(recipe.guard.straggler, journal.write),
        JournalRows(journal, goodput, work, beginning.data_sets, readers=[trackers]),
        Hashing(out, recipe),
        EndState(out, journal, stops, step),
        trackers,
    ]
