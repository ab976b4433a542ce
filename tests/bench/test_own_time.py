"""pdapt's own time in a step: nested calls count once, Megatron's work does not; the figures are those of blocks."""

import time
from itertools import count

import numpy as np
import pytest

from pdapt.bench.own_time import BLOCK, Clock, summarize
from pdapt.bench.train_results import Results, table


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A clock of sixty steps, under which each look at the time comes one nanosecond after the last one."""
    ticks = count()
    monkeypatch.setattr(time, "perf_counter_ns", lambda: next(ticks))
    return Clock(60)


def test_what_is_nested_counts_once_and_megatrons_work_within_not_at_all(clock: Clock) -> None:
    clock.begin_step(1)
    inner = clock.timed(lambda: None)
    clock.timed(inner)()
    assert clock.own == [3], "from each look at the time to the next, four looks"
    work = clock.timed(lambda: [time.perf_counter_ns() for _ in range(1000)], own=False)
    clock.timed(work)()
    assert clock.own == [5], "a tick before the work and one after"
    work()
    assert clock.own == [5]


def test_every_second_block_has_no_listeners_but_not_the_last_step(clock: Clock) -> None:
    listening, calls = [], []
    note = clock.while_listening(calls.append)
    for step in range(1, 61):
        clock.begin_step(step)
        listening.append(clock.listening)
        note(step)
    assert listening == [True] * 10 + [False] * 10 + [True] * 10 + [False] * 10 + [True] * 10 + [False] * 9 + [True]
    assert calls == [step for step, heard in enumerate(listening, 1) if heard]


def test_the_figures_are_those_of_the_blocks_that_count() -> None:
    random = np.random.default_rng(0)
    listening = np.tile(np.repeat([1, 0], BLOCK), 15)
    nanoseconds = 100_000_000 + 2_000_000 * listening + random.integers(-100_000, 100_000, len(listening))
    nanoseconds[: 2 * BLOCK] *= 7  # the first pair does not count
    begins = np.concatenate([[0], np.cumsum(nanoseconds)]).tolist()
    own = (1_500_000 * listening).tolist()
    found = summarize([{"begins": begins, "own": own}, {"begins": begins, "own": [2 * each for each in own]}])
    assert found.milliseconds == pytest.approx([1.5, 3.0])
    assert found.shares == pytest.approx([1.5 / 102, 3 / 102], rel=1e-3)
    assert found.pairs == 14
    assert found.step == pytest.approx(0.1, rel=1e-3)
    assert found.low < 0.002 < found.high
    assert found.high - found.low < 1e-4
    (first, second, _) = table(Results(own_time=found))
    assert first == "own time of pdapt: at most 3.00 ms per step (rank 0 1.47%, rank 1 2.94%); 0.13% of a step of 2.3 s"
    assert second.startswith("a step takes 0.100 s without listeners; with them +2.0 ms (+2.0%), 95 % interval +")
