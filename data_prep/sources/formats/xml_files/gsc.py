"""Mantra's gold standard in XML: Corpus/document/unit, a unit's text beside its annotations `e`."""

from collections.abc import Iterator

from ....documents.record import Record, Rejected, is_blank
from ....documents.streams import SourceFile
from .elements import children, elements, text_of


def read_gsc(file: SourceFile) -> Iterator[Record | Rejected]:
    """A unit a document, by its `id`.

    Raises:
        FileError: it is not well-formed XML.
    """
    for number, unit in enumerate(elements(file, "unit"), 1):
        text = "\n".join(text_of(each) for each in children(unit, "text"))
        identifier = unit.get("id") or str(number)
        if is_blank(text):
            yield Rejected(file.where, unit.sourceline or number, f"the unit {identifier} has no text")
        else:
            yield Record(f"{file.name}#{identifier}", text, {"doc_id": identifier}, file.split)
