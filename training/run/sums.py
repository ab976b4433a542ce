"""Sums over a step's micro-batches and over all ranks: by name, and as the vector that the ranks add up."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class DataSets:
    """Names of the data sets, in the order of their numbers."""

    training: list[str]
    validation: list[str]


@dataclass(frozen=True)
class DataSums:
    """Sums over the tokens of a step, or of a validation.

    Attributes:
        losses: cross-entropy of the tokens that count, in nats, one sum per data set.
        counts: number of tokens that count, one per data set.
        squares: sum of the squared lengths of the pieces within which attention stays; 0 without such pieces.
    """

    losses: list[float]
    counts: list[float]
    squares: float

    @property
    def tokens(self) -> int:
        """Tokens that count, in all data sets."""
        return int(sum(self.counts))

    @property
    def mean_loss(self) -> float:
        """Mean over the tokens that count, in nats."""
        return sum(self.losses) / sum(self.counts)

    def by_data_set(self, names: list[str]) -> dict[str, dict[str, float | int]]:
        """Mean loss and number of tokens of each data set that had any."""
        sums = zip(names, self.losses, self.counts, strict=True)
        return {name: {"loss": loss / count, "tokens": int(count)} for name, loss, count in sums if count}


@dataclass(frozen=True)
class StepSums:
    """A rank's share of a step; the sum over all ranks is the whole step.

    Attributes:
        data: sums by data set.
        loss: mean loss of the global batch; 0 on every rank but the one that has it.
        joules: energy that the rank's GPU has used since the step before; NaN if unknown.
        stop_flags: from `Stops.flags`.
        data_waits: seconds waited for data, one element per rank; all but this rank's are 0.
        compute_seconds: seconds of forward and backward, one element per rank; all but this rank's are 0.
    """

    data: DataSums
    loss: float
    joules: float
    stop_flags: list[float]
    data_waits: list[float]
    compute_seconds: list[float]


def over_ranks[Sums](share: Sums, add_up: Callable[[list[float]], list[float]]) -> Sums:
    """Add up each number of a dataclass over all ranks, in one exchange.

    Args:
        share: this rank's numbers; a list in it has the same length on every rank.
        add_up: sums a vector over the ranks, element by element.
    """
    return _rebuilt(share, iter(add_up(list(_numbers(share)))))


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, list):
        yield from value
    else:
        for field in fields(value):
            yield from _numbers(getattr(value, field.name))


def _rebuilt(like: Any, numbers: Iterator[float]) -> Any:
    if isinstance(like, float):
        return next(numbers)
    if isinstance(like, list):
        return [next(numbers) for _ in like]
    return type(like)(*(_rebuilt(getattr(like, field.name), numbers) for field in fields(like)))
