"""Questions made of annotated French medical texts, and of FrenchMedMCQA; worked examples are never asked.

Where a data set has parts of its own, questions come from `test` and worked examples from `train`. Else a text is for
worked examples if the SHA-256 of its name says so, which is the same everywhere.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ....core import log
from ....core.errors import UserError
from ....core.files import read_objects
from ....core.jsonio import JsonObject
from ....core.log import counted
from .annotations import AnnotatedText, passages, read_brat, read_gsc_units, read_xmi, with_groups

SHOWN = 16
"""Texts of which one is for worked examples, where a data set has no parts."""
LONGEST_PASSAGE = 2_000
"""Characters of a line that is asked about."""
LABELS = {
    "DISO": "maladies, symptômes et autres troubles",
    "CHEM": "médicaments et substances chimiques",
    "ANAT": "parties du corps",
    "PROC": "actes, examens et traitements",
    "LIVB": "êtres vivants",
    "PHYS": "fonctions du corps",
    "DEVI": "dispositifs médicaux",
    "GEOG": "lieux",
    "OBJC": "objets",
    "PHEN": "phénomènes",
    "CLINENTITY": "troubles, symptômes et signes cliniques",
    "morphology-onco": "morphologies de tumeurs",
    "ENFERMEDAD": "maladies",
}
"""Label of an annotation -> what is to be listed."""
NOTHING = "aucune"
CODE_NOTE = "ICD-O-3.1"
LETTERS = "abcde"
Row = dict[str, Any]


def entity_rows(texts: list[AnnotatedText]) -> tuple[list[Row], list[Row]]:
    """Questions and worked examples on the mentions of each line: one for each label, and one for a label without any.

    Of lines without any mention, a quarter is asked about.
    """
    present = {mention.label for text in texts for mention in text.mentions}
    labels = [label for label in LABELS if label in present]
    left_out = sum(text.discontinuous for text in texts)
    if left_out:
        log.info(f"fetch: left out {counted(left_out, 'mention')} in several pieces")
    return _divided(texts, lambda passage: _entity_questions(passage, labels))


def code_rows(texts: list[AnnotatedText]) -> tuple[list[Row], list[Row]]:
    """Questions and worked examples on the codes of mentions."""
    return _divided(texts, _code_questions)


def choice_rows(folder: Path) -> tuple[list[Row], list[Row]]:
    """FrenchMedMCQA's questions of `test.json`, and worked examples from `train.json`.

    Raises:
        UserError: a file is missing, or a question is of another form.
    """
    asked, shown = (
        [_choices(row) for row in read_objects(_only(folder, f"{part}.json"))] for part in ("test", "train")
    )
    # One right option, two and three among the examples, so that none suggests how many there are.
    examples = {count: next((row for row in shown if len(row["right"]) == count), None) for count in (1, 2, 3)}
    return asked, [row for row in examples.values() if row]


def read_quaero(folder: Path) -> list[AnnotatedText]:
    """QUAERO, in BRAT's form, less its `dev` part."""
    return [text for text in _read_brat_folder(folder) if text.split != "dev"]


def read_frasimed(folder: Path) -> list[AnnotatedText]:
    """FRASIMED's cases of cancer and of other diseases."""
    return _read_brat_folder(folder)


def read_mantra(folder: Path) -> list[AnnotatedText]:
    """Mantra GSC in French: its XML, or BRAT's form."""
    units = sorted(folder.rglob("*_GSC_fr_man.xml"))
    if units:
        return [text for path in units for text in read_gsc_units(path)]
    return [with_groups(text) for text in _read_brat_folder(folder)]


def read_e3c(folder: Path) -> list[AnnotatedText]:
    """The first layer of E3C in French, which people annotated."""
    return [read_xmi(path, "CLINENTITY") for path in _files(folder, "French/layer1/*.xml")]


def _read_brat_folder(folder: Path) -> list[AnnotatedText]:
    return [read_brat(path) for path in _files(folder, "*.txt") if path.with_suffix(".ann").is_file()]


def _files(folder: Path, pattern: str) -> list[Path]:
    files = sorted(folder.rglob(pattern))
    if not files:
        raise UserError(
            f"there is no file {pattern}", where=str(folder), fix="`pdapt corpus collect` fetches and unpacks it"
        )
    return files


def _only(folder: Path, name: str) -> Path:
    files = _files(folder, name)
    if len(files) > 1:
        raise UserError(f"there are {len(files)} files {name}", where=str(folder), allowed="one")
    return files[0]


def _divided(
    texts: list[AnnotatedText], questions: Callable[[AnnotatedText], Iterator[Row]]
) -> tuple[list[Row], list[Row]]:
    """Questions of texts, and worked examples; a line that is among both is only asked about."""
    rows: tuple[list[Row], list[Row]] = ([], [])
    for text in texts:
        for passage in passages(text):
            if len(passage.text) <= LONGEST_PASSAGE:
                rows[_is_shown(text)].extend(questions(passage))
    asked = {row["text"] for row in rows[0]}
    return rows[0], [row for row in rows[1] if row["text"] not in asked]


def _is_shown(text: AnnotatedText) -> bool:
    return text.split == "train" if text.split else _hash(text.id) % SHOWN == 0


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])


def _entity_questions(passage: AnnotatedText, labels: list[str]) -> Iterator[Row]:
    by_label = {label: [m for m in passage.mentions if m.label == label] for label in labels}
    absent = [label for label in labels if not by_label[label]]
    wanted = [label for label in labels if by_label[label]]
    if absent and (wanted or _hash(passage.id) % 4 == 0):
        wanted.append(absent[_hash(passage.id) % len(absent)])
    for label in wanted:
        words = [" ".join(passage.text[m.start : m.end].split()) for m in by_label[label]]
        mentions = list(dict.fromkeys(words))
        answer = " ; ".join(mentions) or NOTHING
        yield {"text": passage.text, "asked": LABELS[label], "mentions": mentions, "answer": answer}


def _code_questions(passage: AnnotatedText) -> Iterator[Row]:
    codes = {}
    for mention in passage.mentions:
        if CODE_NOTE in mention.notes:
            words = " ".join(passage.text[mention.start : mention.end].split())
            codes.setdefault(words, mention.notes[CODE_NOTE])
    for words, code in codes.items():
        yield {"text": passage.text, "mention": words, "code": code}


def _choices(row: JsonObject) -> Row:
    """A question of FrenchMedMCQA."""
    options, right = row.object("answers"), row.list("correct_answers")
    texts = [options.text(letter) for letter in LETTERS]
    if not right or not set(map(str, right)) <= set(LETTERS):
        raise UserError(f"correct_answers is {right!r:.60}", where=row.where, allowed="some of a, b, c, d, e")
    letters = sorted({str(letter).upper() for letter in right})
    return {"text": row.text("question"), "choices": texts, "right": letters, "answer": ", ".join(letters)}


def in_order_of_hash(rows: list[Row]) -> list[Row]:
    """Rows in an order that says nothing of their place in the data set, and is the same everywhere."""
    return sorted(rows, key=lambda row: _hash(repr(sorted(row.items()))))
