"""French medical MMLU, out of the file that its authors publish: BioMistral/BioInstructQA, Apache-2.0.

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
from pathlib import Path
from typing import Any, TypeGuard

from ...core import log
from ...core.errors import UserError
from ...core.files import require_file
from ...core.jsonio import shorten
from ...data_prep.documents.values import WHITE, read_values

MEMBER = "langs_processed/French-full.json"
ALLOWED = f"data.zip or {MEMBER}, as BioMistral/BioInstructQA publishes them"
LETTERS = "ABCD"
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, RuntimeError, ValueError)
"""What reading raises on an archive that is none, is cut, encrypted or packed otherwise, and on what is not JSON."""
Row = dict[str, Any]
"""`id`, `question`, `choices` (four), `answer` (0 to 3)."""


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records on MMLU of `French-full.json`, or of the `data.zip` that holds it; the others are passed over.

    Raises:
        UserError: neither of the two, or not a list of records.
    """
    try:
        with _opened(path) as stream:
            is_list = stream.read(1024).lstrip(WHITE)[:1] in ("[", "")
        with _opened(path) as stream:
            values = (value for _, value in read_values(stream))
            records = [value for value in values if not isinstance(value, dict) or _is_asked(value)]
    except UserError:
        raise
    except _DAMAGED as error:
        words = next((word for word in error.args if isinstance(word, str)), type(error).__name__)
        raise UserError(f"{path.name} cannot be read: {words[:200]}", where=str(path), allowed=ALLOWED) from None
    if not is_list or not all(isinstance(record, dict) for record in records):
        raise UserError(f"{path.name} is not a list of records", where=str(path), allowed=ALLOWED)
    return records


def _is_asked(record: dict[str, Any]) -> bool:
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
        found = [name for name in archive.namelist() if name.endswith(MEMBER)]
        if len(found) != 1:
            raise UserError(f"the archive holds {len(found)} files called {MEMBER}", where=str(path), allowed="one")
        with archive.open(found[0]) as member, io.TextIOWrapper(member, encoding="utf-8-sig") as stream:
            yield stream


def questions(records: list[dict[str, Any]], subject: str, where: str) -> list[Row]:
    """A subject's questions, in the file's order.

    Raises:
        UserError: a record lacks its translation, its options are not A to D, or its answer is none of them; or a
            question is there twice.
    """
    rows = [_row(record, f"{where}: {_name(record)}") for record in _of(records, subject)]
    ids = [row["id"] for row in rows]
    twice = sorted({name for name in ids if ids.count(name) > 1})
    if twice:
        raise UserError(f"MMLU_{subject}: questions that are there twice: {', '.join(twice)}", where=where)
    return rows


def worked_examples(records: list[dict[str, Any]], subject: str, test: list[Row], count: int, where: str) -> list[Row]:
    """The first `count` different examples that the data set shows before a subject's questions.

    An example that is itself a question of `test` is left out, so that no question is its own.

    Raises:
        UserError: there are fewer.
    """
    asked = {_key(row) for row in test}
    found: dict[str, Row] = {}
    translated = True
    for record, sample in _samples(records, subject):
        row = _row(sample, f"{where}: an example of {_name(record)}", fallback=True)
        if _key(row) not in asked and _key(row) not in found:
            found[_key(row)] = row | {"id": f"{subject}-dev-{len(found)}"}
            translated = translated and "question_translated" in sample
        if len(found) == count:
            break
    if len(found) < count:
        raise UserError(
            f"MMLU_{subject}: {len(found)} worked examples that are not questions themselves, of {count}",
            where=where,
            mend="name a file of records in the same form with --french-shots",
        )
    if not translated:
        log.warn(f"MMLU_{subject}: the data set gives its worked examples untranslated; --french-shots names others")
    return list(found.values())


def _of(records: list[dict[str, Any]], subject: str) -> list[dict[str, Any]]:
    return [record for record in records if record.get("corpus_name") == f"MMLU_{subject}"]


def _samples(records: list[dict[str, Any]], subject: str) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Each example once for every record that it stands before; the longest lists first."""
    for shots in (3, 2, 1):
        for record in _of(records, subject):
            samples = record.get(f"few_shot_samples[{shots}]")
            for sample in samples if isinstance(samples, list) else []:
                if isinstance(sample, dict):  # one that is none is missed where their number is compared
                    yield record, sample


def _name(record: dict[str, Any]) -> str:
    name = record.get("identifier")
    return name if _is_text(name) else "a record without identifier"


def _key(row: Row) -> str:
    return " ".join(row["question"].split()).casefold()


def _row(record: dict[str, Any], where: str, *, fallback: bool = False) -> Row:
    """A record as a row; with `fallback`, one without a translation as it is."""
    suffix = "" if fallback and "question_translated" not in record else "_translated"
    question, options = record.get(f"question{suffix}"), record.get(f"options{suffix}")
    answer = record.get("correct_answer_letter")
    if not _is_text(question):
        raise UserError(f"no question{suffix}", where=where, allowed="text")
    if not isinstance(options, dict) or sorted(options) != list(LETTERS) or not all(map(_is_text, options.values())):
        raise UserError(f"options{suffix} is {shorten(options)}", where=where, allowed="a text for each of A, B, C, D")
    if not isinstance(answer, str) or answer not in tuple(LETTERS):
        raise UserError(f"correct_answer_letter is {answer!r:.60}", where=where, allowed="A, B, C or D")
    return {
        "id": _name(record),
        "question": _unquoted(question),
        "choices": [_unquoted(options[letter]) for letter in LETTERS],
        "answer": LETTERS.index(answer),
    }


def _is_text(value: Any) -> TypeGuard[str]:
    """Whether a value is text that says something, and can be written: half of a surrogate pair cannot."""
    return isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= char <= "\udfff" for char in value)


def _unquoted(text: str) -> str:
    """Without the quotation marks that the translation was put between."""
    return text[1:-1] if len(text) > 2 and text[0] == text[-1] == '"' else text
