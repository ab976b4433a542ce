"""Questions that training has seen: a list of them, and which answers that leaves."""

from pathlib import Path

import numpy as np

from ...core.errors import UserError, check_known
from ...core.files import read_lines
from ...core.jsonio import JsonObject, parse_json
from ..benchmark.cells import Answers
from ..tasks.suite import TASKS


def read_contaminated(path: Path) -> dict[str, set[str]]:
    """Read a list of contaminated questions: a line {"task", "doc_id"} or {"task", "doc_hash"} for each.

    Raises:
        UserError: a line is none of these, or names a task that is not of the 28.
    """
    found: dict[str, set[str]] = {}
    for where, line in read_lines(path):
        try:
            row = JsonObject(parse_json(line, where), where)
            task, question = row.text("task"), row.integer("doc_id") if "doc_id" in row else row.text("doc_hash")
        except UserError as error:
            raise UserError(
                f"not a contaminated question: {error.what}",
                where=where,
                allowed='{"task": "mmlu_anatomy", "doc_id": 3}, or doc_hash in the place of doc_id',
            ) from None
        check_known(task, TASKS, "task", where)
        found.setdefault(task, set()).add(str(question))
    return found


def kept(answers: Answers, contaminated: dict[str, set[str]]) -> np.ndarray:
    """Which questions are not contaminated; [questions] of bool."""
    out = contaminated.get(answers.task, set())
    return np.array([not out.intersection(key.split(":", 1)) for key in answers.keys], bool)
