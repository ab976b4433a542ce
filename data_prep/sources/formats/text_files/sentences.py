"""A sentence a line with its document and number before it: `document TAB number TAB sentence`."""

from collections.abc import Iterator

from ....documents.record import Record, Rejected, is_blank
from ....documents.streams import SourceFile, open_text


def read_sentences(file: SourceFile) -> Iterator[Record | Rejected]:
    """The documents of a file, in its order, a sentence a line.

    Raises:
        FileError: it cannot be unpacked or decoded.
    """
    documents: dict[str, list[str]] = {}
    with open_text(file, newline="\n") as stream:
        for number, line in enumerate(stream, 1):
            if is_blank(line):
                continue
            values = line.rstrip("\r\n").split("\t", 2)
            if len(values) < 3 or is_blank(values[2]):
                yield Rejected(file.where, number, "not a document, a number and a sentence between tabs")
            else:
                documents.setdefault(values[0].strip(), []).append(values[2])
    for identifier, sentences in documents.items():
        yield Record(f"{file.name}#{identifier}", "\n".join(sentences), {"doc_id": identifier}, file.split)
