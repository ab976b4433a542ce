"""The document as a source gives it, and what a record states of itself beside its text."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from typing import Any

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "valid", "validation", "val", "development"), "dev"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Publishers' words for their splits."""
FIELDS = {
    "doc_id": ("doc_id", "id", "_id"),
    "source": ("source",),
    "document_type": ("document_type", "doc_type"),
    "licence": ("licence", "license"),
    "spdx": ("spdx",),
    "licence_url": ("licence_url",),
    "licence_evidence": ("licence_evidence",),
    "licence_conflict": ("licence_conflict",),
    "commercial": ("commercial",),
    "original_split": ("original_split", "split"),
    "url": ("url",),
    "authors": ("authors", "author"),
    "title": ("title",),
    "date": ("date", "publication_date", "timestamp"),
    "doi": ("doi",),
    "language": ("language", "lang"),
    "subset": ("subset",),
    "origin": ("origin",),
    "text_sha256": ("text_sha256",),
    "changes_made": ("changes_made",),
}
"""Fact that a record may state of itself -> the names of the fields that it may state it in; the first that is filled
counts. A field's name may also be capitalized, or in capitals."""
NAMES = {
    spelling: field
    for field, names in FIELDS.items()
    for name in names
    for spelling in (name, name.capitalize(), name.upper())
}
"""Name of a field of a record -> what it states."""
SCALARS = ("source", "document_type", "original_split", "language", "subset")
"""Facts that only a plain value can state: a structure under these names is something else."""
YES = ("true", "yes", "oui", "vrai", "1", "y", "o", "t")
NO = ("false", "no", "non", "faux", "0", "n", "f")
VISIBLE = re.compile(r"[^\s\x00-\x1f]")


@dataclass(frozen=True)
class Record:
    """A document as a source gives it, before cleaning.

    Attributes:
        key: what tells it from every other document of its source: the file's relative path, and where a file holds
            several, the line or the publisher's id.
        text: its text.
        stated: what it states of itself: a part of FIELDS. `commercial` is a bool, all else text.
        split: the publisher's split as the file's name states it: `train`, `dev`, `test`, or empty.
    """

    key: str
    text: str
    stated: Mapping[str, Any] = field(default_factory=dict)
    split: str = ""


@dataclass(frozen=True)
class Rejected:
    """A document that cannot be read.

    Attributes:
        file: file that holds it.
        line: its line, or its row or number if the file has no lines; 0 if it is the whole file.
        reason: what is wrong with it.
    """

    file: str
    line: int
    reason: str

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}" if self.line else self.file


@dataclass(frozen=True)
class LeftOut:
    """Part of a file beside the documents of its source, such as a unit in another language: counted, not read.

    Attributes:
        reason: why it is none.
    """

    reason: str


BLANK_LINES = "lines without text"
"""Reason for lines that are not documents, in files of a document a line."""


class BadDocumentError(ValueError):
    """A document that cannot be read; the message says why."""


def is_blank(text: str) -> bool:
    """Whether a text holds nothing but white space and control characters."""
    return VISIBLE.search(text) is None


def stated_of(row: Mapping[str, Any], text_column: str, aliases: Mapping[str, str] = NAMES) -> dict[str, Any]:
    """Facts that a record's fields state of it: a part of FIELDS.

    Args:
        row: the record's fields.
        text_column: the one that holds its text, which states nothing.
        aliases: name of a field -> which of FIELDS it states.

    Raises:
        BadDocumentError: `commercial` is neither yes nor no, or a value is no Unicode text.
    """
    stated: dict[str, Any] = {}
    for name, what in aliases.items():
        if name == text_column or name not in row or what in stated:
            continue
        value = commercial(row[name]) if what == "commercial" else stated_text(what, row[name])
        if value is not None:
            stated[what] = value
    if "original_split" in stated:
        stated["original_split"] = split_word(stated["original_split"])
    return stated


def record_of(
    row: Mapping[str, Any], key: str, split: str, text_column: str, aliases: Mapping[str, str] = NAMES
) -> Record:
    """The record of some named fields.

    Raises:
        BadDocumentError: it has no text, or states of itself what cannot be understood.
    """
    if text_column not in row:
        raise BadDocumentError(f"there is no text column {text_column!r}; there are: {', '.join(map(str, row))[:200]}")
    text = row[text_column]
    if text is None or (isinstance(text, str) and is_blank(text)):
        raise BadDocumentError(f"the text {text_column!r} is empty")
    if not isinstance(text, str):
        raise BadDocumentError(f"{text_column!r} is {type(text).__name__}, not text")
    return Record(key, require_unicode(text, text_column), stated_of(row, text_column, aliases), split)


def require_unicode(text: str, name: str) -> str:
    """Check that a text has no half of a surrogate pair, which JSON's escapes can make.

    Raises:
        BadDocumentError: it has.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadDocumentError(f"{name!r} holds half of a surrogate pair, which is not text") from None
    return text


def split_word(word: str) -> str:
    """A publisher's word for a split as `train`, `dev` or `test`; another word as it is."""
    return SPLITS.get(word.strip().lower(), word)


def commercial(value: Any) -> bool | None:
    """The value that a record's field `commercial` states; None where it says nothing.

    Raises:
        BadDocumentError: it is neither yes nor no.
    """
    text = _scalar(value)
    if text is None:
        return None
    word = text.strip().lower().removesuffix(".0")
    if word in YES:
        return True
    if word in NO:
        return False
    raise BadDocumentError(f"'commercial' is {text[:60]!r}, neither true nor false")


def stated_text(what: str, value: Any) -> str | None:
    """A value as text; None where it says nothing.

    Raises:
        BadDocumentError: it is no Unicode text.
    """
    if isinstance(value, list | tuple | dict):
        text = None if what in SCALARS else _structure(value)
    else:
        text = _scalar(value)
    return require_unicode(text, what) if text and not is_blank(text) else None


def _scalar(value: Any) -> str | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return (value if isinstance(value, str) else str(value)) or None


def _structure(value: Any) -> str | None:
    """A list's parts one after the other, a structure of one field as that, any other as JSON."""
    if isinstance(value, dict):
        filled = {name: part for name, part in value.items() if part not in (None, "")}
        if len(filled) == 1:
            return _part(next(iter(filled.values())))
        return json.dumps(filled, ensure_ascii=False, default=str) if filled else None
    return "; ".join(text for part in value if (text := _part(part))) or None


def _part(value: Any) -> str | None:
    text = _structure(value) if isinstance(value, list | tuple | dict) else _scalar(value)
    return text.strip() if text else None


def split_of(name: str, *, one_document: bool = False) -> str:
    """The publisher's split that a file's relative name states, or an empty string.

    A folder states it that is called so. So does the name of a file of several documents, in its first or last word:
    `train-00000-of-00002.parquet`, `cas_test.jsonl`. The name of a file that is one document does not: a note called
    `test-respiratoire.txt` is about one.
    """
    *folders, file = name.lower().split("/")
    for folder in folders:
        if folder in SPLITS:
            return SPLITS[folder]
    words = [word for word in re.split(r"[^a-z]+", file.split(".")[0]) if word and word != "of"]
    words = [word for word in (words[:1] + words[-1:]) if word in SPLITS]
    return SPLITS[words[0]] if words and not one_document else ""
