"""Writes a row of the journal for each event, and passes rows with numbers on to the trackers."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ....core.flops import flops_per_step, mfu
from ....recipes.schema import Recipe, masked, shape_of
from ..events import Listener, Save, StepResult, ValidationResult, Verdict
from ..journal import Event, Goodput, Journal, Row
from ..sums import DataSets
from .straggler import slowest_rank


class RowReader(Protocol):
    """Takes the numbers of a row, as `Trackers` does."""

    def log(self, row: Row, step: int, kind: str) -> None:
        """Take a row; `kind` is train or valid."""


@dataclass(frozen=True)
class StepWork:
    """Slots and operations of a step.

    Attributes:
        recipe: the recipe.
        ranks: number of ranks.
        gpu: whether the ranks run on GPUs, whose peak is known.
    """

    recipe: Recipe
    ranks: int
    gpu: bool

    @property
    def slots(self) -> int:
        """Tokens of a global batch, padding included."""
        return self.recipe.batch.global_size * self.recipe.data.seq_length

    def speeds(self, result: StepResult) -> dict[str, Any]:
        """Compute a step's speeds, by their names in the journal's row."""
        squares = result.data.squares if masked(self.recipe.data) else float(self.slots * self.recipe.data.seq_length)
        flops = flops_per_step(shape_of(self.recipe), self.slots, squares)
        return {
            "tokens_per_second": result.data.tokens / result.seconds,
            "slots_per_second": self.slots / result.seconds,
            "tflops_per_rank": flops / result.seconds / self.ranks / 1e12,
            "mfu": mfu(flops, result.seconds, self.ranks) if self.gpu else None,
        }


class JournalRows(Listener):
    """Writes the journal, on the one rank that has the losses."""

    def __init__(
        self,
        journal: Journal,
        goodput: Goodput,
        work: StepWork,
        data_sets: DataSets,
        readers: Sequence[RowReader] = (),
    ) -> None:
        """Prepare.

        Args:
            journal: the journal to write.
            goodput: the run's goodput until this start.
            work: the work of a step.
            data_sets: names of the data sets.
            readers: also receive the rows of steps and validations.
        """
        self.journal, self.goodput, self.work, self.data_sets, self.readers = journal, goodput, work, data_sets, readers

    def gradient_judged(self, step: int, verdict: Verdict) -> None:
        """Write what the guard does, and print it."""
        self.journal.write(Event.GUARD, step=step, action=verdict.action, reason=verdict.reason)
        print(f"guard: step {step}: {verdict.reason}: {verdict.action}", flush=True)

    def step_ended(self, result: StepResult) -> None:
        """Write the step's row, with the goodput at its end."""
        rank, ratio = slowest_rank(result.compute_seconds)
        row = {
            "step": result.step, "loss": result.loss, "grad_norm": result.grad_norm,
            "learning_rate": result.learning_rate, "skipped": result.skipped, "seconds": result.seconds,
            "data_wait": max(result.data_waits), "tokens": result.data.tokens, "slots": self.work.slots,
            **self.work.speeds(result), "joules": result.joules,
            "sources": result.data.by_data_set(self.data_sets.training), "slowest_rank": rank, "slowest_ratio": ratio,
        }  # fmt: skip
        now = time.time()
        row["goodput"] = self.goodput.add(row | {"time": now})
        if self.goodput.unknown:
            row["goodput_unknown"] = self.goodput.unknown_share(now)
        self._write(Event.STEP, row, "train")

    def validated(self, result: ValidationResult) -> None:
        """Write the validation's row, unless no token counted."""
        if not result.data.tokens:
            return
        row = {"step": result.step, "loss": result.data.mean_loss, "seconds": result.seconds}
        self._write(Event.VALIDATION, row | {"sources": result.data.by_data_set(self.data_sets.validation)}, "valid")

    def _write(self, event: Event, row: Row, kind: str) -> None:
        self.journal.write(event, **row)
        for reader in self.readers:
            reader.log(row, row["step"], kind)

    def saved(self, save: Save) -> None:
        """Write how long a save stalled training, and when the checkpoint was complete."""
        times = {"stall_seconds": save.stall_seconds, "seconds": save.seconds}
        self.journal.write(Event.SAVE, step=save.step, asynchronous=save.asynchronous, **times)
