"""The index of a folder of tasks' data: which files `pdapt eval fetch` made for each task."""

import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ...core.files import read_object
from ...core.jsonio import JsonObject, shorten
from ...core.log import counted
from .all_tasks import ALL_TASKS
from .suite import Benchmark

DATA_INDEX_FILE = "benchmark.json"
"""Task -> `TaskData`."""
DATA_FILE = re.compile(r"[A-Za-z0-9_]+(?:/[A-Za-z0-9_.-]+)*\.(?:parquet|jsonl)")
"""A file below a folder, in one of the two formats that `fetch` writes."""


@dataclass(frozen=True)
class TaskData:
    """A task's data.

    Attributes:
        test: file of the questions, relative to the folder.
        shots: file of the worked examples.
        questions: number of questions.
        self_shots: number of questions that are worked examples, too.
    """

    test: str
    shots: str
    questions: int
    self_shots: int = 0

    @staticmethod
    def from_json(entry: JsonObject, folder: Path) -> "TaskData":
        """Check and take over JSON values.

        Raises:
            UserError: a value is missing or of another type, or a file is not below the folder.
        """
        test, shots = (_file(entry, key, folder) for key in ("test", "shots"))
        return TaskData(test, shots, entry.integer("questions"), entry.integer("self_shots", 0))

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def read_data_index(folder: Path, tasks: list[Benchmark]) -> dict[str, TaskData]:
    """Read which files `fetch` made for tasks: name -> files.

    Raises:
        UserError: `folder` was not made by it, lacks a task, or is damaged.
    """
    index = _read_index(folder)
    missing = [task.name for task in tasks if task.name not in index]
    if missing:
        raise UserError(
            f"the data of {counted(len(missing), 'task')} are missing: {', '.join(missing)}",
            where=str(folder / DATA_INDEX_FILE),
            fix="`pdapt eval fetch`, or choose others with --tasks",
        )
    return {task.name: TaskData.from_json(index.object(task.name), folder) for task in tasks}


def tasks_with_data(folder: Path) -> list[Benchmark]:
    """The tasks whose data are in a folder.

    Raises:
        UserError: `fetch` did not make the folder, or it has no task's data.
    """
    index = _read_index(folder)
    tasks = [task for task in ALL_TASKS.values() if task.name in index]
    if not tasks:
        raise UserError("there are no task's data", where=str(folder / DATA_INDEX_FILE), fix="run `pdapt eval fetch`")
    return tasks


def _read_index(folder: Path) -> JsonObject:
    path = folder / DATA_INDEX_FILE
    if not path.is_file():
        raise UserError(
            f"the tasks' data are missing: there is no {DATA_INDEX_FILE}",
            where=str(folder),
            fix="`pdapt eval fetch --out FOLDER` downloads them",
        )
    return read_object(path)


def _file(entry: JsonObject, key: str, folder: Path) -> str:
    name = entry.text(key)
    if not DATA_FILE.fullmatch(name) or ".." in name:
        raise UserError(f"{shorten(name)} is not a file of {folder}", where=entry.where, fix="run `pdapt eval fetch`")
    return name
