"""The data that a task file of lm-eval's names: local files beside it, read as `datasets` reads them."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from ....core.errors import UserError, check_known
from ....core.files import read_bytes, read_jsonl, sha256
from ....core.jsonio import JsonObject, parse_json, shorten
from ....core.log import counted
from ....data_prep.documents.store import parquet_errors
from .own_task import DataFile
from .text_file import decoded, lies_within

ENDINGS = {"json": (".json", ".jsonl"), "csv": (".csv", ".tsv", ".txt"), "parquet": (".parquet",)}
"""lm-eval's `dataset_path` -> endings of its files."""
DELIMITERS = ("delimiter", "sep")
ALLOWED = "dataset_path: json, csv or parquet, and in dataset_kwargs data_files: files beside the task file"
_SPECIAL = ("://", "::", "*", "?", "[", "]", "~")
"""Parts of names by which `datasets` reads from elsewhere, or more files than one."""


@dataclass(frozen=True)
class TaskRows:
    """The files of a task's data, and the rows of those splits that are asked or shown."""

    dataset: str
    options: dict[str, Any]
    files: list[DataFile]
    rows: dict[str, list[dict[str, Any]]]


def read_task_rows(config: dict[str, Any], folder: Path, where: str) -> TaskRows:
    """Read the data of a task file.

    Args:
        config: its keys.
        folder: of the task file, in which the data are.
        where: the task file, for messages.

    Raises:
        UserError: they are on the Hub or elsewhere, a file is missing, or is not what `dataset_path` says.
    """
    dataset = config.get("dataset_path")
    if not isinstance(dataset, str) or dataset not in ENDINGS or config.get("dataset_name") is not None:
        given = dataset if config.get("dataset_name") is None else f"{dataset}, {config['dataset_name']}"
        raise UserError(
            f"the data are {shorten(given)}: they would come from the Hub, or by code",
            where=f"{where}: dataset_path",
            allowed=ALLOWED,
            fix="download them, and name their files",
        )
    options = dict(config.get("dataset_kwargs") or {})
    named = _named(options.pop("data_files", None), where)
    for name in options:
        allowed = DELIMITERS if dataset == "csv" else ()
        check_known(name, ["data_files", *allowed], "option of the data", f"{where}: dataset_kwargs")
    delimiter = next((str(options[name]) for name in DELIMITERS if name in options), ",")
    files, rows = [], {}
    for split, names in named.items():
        for number, name in enumerate(names):
            path = _local(name, folder, ENDINGS[dataset], where)
            rows.setdefault(split, []).extend(_complete(_read(path, dataset, delimiter)))
            files.append(DataFile(split, f"{split}-{number}{path.suffix.lower()}", path, sha256(path)))
    return TaskRows(dataset, options, files, rows)


def _complete(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the same columns, as a table has them."""
    columns = dict.fromkeys(column for row in rows for column in row)
    return [{column: row.get(column) for column in columns} for row in rows]


def _named(data_files: Any, where: str) -> dict[str, list[str]]:
    """Split -> names of its files; without splits there is one, `train`."""
    given = data_files if isinstance(data_files, dict) else {"train": data_files}
    named = {str(split): names if isinstance(names, list) else [names] for split, names in given.items()}
    for split, names in named.items():
        if not split.isidentifier() or not names or not all(isinstance(name, str) and name for name in names):
            raise UserError(
                f"data_files is {shorten(data_files)}",
                where=f"{where}: dataset_kwargs",
                allowed="a line such as `data_files: {test: questions.jsonl}`",
            )
    return named


def _local(name: str, folder: Path, endings: tuple[str, ...], where: str) -> Path:
    """A file that lies in the folder of the task file."""
    path = folder / name
    if any(part in name for part in _SPECIAL) or not lies_within(name, folder, folder):
        raise UserError(
            f"the data file {shorten(name)} is not in the folder of the task file",
            where=f"{where}: data_files",
            allowed="the plain name of a file beside it, or below",
        )
    if path.suffix.lower() not in endings:
        raise UserError(
            f"the data file is {shorten(name)}", where=f"{where}: data_files", allowed=f"a name in {', '.join(endings)}"
        )
    if not path.is_file():
        raise UserError(f"the data file {shorten(name)} is missing", where=f"{where}: data_files", fix=str(path))
    return path


def _read(path: Path, dataset: str, delimiter: str) -> list[dict[str, Any]]:
    if dataset == "parquet":
        with parquet_errors(path):
            return pq.read_table(path).to_pylist()
    data = read_bytes(path)
    if not data.strip():
        raise UserError(f"{path.name} is empty", where=str(path))
    text = decoded(data, path)
    if text.encode() != data:
        raise UserError(f"{path.name} is not plain UTF-8", where=str(path), fix="save it without a byte order mark")
    if dataset == "csv":
        return _csv_rows(text, path, delimiter)
    if text.lstrip().startswith("["):
        return [JsonObject(row, str(path)).values for row in parse_json(text, str(path))]
    return [row.values for row in read_jsonl(path)]


def _csv_rows(text: str, path: Path, delimiter: str) -> list[dict[str, Any]]:
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if row]
    except (csv.Error, TypeError) as error:
        raise UserError(f"{path.name} is not CSV: {error}", where=str(path)) from None
    names = rows[0]
    for row in rows[1:]:
        if len(row) != len(names):
            raise UserError(f"a row of {counted(len(row), 'field')}, and the header has {len(names)}", where=str(path))
    columns = [_numbers(column) for column in zip(*rows[1:], strict=True)]
    return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]


def _numbers(column: tuple[str, ...]) -> tuple[str, ...] | tuple[int, ...]:
    """A column as pandas takes it, where all of its cells are whole numbers: such as places of right choices."""
    return tuple(map(int, column)) if all(cell.isascii() and cell.isdigit() for cell in column) else column
