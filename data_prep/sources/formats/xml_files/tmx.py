"""TMX 1.4, the exchange format of translation memories: a unit's segment in one language is a document."""

from collections.abc import Iterator

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from ....documents.record import LeftOut, Record, Rejected, is_blank
from ....documents.streams import SourceFile
from .elements import XML_LANGUAGE, children, elements, text_of

CODES = frozenset(("bpt", "ept", "it", "ph", "ut"))
"""Elements of a segment that hold the codes of the document it was taken from, and no text."""


def read_tmx(file: SourceFile) -> Iterator[Record | Rejected | LeftOut]:
    """The segments of a file in the language that `options` names, by the units' `tuid` or number.

    Raises:
        FileError: it is not well-formed XML.
    """
    language = file.options.language
    for number, unit in enumerate(elements(file, "tu"), 1):
        segments = [
            segment for variant in children(unit, "tuv") if _speaks(variant, language) for segment in _seg(variant)
        ]
        if not segments:
            yield LeftOut(f"units without a segment in {language}")
        for place, segment in enumerate(segments):
            identifier = unit.get("tuid") or str(number)
            key = f"{file.name}#{identifier}" + (f".{place + 1}" if place else "")
            text = text_of(segment, CODES)
            if is_blank(text):
                yield Rejected(file.where, unit.sourceline or number, "the segment is empty")
            else:
                yield Record(key, text, {"language": language}, file.split)


def _speaks(variant: etree._Element, language: str) -> bool:
    stated = variant.get(XML_LANGUAGE) or variant.get("lang") or ""
    return stated.lower().replace("_", "-").partition("-")[0] == language


def _seg(variant: etree._Element) -> list[etree._Element]:
    return children(variant, "seg")
