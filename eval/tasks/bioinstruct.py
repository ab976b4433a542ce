"""French medical MMLU, read from the file that its authors publish: BioMistral/BioInstructQA, Apache-2.0.

`data.zip` there holds `langs_processed/French-full.json`: one list of records of several corpora, of which those called
`MMLU_<subject>` are read. A record has `identifier`, `corpus_name`, `question_translated`, `options_translated`
(letter -> text), `correct_answer_letter`, and `few_shot_samples[1..3]`, the worked examples that the data set's own
prompts show before it.
"""

import io
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

from ...core import log
from ...core.errors import UserError
from ...core.files import require_file
from ...core.jsonio import shorten
from ...data_prep.documents.values import WHITE, read_values

RECORDS_FILE = "langs_processed/French-full.json"
ALLOWED_FILES = f"data.zip or {RECORDS_FILE}, as BioMistral/BioInstructQA publishes them"
CHOICE_LETTERS = "ABCD"
_READING_ERRORS = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError, ValueError)
"""Errors of reading a file that is not an archive, is cut, encrypted or packed in another way, or is not JSON."""
Record = dict[str, Any]
"""A record of the file, as JSON values."""


@dataclass(frozen=True)
class Question:
    """A question with four choices; `answer` is the index of the right one, 0 to 3."""

    id: str
    question: str
    choices: list[str]
    answer: int

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def read_records(path: Path) -> list[Record]:
    """Read the records on MMLU of `French-full.json`, or of the `data.zip` that holds it; other records are skipped.

    Raises:
        UserError: the file is neither of the two, or is not a list of records.
    """
    try:
        with _opened(path) as stream:
            is_list = stream.read(1024).lstrip(WHITE)[:1] in ("[", "")
        with _opened(path) as stream:
            values = (value for _, value in read_values(stream))
            records = [value for value in values if not isinstance(value, dict) or _is_mmlu(value)]
    except UserError:
        raise
    except _READING_ERRORS as error:
        words = next((word for word in error.args if isinstance(word, str)), type(error).__name__)
        raise UserError(f"{path.name} cannot be read: {words[:200]}", where=str(path), allowed=ALLOWED_FILES) from None
    if not is_list or not all(isinstance(record, dict) for record in records):
        raise UserError(f"{path.name} is not a list of records", where=str(path), allowed=ALLOWED_FILES)
    return records


def _is_mmlu(record: Record) -> bool:
    name = record.get("corpus_name")
    return isinstance(name, str) and name.startswith("MMLU_")


@contextmanager
def _opened(path: Path) -> Iterator[io.TextIOBase]:
    """The text of the records."""
    require_file(path)
    if not zipfile.is_zipfile(path):
        with path.open(encoding="utf-8-sig") as stream:
            yield stream
        return
    with zipfile.ZipFile(path) as archive:
        members = [name for name in archive.namelist() if name.endswith(RECORDS_FILE)]
        if len(members) != 1:
            raise UserError(
                f"the archive holds {len(members)} files called {RECORDS_FILE}", where=str(path), allowed="one"
            )
        with archive.open(members[0]) as member, io.TextIOWrapper(member, encoding="utf-8-sig") as stream:
            yield stream


def questions(records: list[Record], subject: str, where: str) -> list[Question]:
    """A subject's questions, in the file's order.

    Raises:
        UserError: a record lacks its translation, its options are not A to D, or its answer is not one of them; or a
            question occurs twice.
    """
    of_subject = [_question(record, f"{where}: {_identifier(record)}") for record in _records_on(subject, records)]
    ids = [question.id for question in of_subject]
    repeated = sorted({name for name in ids if ids.count(name) > 1})
    if repeated:
        raise UserError(f"MMLU_{subject}: questions that occur twice: {', '.join(repeated)}", where=where)
    return of_subject


def worked_examples(
    records: list[Record], subject: str, test: list[Question], count: int, where: str
) -> list[Question]:
    """The first `count` different examples that the data set shows before a subject's questions.

    An example that is itself a question of `test` is left out, so that no question is its own.

    Raises:
        UserError: the records hold fewer.
    """
    asked = {_normalized(question) for question in test}
    examples: dict[str, Question] = {}
    translated = True
    for record, sample in _samples(records, subject):
        example = _question(sample, f"{where}: an example of {_identifier(record)}", fallback=True)
        if _normalized(example) not in asked and _normalized(example) not in examples:
            examples[_normalized(example)] = replace(example, id=f"{subject}-dev-{len(examples)}")
            translated = translated and "question_translated" in sample
        if len(examples) == count:
            break
    if len(examples) < count:
        raise UserError(
            f"MMLU_{subject}: {len(examples)} of {count} worked examples; questions themselves are left out",
            where=where,
            fix="name a file of records in the same form with --french-shots",
        )
    if not translated:
        log.warn(f"MMLU_{subject}: the data set gives its worked examples untranslated; --french-shots names others")
    return list(examples.values())


def _records_on(subject: str, records: list[Record]) -> list[Record]:
    return [record for record in records if record.get("corpus_name") == f"MMLU_{subject}"]


def _samples(records: list[Record], subject: str) -> Iterator[tuple[Record, Record]]:
    """Each example with its record, once for every record that it precedes; the longest lists first."""
    for shots in (3, 2, 1):
        for record in _records_on(subject, records):
            samples = record.get(f"few_shot_samples[{shots}]")
            for sample in samples if isinstance(samples, list) else []:
                if isinstance(sample, dict):  # others are missed where the number of examples is compared
                    yield record, sample


def _identifier(record: Record) -> str:
    name = record.get("identifier")
    return name if _is_text(name) else "a record without identifier"


def _normalized(question: Question) -> str:
    """Text of a question without case and white space, by which repeated ones are recognized."""
    return " ".join(question.question.split()).casefold()


def _question(record: Record, where: str, *, fallback: bool = False) -> Question:
    """A record's question; with `fallback`, the untranslated one where there is no translation."""
    suffix = "" if fallback and "question_translated" not in record else "_translated"
    question, options = record.get(f"question{suffix}"), record.get(f"options{suffix}")
    answer = record.get("correct_answer_letter")
    if not _is_text(question):
        raise UserError(f"no question{suffix}", where=where, allowed="text")
    if (
        not isinstance(options, dict)
        or sorted(options) != list(CHOICE_LETTERS)
        or not all(map(_is_text, options.values()))
    ):
        raise UserError(f"options{suffix} is {shorten(options)}", where=where, allowed="a text for each of A, B, C, D")
    if not isinstance(answer, str) or answer not in tuple(CHOICE_LETTERS):
        raise UserError(f"correct_answer_letter is {answer!r:.60}", where=where, allowed="A, B, C or D")
    return Question(
        id=_identifier(record),
        question=_unquoted(question),
        choices=[_unquoted(options[letter]) for letter in CHOICE_LETTERS],
        answer=CHOICE_LETTERS.index(answer),
    )


def _is_text(value: Any) -> TypeGuard[str]:
    """Whether a value is text, not blank, and can be encoded: half of a surrogate pair cannot."""
    return isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= char <= "\udfff" for char in value)


def _unquoted(text: str) -> str:
    """The text without the quotation marks that the translation was put between."""
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] == '"' else text
