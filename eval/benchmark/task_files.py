"""The files of a task, as a run needs them: those that lm-eval reads, and those whose hashes its results carry."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import yaml

from ...core.errors import UserError
from ...core.files import write_text
from ..tasks.data_index import TaskData, read_data_index
from ..tasks.own.own_task import OwnTask
from ..tasks.select_tasks import FETCH, AnyTask, of_suite
from ..tasks.suite import Benchmark


class TaskFiles(Protocol):
    """A task's files."""

    @property
    def inputs(self) -> Mapping[str, Path | str]:
        """Name -> file, or its SHA-256."""
        ...

    @property
    def questions(self) -> int:
        """The number of questions."""
        ...

    def write(self, folder: Path) -> None:
        """Write the task file that lm-eval runs into a folder."""
        ...


@dataclass(frozen=True)
class FetchedFiles:
    """A task of the suite, whose `data` lie in a `folder` made by `fetch`."""

    task: Benchmark
    data: TaskData
    folder: Path

    @property
    def inputs(self) -> dict[str, Path]:
        """See `TaskFiles`."""
        return {
            "task": self.task.task_file,
            "test": self.folder / self.data.test,
            "shots": self.folder / self.data.shots,
        }

    @property
    def questions(self) -> int:
        """See `TaskFiles`; the suite may state more than a data set holds."""
        return min(self.task.questions, self.data.questions)

    def write(self, folder: Path) -> None:
        """See `TaskFiles`."""
        write_task_file(self.task, self.data, self.folder, folder)


def files_of_tasks(tasks: Sequence[AnyTask], data: Path | None) -> dict[str, TaskFiles]:
    """Name of each task -> its files.

    Args:
        tasks: the tasks.
        data: a folder made by `fetch`; None where no task is of the suite.

    Raises:
        UserError: it is missing, was not made by `fetch`, or lacks a task.
    """
    own: dict[str, TaskFiles] = {task.name: task for task in tasks if isinstance(task, OwnTask)}
    fetched = of_suite(list(tasks))
    if not fetched:
        return own
    if data is None:
        raise UserError(
            f"{fetched[0].name} needs the tasks' data",
            where="--data",
            fix=FETCH,
        )
    index = read_data_index(data, fetched)
    return {task.name: FetchedFiles(task, index[task.name], data) for task in fetched} | own


def fetched_names(files: Mapping[str, TaskFiles]) -> list[str]:
    """The files of the suite's tasks, as names in the folder that `fetch` made, each once."""
    fetched = [each.data for each in files.values() if isinstance(each, FetchedFiles)]
    return sorted({name for data in fetched for name in (data.test, data.shots)})


def write_task_file(task: Benchmark, files: TaskData, data: Path, folder: Path) -> None:
    """Write the task file that is run: it includes the packaged one, and changes the paths of its data only."""
    suffix = Path(files.test).suffix
    paths = {"test": files.test, task.shots_split: files.shots}
    value = {
        "include": str(task.task_file),
        "dataset_path": {".parquet": "parquet", ".jsonl": "json"}[suffix],
        "dataset_name": None,
        "dataset_kwargs": {"data_files": {split: str((data / path).resolve()) for split, path in paths.items()}},
    }
    write_text(folder / f"{task.name}.yaml", yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
