"""The task that a file of questions makes: multiple choice by letters, in the order of the file."""

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ....core.errors import UserError
from ....core.files import read_bytes
from ....core.log import counted
from .own_task import DataFile, OwnTask, json_lines
from .prompt_file import LETTERS, PROMPT_FILE, Prompt
from .question_file import OwnQuestion, QuestionFile, read_question_file

QUESTION_FILES = (".csv", ".jsonl")
EXAMPLES = ".examples"
"""A file of worked examples is called NAME.examples.csv (or .jsonl) beside NAME.csv (or .jsonl)."""
LEAST_QUESTIONS = 2
"""Questions that a score's error can be computed from."""
CONFIG: dict[str, Any] = {
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "prompt",
    "doc_to_choice": "letters",
    "doc_to_target": "answer",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    "metadata": {"version": 1.0},
}
"""The task, in lm-eval's keys: each names a column, so that no text of the user's is a template."""


def is_examples(path: Path) -> bool:
    """Whether a file is by its name one of worked examples."""
    return path.stem.endswith(EXAMPLES)


def task_of_questions(path: Path, name: str) -> OwnTask:
    """The task of a file of questions, with the worked examples and the prompt beside it.

    Raises:
        UserError: a file is no such file, or a worked example is also a question.
    """
    hashes: dict[str, str] = {}
    asked = _read(path, "task", hashes)
    if len(asked.questions) < LEAST_QUESTIONS:
        raise UserError(f"{path.name} holds one question", where=str(path), allowed=f"{LEAST_QUESTIONS} or more")
    shown = _examples(path, asked, hashes)
    prompt = _prompt(path.with_name(PROMPT_FILE), hashes)
    splits = {"test": asked.questions, "dev": shown}
    data = [
        DataFile(split, f"{split}.jsonl", json_lines(_rows(questions, prompt)))
        for split, questions in splits.items()
        if questions
    ]
    examples = {"fewshot_split": "dev", "fewshot_config": {"sampler": "first_n"}} if shown else {}
    return OwnTask(
        name=name,
        group=name,
        config=CONFIG | examples,
        dataset="json",
        options={},
        data=data,
        hashes=hashes,
        texts=[[question.text, *question.options] for question in asked.questions],
        questions=len(asked.questions),
        shots=len(shown),
        file=path,
        taken=_taken(asked, shown, prompted="prompt" in hashes),
    )


def _read(path: Path, role: str, hashes: dict[str, str]) -> QuestionFile:
    data = read_bytes(path)
    hashes[role] = hashlib.sha256(data).hexdigest()
    return read_question_file(data, path)


def _examples(path: Path, asked: QuestionFile, hashes: dict[str, str]) -> list[OwnQuestion]:
    """The worked examples of a file of questions."""
    files = [path.with_name(f"{path.stem}{EXAMPLES}{ending}") for ending in QUESTION_FILES]
    files = [file for file in files if file.exists()]
    if len(files) > 1:
        raise UserError(f"{path.name} has two files of worked examples", where=str(path.parent), fix="keep one of them")
    if not files:
        return []
    shown = _read(files[0], "examples", hashes).questions
    _check_examples(asked.questions, shown, files[0])
    return shown


def _prompt(path: Path, hashes: dict[str, str]) -> Prompt:
    if not path.exists():
        return Prompt()
    data = read_bytes(path)
    hashes["prompt"] = hashlib.sha256(data).hexdigest()
    return Prompt.read(data, path)


def _check_examples(asked: Iterable[OwnQuestion], shown: Iterable[OwnQuestion], path: Path) -> None:
    """Check that no worked example gives a question's answer away."""
    lines = {question.key: question.line for question in asked}
    for example in shown:
        if example.key in lines:
            raise UserError(
                f"the example is the question of line {lines[example.key]}",
                where=f"{path}:{example.line}",
                fix="keep examples apart from questions",
            )


def _rows(questions: list[OwnQuestion], prompt: Prompt) -> Iterator[dict[str, Any]]:
    for question in questions:
        yield {
            "question": question.text,
            "options": question.options,
            "prompt": prompt.render(question.text, question.options),
            "letters": list(LETTERS[: len(question.options)]),
            "answer": question.answer,
        }


def _taken(asked: QuestionFile, shown: list[OwnQuestion], *, prompted: bool) -> str:
    """The files' contents in words, and what of them is not used."""
    sizes = [len(question.options) for question in asked.questions]
    low, high = min(sizes), max(sizes)
    options = f"{low} options" if low == high else f"{low} to {high} options"
    words = (
        f"asked as {PROMPT_FILE} says" if prompted else f"asked with 'Answer:'; {PROMPT_FILE} beside it says otherwise"
    )
    unused = f"; columns not used: {', '.join(asked.unused)}" if asked.unused else ""
    examples = counted(len(shown), "worked example")
    return f"{counted(len(sizes), 'question')} of {options}, {examples}, {words}{unused}"
