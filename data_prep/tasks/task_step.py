"""A step of a stage as a step of a datatrove pipeline: the same work for each of its items."""

from collections.abc import Callable, Generator, Mapping
from typing import Any

from datatrove.pipeline.base import PipelineStep


class TaskStep[T](PipelineStep):
    """A step of a stage: the same work for each of its items.

    Args:
        stage: name of the stage, for messages.
        name: of the step.
        work: what is done with an item; it and the items are pickled for the processes that work.
        items: one for each task, by its rank.
        tasks: how many there are, of which `items` may be some.
    """

    type = "pdapt"

    def __init__(self, stage: str, name: str, work: Callable[[T], None], items: Mapping[int, T], tasks: int) -> None:
        self.name = name
        super().__init__()
        self.stage, self.work, self.items, self.tasks = stage, work, items, tasks

    def only(self, rank: int) -> "TaskStep[T]":
        """The step with the item of one task."""
        return TaskStep(self.stage, self.name, self.work, items={rank: self.items[rank]}, tasks=self.tasks)

    def run(self, data: Any, rank: int = 0, world_size: int = 1) -> Generator[Any]:
        """Do it for the item of that rank; no documents go from step to step."""
        assert world_size == self.tasks
        with self.track_time():
            self.work(self.items[rank])
        yield from data or ()
