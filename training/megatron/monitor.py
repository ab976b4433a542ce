"""What is watched while Megatron's trainer runs: speed, loss by data set, guards, saves, and when to stop.

The trainer calls a few functions of its own by name; `install` puts ours around them (see `seams.py`). All that ranks
tell each other for it is one vector a step, summed over all of them.
"""

import math
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ...core.files import write_json
from ...core.flops import flops_per_step, mfu
from ...recipes.schema import REWIND, SKIP, STOP, WARN, Recipe, masked, shape_of
from ..run.energy import joules
from ..run.failures.rank_file import BETWEEN, EXCHANGE, OPTIMIZER, SAVE, VALIDATE, RankFile
from ..run.folder import SKIPPED, STATE, STOP_AT, skipped
from ..run.guard import Judge, Verdict
from ..run.journal import JOURNAL_FILE, Goodput, Journal, kept, read_history
from ..run.saves import Saves
from ..run.signals import Stops
from ..run.trackers import Trackers
from ..run.watch import Watch
from .recorder import Recorder, by_name

STRAGGLING = 10
"""Steps after which a rank that has been the slowest in each of them is reported."""


@dataclass(frozen=True)
class Place:
    """Where a monitored run is, and what it is told of the start.

    Attributes:
        out: run folder.
        begun: Unix time of this start.
    """

    out: Path
    begun: float


class Monitor:
    """One rank's. The world's last one, which has the losses, writes for all."""

    def __init__(self, recipe: Recipe, place: Place, stops: Stops, file: RankFile, world: int) -> None:
        self.recipe, self.place, self.stops, self.rank, self.world = recipe, place, stops, file.rank, world
        self.writes = self.rank == world - 1
        self.watch = Watch(file, world, recipe.guard.hang, self._hung)
        self.names: dict[bool, list[str]] = {}
        self.recorders: dict[bool, Recorder] = {}
        self.achieve: Callable[[int], None] | None = None
        self.step, self.reason, self.began, self.norm = 0, "", 0.0, 0.0
        self.rate = 0.0
        self.computing, self.computed = _clocks()
        self.saves = Saves(place.out, recipe.checkpoint)
        self.slow = (-1, 0)
        self.updated = False
        self.joules = joules()
        self.trainer: Any = None

    def expect(self, training: list[str], validation: list[str]) -> None:
        """Say which data sets there will be, in the order of their numbers."""
        self.names = {True: training, False: validation}
        self.recorders = {kind: Recorder(len(names)) for kind, names in self.names.items()}

    def recorder(self, *, training: bool) -> Recorder:
        """What counts the micro-batches of training, or of validation."""
        return self.recorders[training]

    def install(self, trainer: Any) -> None:
        """Put the monitor around the trainer's functions.

        Args:
            trainer: the module `megatron.training.training`.
        """
        self.trainer = trainer
        for name in HOOKS:
            setattr(trainer, name, getattr(self, f"around_{name}")(getattr(trainer, name)))

    # Around one step.

    def around_train_step(self, original: Any) -> Any:
        """Before the first step: take up the journal, and stand between gradient and update. Before each: the clock."""
        from megatron.core.optimizer_param_scheduler import get_canonical_lr_for_logging as learning_rate

        def train_step(*args: Any, iteration: int, **kwargs: Any) -> Any:
            optimizer, config = args[3], args[5]
            if not self.step:
                self._first(optimizer, config, iteration)
            self.step = iteration + 1
            self.rate = float(learning_rate(optimizer.param_groups) or 0.0)
            self.watch.at(BETWEEN, self.step)
            self.computing, self.computed = _clocks()
            self.began = time.perf_counter()
            self.computing.record()
            return original(*args, iteration=iteration, **kwargs)

        return train_step

    def _first(self, optimizer: Any, config: Any, done: int) -> None:
        self._check_stop_at(done)
        history = read_history(self.place.out / JOURNAL_FILE)  # what of it is lost, whoever started the run has said
        self.goodput = Goodput(history, done, self.place.begun)
        # Every rank reads them: all have to judge alike, and as a run that was not interrupted.
        steps = kept(history.rows, "step", done).values()
        taken = [row for row in steps if not row["skipped"]]
        pairs = [(row.get("loss"), row.get("grad_norm")) for row in taken]
        numbers = [(loss, norm) for loss, norm in pairs if loss is not None and norm is not None]
        rewinds = len(skipped(self.place.out))
        self.judge = Judge(self.recipe.guard, numbers, skips=len(steps) - len(taken), rewinds=rewinds)
        self.updated = done > 0
        self._stand_between(optimizer)
        finalize = config.finalize_model_grads_func

        def finalize_model_grads(*args: Any, **kwargs: Any) -> None:
            self.computed.record()
            self.watch.at(EXCHANGE)
            finalize(*args, **kwargs)

        config.finalize_model_grads_func = finalize_model_grads

    def _check_stop_at(self, done: int) -> None:
        """End this start before it does anything where it goes on from its last step."""
        last = self.trainer.get_args().exit_interval
        if last and done >= last:
            self.reason = STOP_AT
            self.journal  # noqa: B018 - a start without a step is one, too
            sys.exit(0)

    @cached_property
    def journal(self) -> Journal:
        """Opened by this start's first event, which need not be a step: the last one may have been taken before."""
        journal = Journal(self.place.out / JOURNAL_FILE)
        done = self.trainer.get_args().iteration
        journal.write("start", time=self.place.begun, step=done, ranks=self.world, host=os.uname().nodename)
        return journal

    @cached_property
    def trackers(self) -> Trackers:
        """Those who follow the run; Megatron has opened its own by this start's first event."""
        return Trackers(self.recipe, self.place.out)

    def _stand_between(self, optimizer: Any) -> None:
        """Judge the gradient once its norm is known, and before it changes a weight."""
        # Megatron chains its optimizers, but for its FSDP's.
        measuring = "get_grad_norm" if hasattr(optimizer, "chained_optimizers") else "clip_grad_norm"
        measure, update = getattr(optimizer, measuring), optimizer.step_with_ready_grads

        def measured(*args: Any) -> float:
            self.norm = float(measure(*args))
            return self.norm

        def step_with_ready_grads() -> bool:
            self.watch.at(OPTIMIZER)
            verdict = self.judge.judge(self._mean_loss() if self.recipe.guard.spike else None, self.norm)
            return self._obey(verdict) and update()

        setattr(optimizer, measuring, measured)
        optimizer.step_with_ready_grads = step_with_ready_grads

    def _mean_loss(self) -> float:
        """Loss of the global batch, on every rank."""
        sums = self.recorders[True].peek()
        total = torch.stack([sums[:-1:2].sum(), sums[1:-1:2].sum()])
        torch.distributed.all_reduce(total)
        return float(total[0] / total[1])

    def _obey(self, verdict: Verdict | None) -> bool:
        """Whether the update is made. Ends the run where the verdict says so."""
        if verdict is None:
            return True
        if self.writes:
            self.journal.write("guard", step=self.step, action=verdict.action, reason=verdict.reason)
            print(f"guard: step {self.step}: {verdict.reason}: {verdict.action}", flush=True)
        if verdict.action in (WARN, SKIP):
            return verdict.action == WARN
        if self.writes:
            if verdict.action == REWIND:
                write_json(self.place.out / SKIPPED, [*skipped(self.place.out), self.step])
            self._end(verdict.action, verdict.reason)
        self.trainer.maybe_finalize_async_save(blocking=True, terminate=True)
        sys.exit(1)

    def around_training_log(self, original: Any) -> Any:
        """After each step: what it was like."""

        def training_log(loss_dict: Any, total: Any, _: Any, step: int, *args: Any, **kwargs: Any) -> Any:
            self.watch.at(BETWEEN)
            # The trainer has set the next step's rate by now, and would write that one down.
            result = original(loss_dict, total, self.rate, step, *args, **kwargs)
            passed, norm = args[2], args[3]
            self._after(loss_dict, skipped=bool(passed), norm=norm)
            return result

        return training_log

    def _after(self, loss_dict: dict[str, Any], *, skipped: bool, norm: float | None) -> None:
        seconds = time.perf_counter() - self.began
        sums, waited = self.recorders[True].take()
        loss = float(loss_dict["lm loss"]) if self.writes else 0.0
        compute = self.computing.elapsed_time(self.computed) / 1000
        joules_now = joules()
        used = joules_now - self.joules if joules_now is not None and self.joules is not None else math.nan
        self.joules = joules_now
        told = self._sum([sums.tolist(), [loss, used], self.stops.flags(), self._mine(waited), self._mine(compute)])
        sums, (loss, used), flags, waits, computes = told
        norm = math.nan if norm is None else float(norm)
        if not skipped:
            self.judge.remember(loss, norm)
            self.updated = True
        self.reason = self.reason or self.stops.reason(flags)
        if self.writes:
            slots = self.recipe.batch.global_size * self.recipe.data.seq_length
            squares = sums[-1] if masked(self.recipe.data) else float(slots * self.recipe.data.seq_length)
            flops = flops_per_step(shape_of(self.recipe), slots, squares)
            counted = int(sum(sums[1:-1:2]))
            row = {
                "step": self.step, "loss": loss, "grad_norm": norm, "learning_rate": self.rate,
                "skipped": skipped, "seconds": seconds, "data_wait": max(waits), "tokens": counted, "slots": slots,
                "tokens_per_second": counted / seconds, "slots_per_second": slots / seconds,
                "tflops_per_rank": flops / seconds / self.world / 1e12,
                "mfu": mfu(flops, seconds, self.world) if torch.cuda.is_available() else None,
                "joules": used, "sources": by_name(sums[:-1], self.names[True]), **self._slowest(computes),
            }  # fmt: skip
            now = time.time()
            row["goodput"] = self.goodput.add(row | {"time": now})
            if self.goodput.unknown:
                row["goodput_unknown"] = self.goodput.unknown_share(now)
            self.journal.write("step", **row)
            self.trackers.log(row, self.step, "train")

    def _mine(self, value: float) -> list[float]:
        """A value of this rank's, at its place among all ranks'."""
        return [value if rank == self.rank else 0.0 for rank in range(self.world)]

    def _sum(self, parts: list[list[float]]) -> list[list[float]]:
        """Each part summed over all ranks, all of them at once."""
        flat = torch.tensor([value for part in parts for value in part], dtype=torch.float64)
        flat = flat.to(torch.cuda.current_device())
        torch.distributed.all_reduce(flat)
        values = iter(flat.tolist())
        return [[next(values) for _ in part] for part in parts]

    def _slowest(self, computes: list[float]) -> dict[str, Any]:
        """The rank that computed longest, and how much longer than the median one; reported if it stays the same."""
        slowest, usual = computes.index(max(computes)), statistics.median_low(computes)
        ratio = max(computes) / usual if usual > 0 else 1.0
        limit = self.recipe.guard.straggler
        if limit is None or ratio < limit:
            self.slow = (-1, 0)
        else:
            self.slow = (slowest, self.slow[1] + 1 if self.slow[0] == slowest else 1)
        if self.slow[1] == STRAGGLING:
            self.journal.write("straggler", step=self.step, rank=slowest, ratio=ratio)
            long = f"{ratio:.2f} x as long as the median rank, and was the slowest for {STRAGGLING} steps"
            print(f"straggler: rank {slowest} computed {long}", flush=True)
        return {"slowest_rank": slowest, "slowest_ratio": ratio}

    # Around validation, saves and the end.

    def around_evaluate_and_print_results(self, original: Any) -> Any:
        """After each validation: its loss by data set."""

        def evaluate_and_print_results(*args: Any, **kwargs: Any) -> None:
            begin = time.perf_counter()
            with self.watch.during(VALIDATE):
                original(*args, **kwargs)
            sums, _ = self.recorders[False].take()
            (sums,) = self._sum([sums.tolist()])
            if self.writes and sum(sums[1:-1:2]):
                loss = sum(sums[0:-1:2]) / sum(sums[1:-1:2])
                row = {"step": args[4], "loss": loss, "seconds": time.perf_counter() - begin}
                row["sources"] = by_name(sums[:-1], self.names[False])
                self.journal.write("validation", **row)
                self.trackers.log(row, args[4], "valid")

        return evaluate_and_print_results

    def around_save_checkpoint_and_time(self, original: Any) -> Any:
        """Around each save: how long training stood still; after it, the seal."""

        def save_checkpoint_and_time(iteration: int, *args: Any, **kwargs: Any) -> None:
            if not self.updated:  # Megatron's optimizers have nothing to save before their first update
                print(f"guard: step {iteration}: every update so far was skipped: nothing to save", flush=True)
                return
            begin = time.perf_counter()
            with self.watch.during(SAVE):
                original(iteration, *args, **kwargs)
            self.saves.begun(iteration, begin)
            if not self.trainer.get_args().async_save:
                self._saved(0.0)

        return save_checkpoint_and_time

    def around_maybe_finalize_async_save(self, original: Any) -> Any:
        """Around the check for finished asynchronous saves."""

        def maybe_finalize_async_save(*args: Any, **kwargs: Any) -> None:
            begin = time.perf_counter()
            with self.watch.during(SAVE):
                original(*args, **kwargs)
            if self.saves.pending:
                self._saved(time.perf_counter() - begin)

        return maybe_finalize_async_save

    def _saved(self, stalled: float) -> None:
        """Journal and seal the saves that are whole by now."""
        args = self.trainer.get_args()
        for step, times in self.saves.whole(Path(args.save), stalled):
            if self.writes:
                self.journal.write("save", step=step, asynchronous=args.async_save, **times)
                self.saves.seal(step)

    def around_checkpoint_and_decide_exit(self, original: Any) -> Any:
        """After each step: whether it was the last one of this start."""

        def checkpoint_and_decide_exit(*args: Any) -> bool:
            if original(*args):
                interval = self.trainer.get_args().exit_interval
                self.reason = STOP_AT if interval and self.step % interval == 0 else "a further Megatron argument"
            elif self.reason and self.saves.last != self.step:
                model, optimizer, scheduler, step, flops, context, samples = args
                self.trainer.save_checkpoint_and_time(
                    step, model, optimizer, scheduler, flops, context, train_data_iterator=samples
                )
            if self.reason and self.achieve:
                self.achieve(self.step)
            return bool(self.reason)

        return checkpoint_and_decide_exit

    def _end(self, state: str, reason: str) -> None:
        step = self.step or self.trainer.get_args().iteration
        self.journal.write("end", step=step, state=state, reason=reason)
        write_json(self.place.out / STATE, {"state": state, "step": step, "reason": reason})

    def _hung(self, reason: str) -> None:
        """A run that stands still: said by whichever rank has found it."""
        write_json(self.place.out / STATE, {"state": "hang", "step": self.step, "reason": reason})
        print(f"hang: {reason}", file=sys.stderr, flush=True)

    def __enter__(self) -> "Monitor":
        """The trainer starts."""
        return self

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        """The trainer has ended, one way or another."""
        self.watch.stop()
        if self.writes and "journal" in vars(self):
            self.saves.wait()
            if not (self.place.out / STATE).is_file():
                self._end(*self._how(error))
            self.trackers.close()

    def _how(self, error: BaseException | None) -> tuple[str, str]:
        """State and reason of this start's end."""
        if error is not None and not (isinstance(error, SystemExit) and not error.code):
            return "failed", str(error)
        if self.step and not self.updated:  # the same again, however often it is started
            return STOP, "every update was skipped: there is nothing to save, and nothing to go on from"
        return ("stopped", self.reason) if self.reason else ("finished", "")


HOOKS = (
    "train_step",
    "training_log",
    "evaluate_and_print_results",
    "save_checkpoint_and_time",
    "maybe_finalize_async_save",
    "checkpoint_and_decide_exit",
)


def _clocks() -> tuple[Any, Any]:
    """Two moments on the GPU's own clock."""
    return torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
