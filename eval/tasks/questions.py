"""The questions of the tasks with their choices, as `pdapt eval fetch` has put them into a folder."""

from pathlib import Path
from typing import Any

from ...core.errors import UserError
from ...core.files import read_jsonl
from ...core.log import counted
from ..clinical.documents.document_tasks import DocumentTask
from ..clinical.numbers.number_tasks import NumberTask
from .data_index import read_data_index
from .fetch import REQUIRED_COLUMNS, read_columns, texts_of_questions
from .suite import Benchmark


def read_questions(folder: Path, tasks: list[Benchmark]) -> dict[str, list[list[str]]]:
    """The questions of each task, in the order of lm-eval's `doc_id`: the text of each, then its choices.

    Of a question on a text, it is that text.

    Raises:
        UserError: `folder` was not made by `fetch`, lacks a task, or is damaged.
    """
    index = read_data_index(folder, tasks)
    return {task.name: _questions(folder / index[task.name].test, task) for task in tasks}


def _questions(path: Path, task: Benchmark) -> list[list[str]]:
    if isinstance(task, NumberTask | DocumentTask):
        rows = list(read_jsonl(path))
        asked = [row.text("text") for row in rows]
        choices = [row.list("choices") if "choices" in row else [] for row in rows]
    elif path.suffix == ".jsonl":
        rows = list(read_jsonl(path))
        asked, choices = [row.text("question") for row in rows], [row.list("choices") for row in rows]
    else:
        asked, choices = texts_of_questions(path, task), _choices(path, task)
    if not all(isinstance(choice, str) for each in choices for choice in each):
        raise UserError(f"{task.name}: a choice is not text", where=str(path))
    if len(asked) != len(choices):  # a column of a damaged file may be shorter than another
        what = f"{task.name}: {counted(len(asked), 'question')} and the choices of {len(choices):,}"
        raise UserError(what, where=str(path), fix="`pdapt eval fetch` into a new folder")
    return [[text, *each] for text, each in zip(asked, choices, strict=True)]


def _choices(path: Path, task: Benchmark) -> list[list[Any]]:
    """The choices of each question in a Parquet file: in a column, or in one for each, where some may be empty."""
    columns = sorted(name for name in REQUIRED_COLUMNS[task.dataset] if name == "choices" or name.startswith("option_"))
    rows = read_columns(path, task, columns)
    if columns == ["choices"]:
        if not all(isinstance(row["choices"], list) for row in rows):
            raise UserError(f"{task.name}: the choices are not lists", where=str(path))
        return [row["choices"] for row in rows]
    return [[choice for choice in row.values() if choice is not None] for row in rows]
