"""Megatron-Bridge's own forward step, with counters of what it reads and computes."""

from collections.abc import Iterator
from typing import Any

import torch
from megatron.bridge.training.gpt_step import forward_step
from megatron.bridge.training.state import GlobalState
from megatron.core import mpu

from ..megatron.measuring import Measuring
from ..megatron.recorder import Recorder
from ..run.events import Events
from ..run.failures.rank_file import Phase
from .bridge_rows import BORDERS


class Reading:
    """An iterator over micro-batches that counts the wait and keeps the last one.

    Attributes:
        batch: the last micro-batch; empty before the first is read, and on stages that read none.
    """

    def __init__(self, samples: Iterator[Any], recorder: Recorder, events: Events) -> None:
        self.samples, self.recorder, self.events = samples, recorder, events
        self.batch: dict[str, Any] = {}

    def __iter__(self) -> "Reading":
        return self

    def __next__(self) -> dict[str, Any]:
        self.events.phase_begins(Phase.DATA)
        self.batch = self.recorder.next(self.samples)
        self.events.phase_begins(Phase.COMPUTE)
        return self.batch


class ForwardStep:
    """Runs the model on the next micro-batch, and returns the function that computes its loss."""

    def __init__(self, events: Events, measuring: Measuring) -> None:
        """Prepare; `events` receives the phases, and `measuring` counts."""
        self.events, self.measuring = events, measuring

    def __call__(self, state: GlobalState, data_iterator: Iterator[Any], model: Any) -> tuple[torch.Tensor, Any]:
        """Return the model's output, and the function that computes its loss. Bridge passes its state as `state`."""
        recorder = self.measuring.recorder(training=model.training)
        reading = Reading(data_iterator, recorder, self.events)
        self.events.phase_begins(Phase.COMPUTE)
        output, make_loss = forward_step(state, reading, model)

        def loss(output: torch.Tensor) -> Any:
            self._count(recorder, output, reading.batch)
            return make_loss(output)

        return output, loss

    @staticmethod
    def _count(recorder: Recorder, output: torch.Tensor, batch: dict[str, Any]) -> None:
        """Add up a micro-batch, on the first rank of each tensor-parallel group: the others have the same one."""
        if mpu.get_tensor_model_parallel_rank() != 0:
            return
        samples, counts = batch.get("dataset_id"), batch["loss_mask"].to(output.device)
        if samples is None:  # Megatron names the data set only if there are several
            samples = torch.zeros(_samples(batch), dtype=torch.int64)
        borders = batch.get(f"{BORDERS}_q")
        recorder.add(
            output.detach(), counts, samples.to(output.device), None if borders is None else borders.to(output.device)
        )


def _samples(batch: dict[str, Any]) -> int:
    """Count the samples of a micro-batch that names no data set: there is only one, so a flat batch counts as one."""
    return len(batch["tokens"])
