"""pdapt's own time in a step of training, measured within one process: `python -m pdapt.bench.own_time JOB`.

Started by torchrun, it is a rank of `pdapt train` whose hooks, events, listeners and sums are timed, without the wait
for data and Megatron's own work. In every second block of steps the listeners receive no events and nothing is summed
over the ranks, so that steps with and without them are compared under the same load. See `bench/train.py`.
"""

import functools
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import bootstrap

from ..core.files import write_json
from ..core.system.process import die_with_parent
from .side_job import SideJob
from .train_results import OwnTime

BLOCK = 10
"""Number of steps in a block: blocks with listeners and without alternate."""
PAIRS_LEFT_OUT = 1
"""Pairs of blocks at the beginning that are not counted: the first steps are slower."""
SEED = 0


class Clock:
    """pdapt's own time in nanoseconds, by step."""

    def __init__(self, steps: int) -> None:
        """Prepare for a training of so many steps."""
        self.steps = steps
        self.listening = True
        self.begins: list[int] = []
        self.own: list[int] = []
        self._since: int | None = None

    def begin_step(self, step: int) -> None:
        """Note that a step begins; the first is 1. The last step is always with listeners, for its save."""
        self.listening = (step - 1) // BLOCK % 2 == 0 or step == self.steps
        self.begins.append(time.perf_counter_ns())
        self.own.append(0)

    @contextmanager
    def _running(self, *, own: bool) -> Iterator[None]:
        """Count, or stop counting, while something runs."""
        before = self._since is not None
        self._switch(own)
        try:
            yield
        finally:
            self._switch(before)

    def _switch(self, running: bool) -> None:
        now = time.perf_counter_ns()
        if self._since is not None and self.own:
            self.own[-1] += now - self._since
        self._since = now if running else None

    def timed(self, call: Callable[..., Any], *, own: bool = True) -> Callable[..., Any]:
        """Count a function's time as pdapt's own, or as not its own, however calls are nested."""

        @functools.wraps(call)
        def counted(*args: Any, **kwargs: Any) -> Any:
            with self._running(own=own):
                return call(*args, **kwargs)

        return counted

    def while_listening(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Leave out a function that returns nothing in the blocks without listeners."""

        @functools.wraps(call)
        def left_out(*args: Any, **kwargs: Any) -> Any:
            return call(*args, **kwargs) if self.listening else None

        return left_out


def install(clock: Clock) -> None:
    """Let the clock run in the trainer's hooks, in events and in sums. To be called after Megatron is imported."""
    from ..training.megatron import hooks, rank_loop
    from ..training.megatron.hooks import Call
    from ..training.megatron.measuring import Measuring
    from ..training.run.events import Events, Listener, StepResult

    class ToldByBlocks(Events):
        """Events that do not reach the listeners in every second block."""

        def step_begins(self, step: int) -> None:
            clock.begin_step(step)
            self._all = getattr(self, "_all", self.listeners)
            self.listeners = self._all if clock.listening else []
            super().step_begins(step)

    class SummedByBlocks(Measuring):
        """Sums that are left out in every second block."""

        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            for recorder in (self.training, self.validation):
                recorder.add = clock.timed(clock.while_listening(recorder.add))  # type: ignore[method-assign]

        def mean_loss(self) -> float:
            return super().mean_loss() if clock.listening else 0.0

        def step_ends(self, step: int, *args: Any, **kwargs: Any) -> StepResult:
            if clock.listening:
                return super().step_ends(step, *args, **kwargs)
            data, _ = self.training.take()
            return StepResult(
                step=step,
                loss=0.0,
                grad_norm=0.0,
                learning_rate=self.learning_rate,
                skipped=False,
                seconds=0.0,
                data=data,
                joules=0.0,
                stop_flags=[],
                data_waits=[],
                compute_seconds=[],
            )

    events = [name for name in vars(Listener) if not name.startswith("_")]
    sums = ["step_begins", "compute_ends", "mean_loss", "step_ends"]
    for kind, names in ((ToldByBlocks, events), (SummedByBlocks, sums)):
        for name in names:
            setattr(kind, name, clock.timed(getattr(kind, name)))
    original = hooks.hooked
    changed: Any = hooks
    changed.hooked = lambda *args, **kwargs: clock.timed(original(*args, **kwargs))
    Call.proceed = clock.timed(Call.proceed, own=False)  # type: ignore[method-assign]
    replaced: Any = rank_loop
    replaced.Events, replaced.Measuring = ToldByBlocks, SummedByBlocks


def times_of(folder: Path, rank: int) -> Path:
    """The file of a rank's times."""
    return folder / f"own-time-{rank}.json"


def measure(job: SideJob) -> None:
    """Run a rank that trains into the job's `out`, and write its times beside it."""
    from ..training.megatron import engine
    from ..training.train import train

    clock = Clock(job.recipe.steps)
    engine.load(job.recipe)
    install(clock)
    train(job.recipe, job.tokens, job.out)
    write_json(times_of(job.out.parent, int(os.environ["RANK"])), {"begins": clock.begins, "own": clock.own})


def summarize(ranks: Sequence[dict[str, list[int]]]) -> OwnTime:
    """Sum up the ranks' times.

    Args:
        ranks: for each rank `begins`, the moments at which steps begin, and `own`, both in nanoseconds.
    """
    shares, milliseconds = [], []
    for rank in ranks:
        seconds, own = _blocks(rank["begins"], rank["own"])
        with_listeners = own[:, 0].reshape(-1)
        shares.append(float(with_listeners.sum() / seconds[:, 0].sum()))
        milliseconds.append(1000 * float(with_listeners.mean()))
    seconds, _ = _blocks(ranks[0]["begins"], ranks[0]["own"])
    medians = np.median(seconds, axis=2)
    low, middle, high = _interval(medians[:, 0] - medians[:, 1])
    return OwnTime(
        shares=shares,
        milliseconds=milliseconds,
        step=float(np.median(medians[:, 1])),
        pairs=len(medians),
        difference=middle,
        low=low,
        high=high,
    )


def _blocks(begins: Sequence[int], own: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Seconds of each step, and pdapt's own in it, [pairs, with listeners or without, BLOCK]; only whole pairs."""
    seconds = np.diff(np.array(begins)) / 1e9
    whole = len(seconds) // (2 * BLOCK)
    shape = (whole, 2, BLOCK)
    size = whole * 2 * BLOCK
    blocks = seconds[:size].reshape(shape), np.array(own[:size]).reshape(shape) / 1e9
    return blocks[0][PAIRS_LEFT_OUT:], blocks[1][PAIRS_LEFT_OUT:]


def _interval(differences: np.ndarray) -> tuple[float, float, float]:
    """The median of the pairs' differences, and its 95 % bootstrap interval, from pairs drawn with replacement."""
    result = bootstrap((differences,), np.median, n_resamples=9999, method="percentile", rng=SEED)
    interval = result.confidence_interval
    return float(interval.low), float(np.median(differences)), float(interval.high)


if __name__ == "__main__":
    die_with_parent()
    measure(SideJob.read(Path(sys.argv[1])))
