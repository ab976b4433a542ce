"""Readers for the formats in which French medical corpora are published."""

import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..core.errors import UserError
from .records import Input, Record, read_lines, read_text, split_of

SPEAKERS = {"d": "Médecin", "p": "Patient"}
TURN = re.compile(r"([dp])\d+\s+(.*)")


def read_json_text(file: Path) -> Any:
    """A JSON value.

    Raises:
        UserError: the file is not JSON; says the line.
    """
    try:
        return json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise UserError(f"not JSON: {error.msg}", where=f"{file}:{error.lineno}") from None


def read_e3c(source: Input) -> Iterator[Record]:
    """E3C: an object a file, its `text` the document; `type` and `licence` are the document's own."""
    for file in source.files:
        name = source.name(file)
        value = read_json_text(file)
        if not isinstance(value, dict) or not isinstance(value.get("text"), str):
            raise UserError("the JSON object has no string 'text'", where=str(file))
        yield Record(name, value["text"], split_of(name), value.get("type", ""), value.get("licence", ""))


def read_frenchmedmcqa(source: Input) -> Iterator[Record]:
    """FrenchMedMCQA: a list of questions a file; a document is a question, its options and the right ones."""
    for file in source.files:
        name = source.name(file)
        for number, question in enumerate(read_json_text(file), 1):
            try:
                text = _question_text(question)
            except (KeyError, TypeError) as error:
                raise UserError(
                    f"question {number} is not as FrenchMedMCQA's: {error}",
                    where=str(file),
                    allowed="a list of objects with question, answers {letter: text} and correct_answers [letter]",
                ) from None
            yield Record(f"{name}#{number}", text, split_of(name))


def _question_text(question: dict[str, Any]) -> str:
    options = {letter: f"{letter.upper()}. {text}" for letter, text in question["answers"].items()}
    right = [options[letter] for letter in question["correct_answers"]]
    label = "Réponse" if len(right) == 1 else "Réponses"
    return "\n".join([question["question"], *options.values(), f"{label} : {' ; '.join(right)}"])


def read_mqc(source: Input) -> Iterator[Record]:
    """MQC: a consultation a file named `dialogues`, a turn a line, `d` the doctor's and `p` the patient's."""
    for file in source.files:
        turns = [_turn(line, file, number) for number, line in read_lines(file) if line.strip()]
        yield Record(source.name(file), "\n".join(turns))


def _turn(line: str, file: Path, number: int) -> str:
    match = TURN.match(line)
    if not match:
        raise UserError(
            "a turn names no speaker",
            where=f"{file}:{number}",
            allowed="lines of 'd' (doctor) or 'p' (patient), a number, a blank and what is said",
        )
    return f"{SPEAKERS[match[1]]} : {match[2]}"


BDPM_TABLES: dict[str, tuple[int, int, str]] = {
    "CIS_bdpm": (12, 0, "{1}\nForme : {2}\nVoie d'administration : {3}\nStatut : {4}, {6}\nTitulaire : {10}"),
    "CIS_COMPO_bdpm": (8, 0, "Composition ({1}) : {3}, {4} pour {5}"),
    "CIS_CPD_bdpm": (2, 0, "Conditions de prescription et de délivrance : {1}"),
    "CIS_GENER_bdpm": (5, 2, "Groupe générique : {1}"),
    "CIS_HAS_SMR_bdpm": (6, 0, "Service médical rendu ({4}) : {5}"),
    "CIS_HAS_ASMR_bdpm": (6, 0, "Amélioration du service médical rendu ({4}) : {5}"),
}
"""Tables of the French drug database: columns, the one that holds the drug's CIS code, and a row as text."""


def bdpm_table(file: Path) -> str | None:
    """The table that a file holds, by its name, or None."""
    name = file.name.split(".")[0]
    return name if name in BDPM_TABLES and file.suffix == ".txt" else None


def read_bdpm(source: Input) -> Iterator[Record]:
    """BDPM: tab-separated tables without a header; a document is what they say of one drug, by its CIS code.

    The tables are joined in memory (some tens of megabytes).
    """
    order = list(BDPM_TABLES)
    drugs: dict[str, list[str]] = defaultdict(list)
    for file in sorted(source.files, key=lambda file: order.index(bdpm_table(file) or "")):
        for cis, text in _bdpm_rows(file):
            drugs[cis].append(text)
    for cis in sorted(drugs):
        yield Record(cis, "\n".join(drugs[cis]))


def _bdpm_rows(file: Path) -> Iterator[tuple[str, str]]:
    """CIS code and text of each row."""
    columns, cis, template = BDPM_TABLES[file.name.split(".")[0]]
    for number, line in read_lines(file):
        values = [value.strip() for value in line.split("\t")]
        if not line.strip():
            continue
        if len(values) < columns:
            raise UserError(f"{len(values)} columns, not {columns}", where=f"{file}:{number}")
        yield values[cis], template.format(*values)
