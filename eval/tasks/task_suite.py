"""Tasks in groups, as results and reports see them: the paper's 28, or those of any lm-eval results."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class RequestKind(StrEnum):
    """The kind of lm-eval's requests: to write an answer, or to compute the likelihood of each choice."""

    GENERATE = "generate_until"
    LOGLIKELIHOOD = "loglikelihood"


class ScoredTask(Protocol):
    """The part of a task that results and reports need."""

    @property
    def name(self) -> str:
        """Its name in lm-eval."""
        ...

    @property
    def group(self) -> str:
        """The group whose average it counts in."""
        ...

    @property
    def abbreviation(self) -> str:
        """The head of its column."""
        ...

    @property
    def metric(self) -> str:
        """lm-eval's name of the score."""
        ...

    @property
    def filter(self) -> str:
        """lm-eval's name of the filter of answers that the score is of."""
        ...

    @property
    def score_key(self) -> str:
        """Key of the score in lm-eval's results."""
        ...

    @property
    def generates(self) -> bool:
        """Whether the model writes an answer."""
        ...

    @property
    def has_choices(self) -> bool:
        """Whether log-probabilities of choices are compared, of which the target is one's index."""
        ...

    @property
    def measures(self) -> tuple[str, ...]:
        """lm-eval's names of other scores that its samples state of each answer, such as how it was wrong."""
        ...


class AskedTask(ScoredTask, Protocol):
    """The part of a task that a run needs, too."""

    @property
    def shots(self) -> int:
        """Worked examples before each question."""
        ...

    @property
    def answer_tokens(self) -> int | None:
        """Tokens that an answer may have; None where choices are compared."""
        ...


class TaskBase:
    """Base of tasks: what follows from the name of a task's score, and from how it is answered."""

    @property
    def score_key(self: ScoredTask) -> str:
        """See `ScoredTask`."""
        return f"{self.metric},{self.filter}"

    @property
    def has_choices(self: ScoredTask) -> bool:
        """See `ScoredTask`."""
        return not self.generates

    @property
    def measures(self) -> tuple[str, ...]:
        """See `ScoredTask`; none."""
        return ()

    @property
    def kind(self: ScoredTask) -> RequestKind:
        """The kind of lm-eval's requests."""
        return RequestKind.GENERATE if self.generates else RequestKind.LOGLIKELIHOOD


@dataclass(frozen=True)
class OtherTask(TaskBase):
    """A task that is not the paper's; see `ScoredTask`."""

    name: str
    group: str
    metric: str
    filter: str
    output_type: str

    @property
    def abbreviation(self) -> str:
        """The head of its column: its name."""
        return self.name

    @property
    def generates(self) -> bool:
        """Whether the model writes an answer."""
        return self.output_type == RequestKind.GENERATE

    @property
    def has_choices(self) -> bool:
        """See `ScoredTask`: lm-eval compares log-probabilities of other texts than choices, too."""
        return self.output_type == "multiple_choice"


@dataclass(frozen=True)
class TaskSuite:
    """Tasks in groups.

    Attributes:
        tasks: by name, in the order of tables.
        groups: in the order of a page.
        target: the group that models are adapted for, and by which a checkpoint is chosen; None where nobody says.
    """

    tasks: Mapping[str, ScoredTask]
    groups: tuple[str, ...]
    target: str | None

    def of_group(self, group: str) -> list[ScoredTask]:
        """The tasks of a group."""
        return [task for task in self.tasks.values() if task.group == group]

    def is_target(self, task: str) -> bool:
        """Whether a task is of the target group."""
        return self.tasks[task].group == self.target


def union(suites: Iterable[TaskSuite]) -> TaskSuite:
    """The tasks of several suites; the target is the first one's."""
    every = list(suites)
    tasks = {name: task for suite in every for name, task in suite.tasks.items()}
    groups = tuple(dict.fromkeys(group for suite in every for group in suite.groups))
    return TaskSuite(tasks, groups, every[0].target)
