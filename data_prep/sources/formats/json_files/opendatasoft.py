"""Opendatasoft's index of teaching resources: records whose fields are LOM's, as its API and its exports write them."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote, urlsplit

from ....documents.faults import FileError
from ....documents.streams import SourceFile
from ...entry import Entry, filled, first, texts
from .server_answers import answers


def read_opendatasoft(file: SourceFile) -> Iterator[Entry]:
    """The resources that a file lists; a full text belongs to the one whose address ends in its name.

    Raises:
        FileError: the file is no such index; a server's error is named.
    """
    number = 0
    for answer in answers(file):
        for record in _records(answer):
            number += 1
            fields = _fields(record)
            if not fields:
                raise FileError(f"record {number} has no fields", where=file.where, allowed="records of Opendatasoft")
            yield _entry(fields, record, f"{file.name}#{number}")


def _records(answer: dict[str, Any]) -> list[Any]:
    """Records of an answer: of the APIs (`results`, `records`), or an export, whose values are records."""
    records = answer.get("results", answer.get("records", [answer]))
    return records if isinstance(records, list) else [records]


def _fields(record: Any) -> dict[str, Any]:
    """A record's fields, which older versions put under `fields`."""
    if not isinstance(record, dict):
        return {}
    inner = record.get("record", record)
    fields = inner.get("fields", inner) if isinstance(inner, dict) else {}
    return fields if isinstance(fields, dict) else {}


def _entry(fields: dict[str, Any], record: dict[str, Any], origin: str) -> Entry:
    named = {name: first(value) for name, value in fields.items()}
    addresses = [text for value in fields.values() for text in texts(value) if text.startswith(("http://", "https://"))]
    stems = (unquote(urlsplit(address).path).rstrip("/").rpartition("/")[2].rpartition(".")[0] for address in addresses)
    identifier = first(record.get("recordid"), named.get("lom_general_identifier_entry"), addresses) or origin
    stated = filled(
        doc_id=identifier,
        title=named.get("lom_general_title", "") or named.get("title", ""),
        url=first(addresses),
        licence=named.get("lom_rights_description", ""),
        authors="; ".join(texts(fields.get("lom_lifecycle_contribute_author"))),
    )
    return Entry(identifier, stated, origin, names=tuple(filter(None, stems)))
