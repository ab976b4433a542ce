"""Sums over the micro-batches of a step: loss by data set, attention's work, and the wait for data."""

import time
from collections.abc import Iterator
from typing import Any

import torch

from ..run.sums import DataSums


class DeviceSums:
    """Sums on the device, as views of one vector, so that one transfer reads them all.

    Attributes:
        vector: float64 [2 * data sets + 1].
        by_data_set: [2, data sets]: losses in nats, and counts of tokens.
        squares: [1]: sum of the squared lengths of the pieces within which attention stays.
    """

    def __init__(self, data_sets: int) -> None:
        self.vector = torch.zeros(2 * data_sets + 1, dtype=torch.float64, device=torch.cuda.current_device())
        self.by_data_set = self.vector[:-1].view(2, data_sets)
        self.squares = self.vector[-1:]

    def loss_and_count(self) -> torch.Tensor:
        """Add up over the data sets: loss and count, float64 [2]."""
        return self.by_data_set.sum(1)

    def read(self) -> DataSums:
        """Read the sums from the device."""
        *numbers, squares = self.vector.tolist()
        half = len(numbers) // 2
        return DataSums(losses=numbers[:half], counts=numbers[half:], squares=squares)


class Recorder:
    """Adds up over the micro-batches of a step or validation. The sums stay on the device until `take` is called."""

    def __init__(self, data_sets: int) -> None:
        """Prepare for a number of data sets."""
        self.data_sets = data_sets
        self.waited = 0.0
        self._sums: DeviceSums | None = None

    @property
    def sums(self) -> DeviceSums:
        """The sums so far; zeros on ranks that count nothing."""
        if self._sums is None:  # not earlier: Megatron chooses the rank's device
            self._sums = DeviceSums(self.data_sets)
        return self._sums

    def next(self, samples: Iterator[Any]) -> dict[str, Any]:
        """Take the next sample, and count the time that this took."""
        begin = time.perf_counter()
        sample = next(samples)
        self.waited += time.perf_counter() - begin
        return sample

    def add(
        self, losses: torch.Tensor, mask: torch.Tensor, data_sets: torch.Tensor, cu_seqlens: torch.Tensor | None
    ) -> None:
        """Count a micro-batch.

        Args:
            losses: cross-entropy of each slot in nats, any shape of `samples * sequence` elements, sample after sample.
            mask: same shape as `losses`: 1 where a slot counts.
            data_sets: number of each sample's data set, [samples].
            cu_seqlens: borders that attention does not cross, [1, pieces + 1]; None if there are none.
        """
        samples = len(data_sets)
        counts = mask.reshape(samples, -1)
        each = torch.stack([(losses.reshape(samples, -1).float() * counts).sum(1), counts.sum(1)]).double()
        self.sums.by_data_set.index_add_(1, data_sets.long(), each)
        if cu_seqlens is not None:
            self.sums.squares += cu_seqlens.diff().double().square().sum()

    def take(self) -> tuple[DataSums, float]:
        """Return the sums and the seconds waited for data, and start counting again."""
        sums, waited = self.sums.read(), self.waited
        self._sums, self.waited = None, 0.0
        return sums, waited
