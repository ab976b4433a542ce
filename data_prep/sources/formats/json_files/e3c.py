"""E3C's documents: an object a file, with its licence, address and language."""

from collections.abc import Iterator

from ....documents.formats import json_items, of_object
from ....documents.record import NAMES, LeftOut, Record, Rejected
from ....documents.streams import SourceFile
from ...entry import FRENCH


def read_e3c(file: SourceFile) -> Iterator[Record | Rejected | LeftOut]:
    """The document of a file: its `text`.

    `type` (journal, leaflet) is not taken for the document's type, which is that of Table 1 as for all sources.

    Raises:
        FileError: it is not JSON.
    """
    for item in json_items(file, lambda value, number: of_object(value, number, file, text_column="text", names=NAMES)):
        if isinstance(item, Record) and item.stated.get("language", "fr").lower() not in FRENCH:
            yield LeftOut("documents in another language")
        else:
            yield item
