"""Questions that training has seen: a list of them, and which answers that leaves."""

import json
from pathlib import Path

import numpy as np

from ..core.errors import UserError, check_known
from .cells import Answers
from .suite import TASKS


def read_contaminated(path: Path) -> dict[str, set[str]]:
    """Read a list of contaminated questions: a line {"task", "doc_id"} or {"task", "doc_hash"} for each.

    Raises:
        UserError: a line is none of these, or names a task that is not of the 28.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path.name}", where=str(path), mend="check the path")
    found: dict[str, set[str]] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), start=1):
        try:
            row = json.loads(line)
            task, question = str(row["task"]), row["doc_id"] if "doc_id" in row else row["doc_hash"]
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
            raise UserError(
                f"not a contaminated question: {error!r}",
                where=f"{path}:{number}",
                allowed='{"task": "mmlu_anatomy", "doc_id": 3}, or doc_hash in the place of doc_id',
            ) from None
        check_known(task, TASKS, "task", f"{path}:{number}")
        found.setdefault(task, set()).add(str(question))
    return found


def kept(answers: Answers, contaminated: dict[str, set[str]]) -> np.ndarray:
    """Which questions are not contaminated; [questions] of bool."""
    out = contaminated.get(answers.task, set())
    return np.array([not out.intersection(key.split(":", 1)) for key in answers.keys], bool)
