"""The formats in which French medical corpora are published."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

from .record import BadDocumentError, Record, Rejected, is_blank, require_unicode
from .sources import Source
from .streams import SourceFile, open_text

SPEAKERS = {"d": "Médecin", "p": "Patient"}
TURN = re.compile(r"([dp])\d+\s+(.*)")


def question_record(question: Any, number: int, file: SourceFile) -> Record:
    """FrenchMedMCQA's question as a record.

    Raises:
        BadDocumentError: it is not as FrenchMedMCQA's are.
    """
    try:
        text = require_unicode(_question_text(question), "question")
        stated = {"doc_id": require_unicode(question["id"], "id")} if isinstance(question.get("id"), str) else {}
    except (KeyError, TypeError, AttributeError) as error:
        raise BadDocumentError(
            f"question {number} is not as FrenchMedMCQA's, an object with question, answers {{letter: text}} and "
            f"correct_answers [letter]: {error}"
        ) from None
    return Record(f"{file.name}#{number}", text, stated, file.split)


def _question_text(question: dict[str, Any]) -> str:
    options = {letter: f"{letter.upper()}. {text}" for letter, text in question["answers"].items()}
    right = [options[letter] for letter in question["correct_answers"]]
    label = "Réponse" if len(right) == 1 else "Réponses"
    return "\n".join([question["question"], *options.values(), f"{label} : {' ; '.join(right)}"])


def read_mqc(file: SourceFile, source: Source) -> Iterator[Record | Rejected]:
    """MQC: a consultation a file named `dialogues`, a turn a line, `d` the doctor's and `p` the patient's."""
    del source
    turns = []
    with open_text(file) as stream:
        for number, line in enumerate(stream, 1):
            if is_blank(line):
                continue
            match = TURN.match(line)
            if not match:
                allowed = "lines of 'd' (doctor) or 'p' (patient), a number, a blank and what is said"
                yield Rejected(file.where, number, f"a turn names no speaker; allowed: {allowed}")
                return
            turns.append(f"{SPEAKERS[match[1]]} : {match[2]}")
    yield Record(file.name, "\n".join(turns), split=file.split)


BDPM_TABLES: dict[str, tuple[int, int, str]] = {
    "CIS_bdpm": (12, 0, "{1}\nForme : {2}\nVoie d'administration : {3}\nStatut : {4}, {6}\nTitulaire : {10}"),
    "CIS_COMPO_bdpm": (8, 0, "Composition ({1}) : {3}, {4} pour {5}"),
    "CIS_CPD_bdpm": (2, 0, "Conditions de prescription et de délivrance : {1}"),
    "CIS_GENER_bdpm": (5, 2, "Groupe générique : {1}"),
    "CIS_HAS_SMR_bdpm": (6, 0, "Service médical rendu ({4}) : {5}"),
    "CIS_HAS_ASMR_bdpm": (6, 0, "Amélioration du service médical rendu ({4}) : {5}"),
}
"""Tables of the French drug database: columns, the one that holds the drug's CIS code, and a row as text."""
_BY_NAME = {name.lower(): name for name in BDPM_TABLES}


def read_bdpm(files: Sequence[SourceFile], source: Source) -> Iterator[Record | Rejected]:
    """BDPM: tab-separated tables without a header; a document is what they say of one drug, by its CIS code.

    The tables are joined in memory (some tens of megabytes).
    """
    del source
    order = list(BDPM_TABLES)
    drugs: dict[str, list[str]] = defaultdict(list)
    for file in sorted(files, key=lambda file: order.index(_table(file) or order[-1])):
        for row in _bdpm_rows(file):
            if isinstance(row, Rejected):
                yield row
            else:
                drugs[row[0]].append(row[1])
    for cis in sorted(drugs):
        yield Record(cis, "\n".join(drugs[cis]))


def _table(file: SourceFile) -> str | None:
    """The table that a file holds, by its name, or None."""
    return _BY_NAME.get(file.path.name.split(".")[0].lower())


def _bdpm_rows(file: SourceFile) -> Iterator[tuple[str, str] | Rejected]:
    """CIS code and text of each row."""
    table = _table(file)
    if table is None:
        yield Rejected(file.where, 0, f"its name is none of BDPM's tables: {', '.join(BDPM_TABLES)}")
        return
    columns, cis, template = BDPM_TABLES[table]
    with open_text(file) as stream:
        for number, line in enumerate(stream, 1):
            values = [value.strip() for value in line.rstrip("\n").split("\t")]
            if is_blank(line):
                continue
            if len(values) < columns:
                yield Rejected(file.where, number, f"{len(values)} columns, not {columns}")
            else:
                yield values[cis], template.format(*values)
