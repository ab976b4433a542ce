"""Files of questions, options and answers, as people write them: CSV or JSON lines.

Columns of a CSV file, or keys of each line's object: `question`; the options in `A`, `B`, `C`, ... (those at the end
may be empty), or as a list, `options`, in JSON lines; and `answer`, the letter of the right option or its text.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ....core.errors import UserError, nearest
from ....core.jsonio import JsonObject, parse_json, shorten
from ....core.log import counted
from ....data_prep.documents.content import csv_columns
from ....data_prep.documents.formats import table_rows
from ....data_prep.documents.record import Rejected
from .prompt_file import LETTERS
from .text_file import decoded

QUESTION, OPTIONS, ANSWER = "question", "options", "answer"
FORM = "question; A, B, C, ... (in JSON lines also options, a list of texts); answer, the right option's letter or text"
_WHITE = "\ufeff \t\r\n"


@dataclass(frozen=True)
class OwnQuestion:
    """A question of the user's; `answer` is the index of the right one among its options, `line` that of the file."""

    text: str
    options: tuple[str, ...]
    answer: int
    line: int

    @property
    def key(self) -> tuple[str, ...]:
        """By which repeated questions are recognised: text and options without case, white space and order."""
        return (_folded(self.text), *sorted(map(_folded, self.options)))


@dataclass(frozen=True)
class QuestionFile:
    """The questions of a file, and the names of columns that are not used."""

    questions: list[OwnQuestion]
    unused: list[str]


@dataclass(frozen=True)
class _Row:
    """A row of either kind of file: its line, and its values by column, in lower case."""

    line: int
    fields: dict[str, Any]


def read_question_file(data: bytes, path: Path) -> QuestionFile:
    """Read questions, in their order.

    Args:
        data: the file's bytes.
        path: the file, for messages and for its ending: .csv or .jsonl.

    Raises:
        UserError: there are none, a column is missing, a row is no question with two options or more of which one is
            the answer, or a question occurs twice; says the line.
    """
    text = decoded(data, path)
    rows = list(_csv_rows(text, path) if path.suffix.lower() == ".csv" else _json_rows(text, path))
    if not rows:
        raise UserError(f"{path.name} holds no questions", where=str(path), allowed=FORM)
    columns = list(dict.fromkeys(name for row in rows for name in row.fields))
    letters = _letters(columns, path)
    questions = [_question(row, letters, f"{path}:{row.line}") for row in rows]
    check_distinct(questions, path)
    used = {QUESTION, OPTIONS, ANSWER, *letters}
    return QuestionFile(questions, [name for name in columns if name not in used])


def check_distinct(questions: list[OwnQuestion], path: Path) -> None:
    """Check that no question occurs twice with the same options.

    Raises:
        UserError: one does; says both lines.
    """
    first: dict[tuple[str, ...], OwnQuestion] = {}
    for question in questions:
        before = first.setdefault(question.key, question)
        if before is not question:
            raise UserError(
                f"the question of line {before.line} appears again: {shorten(question.text)}",
                where=f"{path}:{question.line}",
                fix="keep one of them: a question that counts twice makes intervals too narrow",
            )


def _folded(text: str) -> str:
    return " ".join(text.split()).casefold()


def _csv_rows(text: str, path: Path) -> Iterator[_Row]:
    """The rows below the header; the delimiter is the one by which it has a column `question`, or most columns."""
    columns, delimiter = csv_columns(text.lstrip(_WHITE), QUESTION)
    names: list[str] | None = None
    for row in table_rows(io.StringIO(text, newline=""), delimiter, str(path)):
        if isinstance(row, Rejected):
            raise UserError(
                row.reason, where=f"{path}:{row.line}", allowed="CSV, with quotes around texts of many lines"
            )
        if not any(cell.strip() for cell in row.cells):
            continue
        if names is None:
            if not row.cells[0].startswith("sep="):
                names = _names(list(columns), f"{path}:{row.line}")
        elif len(row.cells) != len(names):
            raise UserError(
                f"{counted(len(row.cells), 'field')}, and the header has {len(names)}",
                where=f"{path}:{row.line}",
                fix=f"put a text that holds {delimiter!r} between quotes",
            )
        else:
            yield _Row(row.line, dict(zip(names, row.cells, strict=True)))


def _json_rows(text: str, path: Path) -> Iterator[_Row]:
    if text.lstrip(_WHITE).startswith("["):
        raise UserError("this is a JSON array", where=f"{path}:1", allowed="JSON lines: an object in each line")
    for line, content in enumerate(io.StringIO(text), 1):
        if content.strip(_WHITE):
            where = f"{path}:{line}"
            values = JsonObject(parse_json(content, where), where).values
            names = _names(list(values), where)
            yield _Row(line, dict(zip(names, values.values(), strict=True)))


def _names(columns: list[str], where: str) -> list[str]:
    """Names of columns in lower case; those that are to be used must differ."""
    names = [column.strip().casefold() for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"the column {twice[0]!r} appears twice", where=where)
    for wanted in (QUESTION, ANSWER):
        if wanted not in names:
            raise UserError(
                f"there is no column {wanted!r}: {', '.join(columns)[:200]}",
                where=where,
                allowed=FORM,
                fix=nearest(wanted, names),
            )
    return names


def _letters(columns: list[str], path: Path) -> list[str]:
    """The columns of options, from `a` on; none where options are lists."""
    letters = [name for name in map(str.casefold, LETTERS) if name in columns]
    expected = list(LETTERS.casefold()[: len(letters)])
    if letters != expected:
        missing = next(name for name in expected if name not in letters)
        raise UserError(f"there is no column {missing.upper()!r}", where=f"{path}:1", allowed=FORM)
    if not letters and (OPTIONS not in columns or path.suffix.lower() == ".csv"):
        raise UserError("there are no columns of options", where=f"{path}:1", allowed=FORM)
    if letters and OPTIONS in columns:
        raise UserError("there are both options and columns A, B, ...", where=f"{path}:1", allowed="one of the two")
    return letters


def _question(row: _Row, letters: list[str], where: str) -> OwnQuestion:
    text = _text(row.fields.get(QUESTION), QUESTION, where)
    options = _options(row, letters, where)
    return OwnQuestion(text, options, _answer(row.fields.get(ANSWER), options, where), row.line)


def _text(value: Any, what: str, where: str) -> str:
    if not isinstance(value, str):
        wrong = "missing" if value is None else shorten(value)
        raise UserError(f"{what} is {wrong}", where=where, allowed="text, in JSON between quotes")
    if not value.strip():
        raise UserError(f"{what} is empty", where=where, allowed="text")
    return value.strip()


def _options(row: _Row, letters: list[str], where: str) -> tuple[str, ...]:
    given = [row.fields.get(letter) for letter in letters] if letters else row.fields.get(OPTIONS)
    if not isinstance(given, list):
        raise UserError(f"options is {shorten(given)}", where=where, allowed="a list of texts")
    while letters and given and (given[-1] is None or given[-1] == "" or str(given[-1]).isspace()):
        given = given[:-1]
    if not 2 <= len(given) <= len(LETTERS):
        raise UserError(
            counted(len(given), "option"), where=where, allowed=f"2 to {len(LETTERS)} options of a question"
        )
    options = tuple(_text(value, f"option {LETTERS[place]}", where) for place, value in enumerate(given))
    twice = [option for place, option in enumerate(options) if option in options[:place]]
    if twice:
        raise UserError(f"two options are the same: {shorten(twice[0])}", where=where)
    return options


def _answer(value: Any, options: tuple[str, ...], where: str) -> int:
    """Index of the right option."""
    allowed = f"a letter from A to {LETTERS[len(options) - 1]}, or the text of one of the options"
    if isinstance(value, int):
        raise UserError(f"answer is the number {value}", where=where, allowed=f"{allowed}; numbers begin at 0 or at 1")
    answer = _text(value, ANSWER, where)
    by_letter = LETTERS.index(answer) if answer in tuple(LETTERS[: len(options)]) else None
    by_text = options.index(answer) if answer in options else None
    if by_letter is not None and by_text is not None and by_letter != by_text:
        raise UserError(
            f"answer is {answer!r}, the letter of one option and the text of another",
            where=where,
            fix=f"move the option {answer!r} to the letter {answer}, or change its text",
        )
    place = by_letter if by_letter is not None else by_text
    if place is None:
        raise UserError(f"answer is {shorten(answer)}, which is none of the options", where=where, allowed=allowed)
    return place
