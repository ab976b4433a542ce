"""The results of `pdapt bench train`, and their lines for people."""

import statistics
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class Way:
    """Speed and first loss of one way to train.

    Attributes:
        way: name of the way.
        seconds: median time of a step.
        tokens: mean number of labels that count in a step.
        tokens_per_second: those labels per second.
        first_loss: loss of the first step, nats per token.
    """

    way: str
    seconds: float
    tokens: float
    tokens_per_second: float
    first_loss: float | None


@dataclass(frozen=True)
class Throughput:
    """Speeds: each way, and pdapt's tokens per second relative to each other way's."""

    ways: list[Way]
    speedup: dict[str, float]


@dataclass(frozen=True)
class Overhead:
    """Extra time of a step of pdapt over one of Megatron's trainer alone.

    Attributes:
        seconds: trainer -> median time of a step in each turn.
        percents: extra time in each turn, in percent.
        percent: the median of these.
    """

    seconds: dict[str, list[float]]
    percents: list[float]
    percent: float


@dataclass(frozen=True)
class OwnTime:
    """pdapt's own time in a step: its hooks, events, listeners and sums, without the wait for data.

    Attributes:
        shares: share of the steps' time, by rank.
        milliseconds: mean time per step, by rank, including waiting for other ranks in a sum.
        step: median seconds of a step without listeners.
        pairs: number of pairs of a block of steps with listeners and one without.
        difference: seconds by which a step is longer with listeners, the median over the pairs.
        low, high: the 95 % bootstrap interval of that.
    """

    shares: list[float]
    milliseconds: list[float]
    step: float
    pairs: int
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Saves:
    """Seconds for which saves stalled training: for each checkpoint, and the median."""

    stalls: list[float]
    seconds: float


@dataclass(frozen=True)
class Results:
    """The parts that were measured; the others are None.

    Attributes:
        throughput, overhead, own_time: see their classes.
        saves: synchronous, asynchronous -> the saves.
        others: share of the cores' time that other processes took.
    """

    throughput: Throughput | None = None
    overhead: Overhead | None = None
    own_time: OwnTime | None = None
    saves: dict[str, Saves] | None = None
    others: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON values, without the parts that were not measured."""
        return {name: value for name, value in asdict(self).items() if value is not None}


def table(results: Results) -> Iterator[str]:
    """Format what `run` returns for people."""
    if results.throughput is not None:
        for way in results.throughput.ways:
            speedup = results.throughput.speedup.get(way.way)
            times = f", pdapt {speedup:.2f} x as fast" if speedup else ""
            yield (
                f"{way.way}: {way.seconds:.3f} s per step, {way.tokens_per_second:,.0f} real tokens/s{times}; loss of "
                f"the first step {way.first_loss:.4f}"
            )
    if results.overhead is not None:
        for way, seconds in results.overhead.seconds.items():
            yield f"{way}: {statistics.median(seconds):.3f} s per step"
        turns = ", ".join(f"{percent:+.1f}" for percent in results.overhead.percents)
        yield f"overhead of pdapt: {results.overhead.percent:+.1f} % (turns: {turns})"
    if results.own_time is not None:
        yield from _own_time(results.own_time)
    for name, save in (results.saves or {}).items():
        each = ", ".join(f"{stall:.2f}" for stall in save.stalls)
        yield f"{name} save: stalls training for {save.seconds:.2f} s (saves: {each})"
    yield f"other processes took {results.others:.0%} of the cores' time"


GPU_STEP = 2.3
"""Predicted seconds of a step of the 8B on 48 H100, with which a fixed cost per step is compared."""


def _own_time(own: OwnTime) -> Iterator[str]:
    """Format pdapt's own time for people."""
    each = ", ".join(f"rank {rank} {share:.2%}" for rank, share in enumerate(own.shares))
    most = max(own.milliseconds)
    of_gpu = most / 1000 / GPU_STEP
    yield f"own time of pdapt: at most {most:.2f} ms per step ({each}); {of_gpu:.2%} of a step of {GPU_STEP} s"
    values = (own.difference, own.low, own.high)
    middle, low, high = (f"{1000 * value:+.1f} ms ({value / own.step:+.1%})" for value in values)
    yield (
        f"a step takes {own.step:.3f} s without listeners; with them {middle}, 95 % interval {low} to {high}; "
        f"{own.pairs} pairs of blocks"
    )
