"""The task that a task file of lm-eval's makes, checked on every row of its data."""

from typing import Any

from ....core.errors import UserError
from ....core.log import counted
from ..task_suite import RequestKind
from .own_task import OwnTask
from .task_rows import TaskRows, read_task_rows
from .task_templates import Templates, check_choices
from .task_yaml import SPLITS, TEMPLATES, TaskYaml, check_task

LEAST_QUESTIONS = 2
"""Questions that a score's error can be computed from."""
Row = dict[str, Any]


def task_of_yaml(task: TaskYaml, name: str, group: str) -> OwnTask:
    """The task of a task file.

    Raises:
        UserError: see `check_task` and `read_task_rows`; a split has no data, a template fails, or an answer is none of
            the choices.
    """
    path, where = task.path, str(task.path)
    config = check_task(task)
    data = read_task_rows(task.config, path.parent, where)
    asked, shown = _splits(config, data, where)
    shots = _shots(task.config, config, shown, where)
    if len(asked) < LEAST_QUESTIONS:
        raise UserError(
            counted(len(asked), "question"), where=f"{where}: data_files", allowed=f"{LEAST_QUESTIONS} or more"
        )
    columns = list(dict.fromkeys(column for row in asked for column in row))
    _check_templates(config, columns, where)
    _check_rows(config, asked, columns, where)
    return OwnTask(
        name=name,
        group=group,
        config=config,
        dataset=data.dataset,
        options=data.options,
        data=data.files,
        hashes=task.hashes | {f"data {file.name}": file.sha256 for file in data.files},
        texts=_texts(task.config, asked, columns, where),
        questions=len(asked),
        shots=shots,
        file=path,
        taken=f"{counted(len(asked), 'question')}, {counted(shots, 'worked example')} before each",
    )


def _splits(config: dict[str, Any], data: TaskRows, where: str) -> tuple[list[Row], list[Row] | None]:
    """The rows that are asked, and those that worked examples are taken from, if a split has them."""
    shots_split = (config.get("fewshot_config") or {}).get("split")
    for key, split in [*((key, config.get(key)) for key in SPLITS), ("fewshot_config", shots_split)]:
        if split is not None and split not in data.rows:
            raise UserError(
                f"{key} is {split!r}, and data_files has no file of it", where=where, allowed=", ".join(data.rows)
            )
    asked = config.get("test_split") or config.get("validation_split")
    if asked is None:
        raise UserError("test_split is missing", where=where, allowed=", ".join(data.rows))
    shown = shots_split or config.get("fewshot_split")
    return data.rows[asked], data.rows[shown] if shown else None


def _shots(stated: dict[str, Any], config: dict[str, Any], shown: list[Row] | None, where: str) -> int:
    """The number of worked examples, of which there are enough."""
    shots = stated.get("num_fewshot") or 0
    if not isinstance(shots, int) or isinstance(shots, bool) or shots < 0:
        raise UserError(f"num_fewshot is {shots!r}", where=where, allowed="0 or more")
    samples = (config.get("fewshot_config") or {}).get("samples")
    pool = shown if shown is not None else samples if isinstance(samples, list) else []
    if len(pool) < shots:
        raise UserError(
            f"num_fewshot is {shots}, and there are {counted(len(pool), 'worked example')}",
            where=where,
            fix="name a split that has them (fewshot_split), apart from the questions",
        )
    return shots


def _check_templates(config: dict[str, Any], columns: list[str], where: str) -> None:
    templates, shots = Templates(columns), config.get("fewshot_config") or {}
    for keys, place in ((config, where), (shots, f"{where}: fewshot_config")):
        for key in TEMPLATES:
            if isinstance(keys.get(key), str):
                templates.check(keys[key], f"{place}: {key}")


def _check_rows(config: dict[str, Any], rows: list[Row], columns: list[str], where: str) -> None:
    """Render what is asked of every row."""
    templates = Templates(columns)
    for number, row in enumerate(rows, 1):
        place = f"{where}: question {number}"
        text = templates.text(str(config["doc_to_text"]), row, f"{place}: doc_to_text")
        if not isinstance(text, str) or not text.strip():
            raise UserError("nothing is asked", where=f"{place}: doc_to_text", allowed="a text")
        answer = templates.value(config["doc_to_target"], row, f"{place}: doc_to_target")
        if config["output_type"] == RequestKind.GENERATE:
            if answer is None or answer in ("", []):
                raise UserError("there is no answer", where=f"{place}: doc_to_target")
            continue
        choices = config["doc_to_choice"]
        choices = list(choices.values()) if isinstance(choices, dict) else choices
        check_choices(templates.value(choices, row, f"{place}: doc_to_choice"), answer, place)


def _texts(stated: dict[str, Any], rows: list[Row], columns: list[str], where: str) -> list[list[str]] | None:
    """The text of each question, in lm-eval's key for the search in a corpus; None where the file does not say."""
    column = stated.get("doc_to_decontamination_query")
    if column is None:
        return None
    if column not in columns or not all(isinstance(row.get(column), str) for row in rows):
        raise UserError(
            f"doc_to_decontamination_query is {column!r}",
            where=where,
            allowed=f"a column of text: {', '.join(columns)}",
        )
    return [[row[column]] for row in rows]
