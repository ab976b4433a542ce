"""Measures each step on this rank, and adds the measurements of all ranks up, as one vector per step."""

import math
import time
from typing import Any

import torch

from ..run.energy import joules
from ..run.events import StepResult, ValidationResult
from ..run.sums import DataSets, StepSums, over_ranks
from .recorder import Recorder


class Measuring:
    """Clocks and sums of one rank.

    Attributes:
        learning_rate: learning rate of the present step.
        has_loss: whether Megatron gives this rank the loss: it is the last rank, in the last pipeline stage.
    """

    def __init__(self, rank: int, ranks: int, data_sets: DataSets) -> None:
        """Prepare for a rank, the number of ranks, and the data sets that they read."""
        self.rank, self.ranks = rank, ranks
        self.has_loss = rank == ranks - 1
        self.training, self.validation = Recorder(len(data_sets.training)), Recorder(len(data_sets.validation))
        self.learning_rate = 0.0
        self._began = time.perf_counter()
        self._compute_begins, self._compute_ends = _clocks()
        self._joules = joules()

    def recorder(self, *, training: bool) -> Recorder:
        """Return the recorder of training, or of validation."""
        return self.training if training else self.validation

    def step_begins(self, learning_rate: float) -> None:
        """Start the step's clocks."""
        self.learning_rate = learning_rate
        self._compute_begins, self._compute_ends = _clocks()
        self._began = time.perf_counter()
        self._compute_begins.record()

    def compute_ends(self) -> None:
        """Note that forward and backward are done; the exchange of gradients follows."""
        self._compute_ends.record()

    def mean_loss(self) -> float:
        """Add up the loss of the global batch before its update, on every rank."""
        total = self.training.sums.loss_and_count()
        torch.distributed.all_reduce(total)
        return float(total[0] / total[1])

    def step_ends(
        self, step: int, loss: Any, *, grad_norm: float | None, skipped: bool, stop_flags: list[float]
    ) -> StepResult:
        """Stop the clocks, and add up over all ranks.

        Args:
            step: number of the step.
            loss: mean loss of the global batch, one element, on the rank that `has_loss`.
            grad_norm: norm of the gradient; None if Megatron has none.
            skipped: whether the update was skipped, so that no weight changed.
            stop_flags: this rank's flags.
        """
        seconds = time.perf_counter() - self._began
        data, waited = self.training.take()
        computed = self._compute_begins.elapsed_time(self._compute_ends) / 1000
        share = StepSums(
            data=data,
            loss=float(loss) if self.has_loss else 0.0,
            joules=self._joules_since(),
            stop_flags=stop_flags,
            data_waits=self._at_its_place(waited),
            compute_seconds=self._at_its_place(computed),
        )
        sums = over_ranks(share, add_up)
        return StepResult(
            step=step,
            loss=sums.loss,
            grad_norm=math.nan if grad_norm is None else float(grad_norm),
            learning_rate=self.learning_rate,
            skipped=skipped,
            seconds=seconds,
            data=sums.data,
            joules=sums.joules,
            stop_flags=sums.stop_flags,
            data_waits=sums.data_waits,
            compute_seconds=sums.compute_seconds,
        )

    def validation_ends(self, step: int, begin: float) -> ValidationResult:
        """Add up a validation over all ranks; it began at `begin` of `time.perf_counter`."""
        share, _ = self.validation.take()
        data = over_ranks(share, add_up)
        return ValidationResult(step, time.perf_counter() - begin, data)

    def _joules_since(self) -> float:
        """Energy used since the last call; NaN if unknown."""
        before, self._joules = self._joules, joules()
        return math.nan if before is None or self._joules is None else self._joules - before

    def _at_its_place(self, value: float) -> list[float]:
        """A list with this rank's value at its place, and zeros for all other ranks."""
        return [value if rank == self.rank else 0.0 for rank in range(self.ranks)]


def add_up(numbers: list[float]) -> list[float]:
    """Sum a vector over all ranks, element by element."""
    vector = torch.tensor(numbers, dtype=torch.float64).to(torch.cuda.current_device())
    torch.distributed.all_reduce(vector)
    return vector.tolist()


def _clocks() -> tuple[Any, Any]:
    """Two events on the GPU's own clock."""
    return torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
