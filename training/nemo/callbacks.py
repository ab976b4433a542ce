"""Raises from Megatron-Bridge's callbacks the events that `hooks.py` raises around Megatron-LM's functions.

Bridge has no callback before a save, and none that can end the loop: `HOOKED` names the functions that are patched.
"""

from collections.abc import Callable
from typing import Any

from megatron.bridge.training.callbacks import Callback, CallbackContext
from megatron.core.utils import get_model_config

from ..megatron.hooks import Call, hooked
from ..megatron.loop_events import LoopEvents
from ..run.events import Listener
from ..run.failures.rank_file import Phase
from ..run.folder import STOP_AT
from .installed import REQUIREMENTS

SAVED = (
    "state",
    "model",
    "optimizer",
    "opt_param_scheduler",
    "num_floating_point_operations_so_far",
    "checkpoint_manager",
    "train_data_iterator",
    "pg_collection",
    "callback_manager",
)
"""Parameters of a save that are also parameters of Bridge's decision whether to exit."""
HOOKED = {"save_checkpoint_and_time": SAVED, "checkpoint_and_decide_exit": SAVED}
"""Function of `megatron.bridge.training.train` -> its parameters that are read or passed."""


class Callbacks(Callback, LoopEvents):
    """Raises the events of one rank's training loop."""

    def install(self, trainer: Any, caller: Any, listeners: Callable[[int, Any], list[Listener]]) -> None:
        """Patch the functions that have no callback.

        Args:
            trainer: the module `megatron.bridge.training.train`.
            caller: the module `megatron.bridge.training.pretrain`, which calls its `train`.
            listeners: makes the listeners of the whole loop, given the step that it continues after and TensorBoard's
                writer.

        Raises:
            UserError: another megatron-bridge is installed.
        """
        self._trainer, self._listeners = trainer, listeners
        self.ended: SystemExit | None = None
        around = {"save_checkpoint_and_time": self._save, "checkpoint_and_decide_exit": self._decide_exit}
        for name, parameters in HOOKED.items():
            setattr(trainer, name, self._hooked(trainer, name, parameters, around[name]))
        caller.train = self._hooked(caller, "train", ("global_state", "checkpoint_manager"), self._train)

    @staticmethod
    def _hooked(module: Any, name: str, parameters: tuple[str, ...], around: Callable[[Call], Any]) -> Any:
        return hooked(module, name, parameters, around, package="megatron-bridge", requirements=REQUIREMENTS)

    def _train(self, call: Call) -> None:
        """Run the loop, and catch an exit from it.

        Bridge would take an exit for a failure, and abort the connections to other ranks.
        """
        state = call["global_state"]
        self.finish_saves = lambda: call["checkpoint_manager"].finalize_async_saves(
            state=state, blocking=True, terminate=True
        )
        try:
            call.proceed()
        except SystemExit as end:
            self.ended = end
            state.train_state.do_valid = state.train_state.do_test = False

    def on_train_start(self, context: CallbackContext) -> None:
        """Hook in between gradient and update, and make the listeners."""
        self.events.add(self._listeners(context.state.train_state.step, context.state.tensorboard_logger))
        self.stand_between(context.optimizer)
        config: Any = get_model_config(context.model[0])
        config.finalize_model_grads_func = self.exchanging(config.finalize_model_grads_func)

    def on_train_step_start(self, context: CallbackContext) -> None:
        """Begin a step."""
        state = context.state
        self.step_begins(state.train_state.step, state.cfg.train.exit_interval, context.optimizer)

    def on_train_step_end(self, context: CallbackContext) -> None:
        """Measure a step; Bridge counts it afterwards."""
        self.events.phase_begins(Phase.BETWEEN)
        self.step_ends(
            context.state.train_state.step + 1,
            context.loss_dict or {},
            grad_norm=context.grad_norm,
            skipped=bool(context.skipped_iter),
        )

    def on_eval_start(self, context: CallbackContext) -> None:
        """Begin a validation."""
        del context
        self.validation_begins()

    def on_eval_end(self, context: CallbackContext) -> None:
        """End a validation."""
        self.validation_ends(context.state.train_state.step)

    def on_checkpoint_save(self, context: CallbackContext) -> None:
        """Note that a checkpoint is complete; its event is raised when training continues."""
        del context
        self._whole = True

    def _save(self, call: Call) -> None:
        state = call["state"]
        self._whole = False
        if self.saving(state.train_state.step, call.proceed) and self._whole:
            self.are_saved(state.cfg.checkpoint.save, asynchronous=False)

    def _decide_exit(self, call: Call) -> bool:
        state = call["state"]
        step, exits = state.train_state.step, call.proceed()
        if exits:
            self.stops.request(STOP_AT)
        save = lambda: self._trainer.save_checkpoint_and_time(**{name: call[name] for name in SAVED})  # noqa: E731
        return self.may_stop(step, exits=exits, save=save)

    def end(self) -> None:
        """End the process in the way in which the loop ended, after Bridge has closed what it opened."""
        if self.ended is not None:
            raise self.ended
