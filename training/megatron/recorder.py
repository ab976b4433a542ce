"""What the micro-batches of a step add up to: loss by data set, attention's work, and the wait for data."""

import time
from collections.abc import Iterator
from typing import Any

import torch


class Recorder:
    """Adds up over the micro-batches of a step, or of a validation. Sums stay on the device until they are taken."""

    def __init__(self, datasets: int) -> None:
        """Prepare for so many data sets."""
        self.datasets = datasets
        self.waited = 0.0
        self.sums: torch.Tensor | None = None

    def next(self, samples: Iterator[Any]) -> dict[str, Any]:
        """The next sample, with the time it took counted."""
        begin = time.perf_counter()
        sample = next(samples)
        self.waited += time.perf_counter() - begin
        return sample

    def add(
        self, losses: torch.Tensor, mask: torch.Tensor, datasets: torch.Tensor, cu_seqlens: torch.Tensor | None
    ) -> None:
        """Count a micro-batch.

        Args:
            losses: cross-entropy of each slot, nats, any shape of `samples * sequence` elements, samples one by one.
            mask: as `losses`: 1 where a slot counts.
            datasets: number of each sample's data set, [samples].
            cu_seqlens: borders of the pieces that attention stops at, [1, pieces + 1]; None where it stops at none.
        """
        samples = len(datasets)
        counts = mask.reshape(samples, -1)
        each = torch.stack([(losses.reshape(samples, -1).float() * counts).sum(1), counts.sum(1)], dim=1).double()
        sums = self.peek()
        sums[:-1].view(self.datasets, 2).index_add_(0, datasets.long(), each)
        if cu_seqlens is not None:
            sums[-1] += cu_seqlens.diff().double().square().sum()

    def peek(self) -> torch.Tensor:
        """The sums so far.

        Returns:
            [2 * data sets + 1]: loss and count of each data set, then the sum of the pieces' squared lengths; zeros on
            ranks that count nothing.
        """
        if self.sums is None:
            self.sums = torch.zeros(2 * self.datasets + 1, dtype=torch.float64, device=torch.cuda.current_device())
        return self.sums

    def take(self) -> tuple[torch.Tensor, float]:
        """The sums, as `peek` gives them, and the seconds waited for data; counting starts anew."""
        sums, waited = self.peek(), self.waited
        self.sums, self.waited = None, 0.0
        return sums, waited


def by_name(sums: list[float], names: list[str]) -> dict[str, dict[str, float | int]]:
    """Mean loss and number of tokens of each data set that had any.

    Args:
        sums: loss and count of each, one after the other.
        names: theirs.
    """
    pairs = zip(sums[0::2], sums[1::2], names, strict=True)
    return {name: {"loss": total / count, "tokens": int(count)} for total, count, name in pairs if count}
