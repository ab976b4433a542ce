"""The one place at which Megatron's trainer is patched: calls of its functions become events.

`HOOKED` names the functions, and the parameters that are read of each, by name. Listeners, in `training/run/listeners`,
know nothing of Megatron.
"""

import functools
import inspect
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ...core.exit_codes import ExitCode
from ...recipes.schema import GuardAction
from ..run.events import Events, Gradient, Listener, Verdict
from ..run.failures.rank_file import Phase
from ..run.folder import STOP_AT
from ..run.listeners.saves import PendingSaves
from ..run.listeners.stops import Stops
from .measuring import Measuring

CHECKPOINTED = (
    "iteration",
    "model",
    "optimizer",
    "opt_param_scheduler",
    "num_floating_point_operations_so_far",
    "checkpointing_context",
    "train_data_iterator",
)
"""Parameters of a save that the trainer's decision whether to exit is given, too."""
HOOKED = {
    "train": ("optimizer", "config"),
    "train_step": ("optimizer", "iteration"),
    "training_log": ("loss_dict", "learning_rate", "iteration", "skipped_iter", "grad_norm"),
    "evaluate_and_print_results": ("iteration",),
    "save_checkpoint_and_time": CHECKPOINTED,
    "maybe_finalize_async_save": ("blocking", "terminate"),
    "checkpoint_and_decide_exit": CHECKPOINTED,
}
"""Function of `megatron.training.training` -> its parameters that are read or given."""


@dataclass(frozen=True)
class Call:
    """A call of one of the trainer's functions."""

    original: Callable[..., Any]
    bound: inspect.BoundArguments

    def __getitem__(self, name: str) -> Any:
        """The argument of a parameter."""
        return self.bound.arguments[name]

    def proceed(self, **changed: Any) -> Any:
        """Call the function itself, with some arguments changed."""
        self.bound.arguments.update(changed)
        return self.original(*self.bound.args, **self.bound.kwargs)


def hooked(module: Any, name: str, parameters: tuple[str, ...], around: Callable[[Call], Any]) -> Callable[..., Any]:
    """Make a function that hands each call of a module's function to `around`.

    Raises:
        UserError: the function is not there, or has not these parameters: another megatron-core is installed.
    """
    original = getattr(module, name, None)
    signature = inspect.signature(original) if original is not None else inspect.Signature()
    missing = [parameter for parameter in parameters if parameter not in signature.parameters]
    if original is None or missing:
        lacks = f"has no parameter {', '.join(missing)}" if original is not None else "is not there"
        raise UserError(
            f"megatron-core is not the version that pdapt hooks into: {name} {lacks}",
            where=module.__name__,
            fix="install the megatron-core of requirements/base.txt",
        )

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return around(Call(original, signature.bind(*args, **kwargs)))

    return call


class Hooks:
    """Raises the events of one rank's training loop."""

    def __init__(self, trainer: Any, events: Events, measuring: Measuring, stops: Stops, *, watches_loss: bool) -> None:
        """Prepare.

        Args:
            trainer: the module `megatron.training.training`.
            events: are raised.
            measuring: measures each step.
            stops: hears where the trainer itself decides to exit.
            watches_loss: whether a gradient's event tells the loss, which costs an exchange among the ranks.
        """
        self.trainer, self.events, self.measuring, self.stops = trainer, events, measuring, stops
        self.watches_loss = watches_loss
        self.saves = PendingSaves()
        self.step, self.norm = 0, 0.0

    def install(self, listeners: Callable[[int], list[Listener]]) -> None:
        """Patch the trainer.

        Args:
            listeners: makes those that are told from the loop's beginning on, given the step that it goes on after.

        Raises:
            UserError: see `hooked`.
        """
        around: dict[str, Callable[[Call], Any]] = {
            "train": lambda call: self._train(call, listeners),
            "train_step": self._train_step,
            "training_log": self._training_log,
            "evaluate_and_print_results": self._evaluate,
            "save_checkpoint_and_time": self._save,
            "maybe_finalize_async_save": self._finalize_saves,
            "checkpoint_and_decide_exit": self._decide_exit,
        }
        patches = {name: hooked(self.trainer, name, parameters, around[name]) for name, parameters in HOOKED.items()}
        for name, patch in patches.items():
            setattr(self.trainer, name, patch)

    def _train(self, call: Call, listeners: Callable[[int], list[Listener]]) -> Any:
        """Stand between gradient and update, and have the listeners made, before the first step."""
        self.events.add(listeners(self.trainer.get_args().iteration))
        self.stand_between(call["optimizer"])
        config = call["config"]
        exchange = config.finalize_model_grads_func or self.trainer.finalize_model_grads

        def finalize_model_grads(*args: Any, **kwargs: Any) -> None:
            self.measuring.compute_ends()
            self.events.phase_begins(Phase.EXCHANGE)
            exchange(*args, **kwargs)

        config.finalize_model_grads_func = finalize_model_grads
        return call.proceed()

    def _train_step(self, call: Call) -> Any:
        from megatron.core.optimizer_param_scheduler import get_canonical_lr_for_logging as learning_rate

        last, done = self.trainer.get_args().exit_interval, call["iteration"]
        if last and done >= last:  # this start goes on from its last step
            self.stops.request(STOP_AT)
            sys.exit(ExitCode.DONE)
        self.step = done + 1
        self.events.step_begins(self.step)
        self.measuring.step_begins(float(learning_rate(call["optimizer"].param_groups) or 0.0))
        return call.proceed()

    def stand_between(self, optimizer: Any) -> None:
        """Raise the event of each gradient once its norm is known, and before it changes a weight."""
        # Megatron chains its optimizers, but for its FSDP's.
        measuring = "get_grad_norm" if hasattr(optimizer, "chained_optimizers") else "clip_grad_norm"
        measure, update = getattr(optimizer, measuring), optimizer.step_with_ready_grads

        def measured(*args: Any) -> float:
            self.norm = float(measure(*args))
            return self.norm

        def step_with_ready_grads() -> bool:
            self.events.phase_begins(Phase.OPTIMIZER)
            loss = self.measuring.mean_loss() if self.watches_loss else None
            verdict = self.events.gradient_is_ready(Gradient(self.step, self.norm, loss))
            return self._allows(verdict) and update()

        setattr(optimizer, measuring, measured)
        optimizer.step_with_ready_grads = step_with_ready_grads

    def _allows(self, verdict: Verdict | None) -> bool:
        """Whether the update is made. Ends the run where the verdict says so."""
        if verdict is None:
            return True
        self.events.gradient_judged(self.step, verdict)
        if verdict.action in (GuardAction.WARN, GuardAction.SKIP):
            return verdict.action == GuardAction.WARN
        self.trainer.maybe_finalize_async_save(blocking=True, terminate=True)
        sys.exit(ExitCode.STOPPED_EARLY if verdict.action == GuardAction.REWIND else ExitCode.HALTED)

    def _training_log(self, call: Call) -> Any:
        self.events.phase_begins(Phase.BETWEEN)
        # The trainer has set the next step's rate by now, and would write that one down.
        reported = call.proceed(learning_rate=self.measuring.learning_rate)
        result = self.measuring.step_ends(
            call["iteration"],
            call["loss_dict"].get("lm loss"),
            grad_norm=call["grad_norm"],
            skipped=bool(call["skipped_iter"]),
            stop_flags=self.stops.flags(),
        )
        self.events.step_ended(result)
        return reported

    def _evaluate(self, call: Call) -> None:
        begin = time.perf_counter()
        self.events.part_begins(Phase.VALIDATE)
        call.proceed()
        self.events.part_ends()
        self.events.validated(self.measuring.validation_ends(call["iteration"], begin))

    def _save(self, call: Call) -> None:
        step = call["iteration"]
        if not self.events.may_save():
            print(f"guard: step {step}: every update so far was skipped: nothing to save", flush=True)
            return
        begin = time.perf_counter()
        self.events.part_begins(Phase.SAVE)
        call.proceed()
        self.events.part_ends()
        self.saves.begun(step, begin)
        if not self.trainer.get_args().async_save:
            self._saved(0.0)

    def _finalize_saves(self, call: Call) -> None:
        begin = time.perf_counter()
        self.events.part_begins(Phase.SAVE)
        call.proceed()
        self.events.part_ends()
        if self.saves.pending:
            self._saved(time.perf_counter() - begin)

    def _saved(self, stalled: float) -> None:
        """Raise the event of each save that is whole by now."""
        args = self.trainer.get_args()
        for save in self.saves.whole(Path(args.save), stalled, asynchronous=args.async_save):
            self.events.saved(save)

    def _decide_exit(self, call: Call) -> bool:
        step = call["iteration"]
        exits = call.proceed()
        if exits:
            interval = self.trainer.get_args().exit_interval
            self.stops.request(STOP_AT if interval and step % interval == 0 else "a further Megatron argument")
        reason = self.events.may_stop()
        if reason and not exits and self.saves.last != step:
            self.trainer.save_checkpoint_and_time(**{name: call[name] for name in CHECKPOINTED})
        if reason:
            self.events.stopping(step)
        return bool(reason)
