"""The results of `pdapt bench train`, and their lines for people."""

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Way:
    """Speed and first loss of one way to train.

    Attributes:
        way: its name.
        seconds: of a step, the median.
        tokens: labels that count in a step, the mean.
        tokens_per_second: of those.
        first_loss: of the first step, nats a token.
    """

    way: str
    seconds: float
    tokens: float
    tokens_per_second: float
    first_loss: float | None


@dataclass(frozen=True)
class Throughput:
    """Speeds: each way, and pdapt's tokens a second over each other's."""

    ways: list[Way]
    speedup: dict[str, float]


@dataclass(frozen=True)
class Overhead:
    """Extra time of a step of pdapt over one of Megatron's trainer alone.

    Attributes:
        seconds: side -> of a step, the median of each turn.
        percents: of each turn.
        percent: their median.
    """

    seconds: dict[str, list[float]]
    percents: list[float]
    percent: float


@dataclass(frozen=True)
class Saves:
    """Seconds that training stood still: for each checkpoint, and the median."""

    stalls: list[float]
    seconds: float


@dataclass(frozen=True)
class Results:
    """The parts that were measured; the others are None.

    Attributes:
        throughput, overhead: see there.
        saves: synchronous, asynchronous -> its saves.
        others: share of the cores' time that other processes took.
    """

    throughput: Throughput | None = None
    overhead: Overhead | None = None
    saves: dict[str, Saves] | None = None
    others: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON values, without the parts that were not measured."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def table(results: Results) -> Iterator[str]:
    """Lines for people, of what `run` returns."""
    if results.throughput is not None:
        for way in results.throughput.ways:
            speedup = results.throughput.speedup.get(way.way)
            times = f", pdapt {speedup:.2f} x as fast" if speedup else ""
            yield (
                f"{way.way}: {way.seconds:.3f} s a step, {way.tokens_per_second:,.0f} tokens that count a "
                f"second{times}; loss of the first step {way.first_loss:.4f}"
            )
    if results.overhead is not None:
        for way, seconds in results.overhead.seconds.items():
            yield f"{way}: {statistics.median(seconds):.3f} s a step"
        turns = ", ".join(f"{percent:+.1f}" for percent in results.overhead.percents)
        yield f"overhead of pdapt: {results.overhead.percent:+.1f} % (turns: {turns})"
    for name, save in (results.saves or {}).items():
        each = ", ".join(f"{stall:.2f}" for stall in save.stalls)
        yield f"{name} save: training stands still for {save.seconds:.2f} s (saves: {each})"
    yield f"other processes took {results.others:.0%} of the cores' time"
