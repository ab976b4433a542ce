"""BRAT's standoff format: a text in a .txt file, its annotations apart in an .ann file of the same name."""

import re
from collections.abc import Iterator
from pathlib import PurePath

from ...documents import streams
from ...documents.content import is_page
from ...documents.record import Record, Rejected, is_blank
from ...documents.streams import SourceFile, open_text

ENDING = re.compile(r"\.txt(\.\w+)?$", re.IGNORECASE)


def read_brat(file: SourceFile) -> Iterator[Record | Rejected]:
    """The document of a .txt file, whole, by the file's name.

    Raises:
        FileError: it cannot be unpacked or decoded.
    """
    with open_text(file, newline="") as stream:
        text = stream.read(streams.LINE_BYTES)
        if stream.read(1):
            raise streams.too_long("a text", file.where)
    if is_blank(text):
        yield Rejected(file.where, 0, "the text is empty")
    elif is_page(text):
        yield Rejected(file.where, 0, "an HTML page, not a text: it may be a server's message")
    else:
        stem = ENDING.sub("", PurePath(file.name).name)
        yield Record(file.name, text, {"doc_id": stem}, file.split)
