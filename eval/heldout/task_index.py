"""The index of a folder of tasks that were made from held-out text."""

import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

from ...core.errors import UserError, check_known
from ...core.files import read_objects
from ...core.jsonio import JsonObject, shorten

TASKS_FILE = "tasks.json"
"""A list of `HeldoutTask`."""
DOMAIN_NAME = r"[a-z0-9-]+"


class TaskKind(StrEnum):
    """The measure of a task: perplexity of documents, or choosing the true continuation of a passage."""

    PERPLEXITY = "perplexity"
    CONTINUATION = "continuation"


@dataclass(frozen=True)
class HeldoutTask:
    """A task made from held-out text.

    Attributes:
        task: the task's name for lm-eval.
        kind: what the task asks: `perplexity` or `continuation`.
        domain: domain of the text.
    """

    task: str
    kind: TaskKind
    domain: str

    @staticmethod
    def of(kind: TaskKind, domain: str) -> "HeldoutTask":
        """The task of a kind for a domain."""
        return HeldoutTask(f"{kind}_{domain}", kind, domain)

    @staticmethod
    def from_json(row: JsonObject) -> "HeldoutTask":
        """Check and take over JSON values.

        Raises:
            UserError: a value is missing or of another type, or the name is not that of the kind and domain.
        """
        kind, domain = row.text("kind"), row.text("domain")
        check_known(kind, list(TaskKind), "kind of task", row.where)
        task = HeldoutTask.of(TaskKind(kind), domain)
        if not re.fullmatch(DOMAIN_NAME, domain) or row.text("task") != task.task:
            raise UserError(f"{shorten(row.text('task'))} is not a task of {shorten(domain)}", where=row.where)
        return task

    def to_json(self) -> dict[str, str]:
        """As JSON values."""
        return asdict(self)


def read_tasks(folder: Path) -> list[HeldoutTask]:
    """Read the tasks of a folder that `build_tasks` has made.

    Raises:
        UserError: the folder has none, or its index is damaged.
    """
    return [HeldoutTask.from_json(row) for row in read_objects(folder / TASKS_FILE)]
