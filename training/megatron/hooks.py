"""The one place where Megatron's trainer is patched: calls of its functions become events.

`HOOKED` names the functions, and the parameters that are read from each, by name. The listeners in
`training/run/listeners` do not depend on Megatron.
"""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ...core.errors import UserError
from ..run.events import Events, Listener
from ..run.failures.rank_file import Phase
from ..run.folder import STOP_AT
from ..run.listeners.stops import Stops
from .loop_events import LoopEvents
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
"""Parameters of a save that are also parameters of the trainer's decision whether to exit."""
HOOKED = {
    "train": ("optimizer", "config"),
    "train_step": ("optimizer", "iteration"),
    "training_log": ("loss_dict", "learning_rate", "iteration", "skipped_iter", "grad_norm"),
    "evaluate_and_print_results": ("iteration",),
    "save_checkpoint_and_time": CHECKPOINTED,
    "maybe_finalize_async_save": ("blocking", "terminate"),
    "checkpoint_and_decide_exit": CHECKPOINTED,
}
"""Function of `megatron.training.training` -> its parameters that are read or passed."""


@dataclass(frozen=True)
class Call:
    """A call of one of the trainer's functions."""

    original: Callable[..., Any]
    bound: inspect.BoundArguments

    def __getitem__(self, name: str) -> Any:
        """The argument of a parameter."""
        return self.bound.arguments[name]

    def proceed(self, **changed: Any) -> Any:
        """Call the original function, with some arguments changed."""
        self.bound.arguments.update(changed)
        return self.original(*self.bound.args, **self.bound.kwargs)


def hooked(
    module: Any,
    name: str,
    parameters: tuple[str, ...],
    around: Callable[[Call], Any],
    *,
    package: str = "megatron-core",
    requirements: str = "requirements/base.txt",
) -> Callable[..., Any]:
    """Make a function that passes each call of a module's function to `around`.

    Args:
        module, name: the function's module and name.
        parameters: the parameters that `around` reads.
        around: called instead of the function.
        package, requirements: the module's package, and the file that pins its version.

    Raises:
        UserError: the function is missing or lacks these parameters: another version is installed.
    """
    original = getattr(module, name, None)
    signature = inspect.signature(original) if original is not None else inspect.Signature()
    missing = [parameter for parameter in parameters if parameter not in signature.parameters]
    if original is None or missing:
        lacks = f"has no parameter {', '.join(missing)}" if original is not None else "is not there"
        raise UserError(
            f"{package} is not the version that pdapt hooks into: {name} {lacks}",
            where=module.__name__,
            fix=f"install the {package} of {requirements}",
        )

    @functools.wraps(original)
    def call(*args: Any, **kwargs: Any) -> Any:
        return around(Call(original, signature.bind(*args, **kwargs)))

    return call


class Hooks(LoopEvents):
    """Raises the events of one rank's training loop, around the functions of Megatron's trainer."""

    def __init__(self, trainer: Any, events: Events, measuring: Measuring, stops: Stops, *, watches_loss: bool) -> None:
        """Prepare; `trainer` is the module `megatron.training.training`, the other arguments are as in `LoopEvents`."""
        super().__init__(events, measuring, stops, watches_loss=watches_loss)
        self.trainer = trainer

    def install(self, listeners: Callable[[int], list[Listener]]) -> None:
        """Patch the trainer.

        Args:
            listeners: makes the listeners of the whole loop, given the step that it continues after.

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

    def finish_saves(self) -> None:
        """Wait until all saves are complete."""
        self.trainer.maybe_finalize_async_save(blocking=True, terminate=True)

    def _train(self, call: Call, listeners: Callable[[int], list[Listener]]) -> Any:
        """Before the first step, hook in between gradient and update, and make the listeners."""
        self.events.add(listeners(self.trainer.get_args().iteration))
        self.stand_between(call["optimizer"])
        config = call["config"]
        config.finalize_model_grads_func = self.exchanging(
            config.finalize_model_grads_func or self.trainer.finalize_model_grads
        )
        return call.proceed()

    def _train_step(self, call: Call) -> Any:
        self.step_begins(call["iteration"], self.trainer.get_args().exit_interval, call["optimizer"])
        return call.proceed()

    def _training_log(self, call: Call) -> Any:
        self.events.phase_begins(Phase.BETWEEN)
        # The trainer has already set the next step's rate, and would log that one.
        reported = call.proceed(learning_rate=self.measuring.learning_rate)
        self.step_ends(
            call["iteration"], call["loss_dict"], grad_norm=call["grad_norm"], skipped=bool(call["skipped_iter"])
        )
        return reported

    def _evaluate(self, call: Call) -> None:
        self.validation_begins()
        call.proceed()
        self.validation_ends(call["iteration"])

    def _save(self, call: Call) -> None:
        args = self.trainer.get_args()
        if self.saving(call["iteration"], call.proceed) and not args.async_save:
            self.are_saved(args.save, asynchronous=False)

    def _finalize_saves(self, call: Call) -> None:
        args = self.trainer.get_args()
        self.finishing_saves(call.proceed, args.save, asynchronous=args.async_save)

    def _decide_exit(self, call: Call) -> bool:
        step = call["iteration"]
        exits = call.proceed()
        if exits:
            interval = self.trainer.get_args().exit_interval
            self.stops.request(STOP_AT if interval and step % interval == 0 else "a further Megatron argument")
        save = lambda: self.trainer.save_checkpoint_and_time(**{name: call[name] for name in CHECKPOINTED})  # noqa: E731
        return self.may_stop(step, exits=exits, save=save)
