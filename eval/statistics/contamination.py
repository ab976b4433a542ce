"""Contaminated questions, which training has seen: a list of them, and the answers to the others."""

from collections.abc import Collection
from pathlib import Path

import numpy as np

from ...core.errors import UserError, check_known
from ...core.files import read_lines
from ...core.jsonio import JsonObject, parse_json
from ..benchmark.read_results import Answers


def read_contaminated(path: Path, tasks: Collection[str]) -> dict[str, set[str]]:
    """Read a list of contaminated questions: a line {"task", "doc_id"} or {"task", "doc_hash"} for each.

    Raises:
        UserError: a line has another form, or names a task that is not among `tasks`.
    """
    contaminated: dict[str, set[str]] = {}
    for where, line in read_lines(path):
        try:
            row = JsonObject(parse_json(line, where), where)
            task, question = row.text("task"), row.integer("doc_id") if "doc_id" in row else row.text("doc_hash")
        except UserError as error:
            raise UserError(
                f"the line does not name a contaminated question: {error.what}",
                where=where,
                allowed='{"task": "mmlu_anatomy", "doc_id": 3}, or doc_hash instead of doc_id',
            ) from None
        check_known(task, list(tasks), "task", where)
        contaminated.setdefault(task, set()).add(str(question))
    return contaminated


def uncontaminated(answers: Answers, contaminated: dict[str, set[str]]) -> np.ndarray:
    """Whether each question is not contaminated; [questions] of bool."""
    listed = contaminated.get(answers.task, set())
    return np.array([not listed.intersection(key.split(":", 1)) for key in answers.keys], bool)
