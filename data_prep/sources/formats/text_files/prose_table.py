"""Tables of codes, dates and names with cells of free text among them: each such cell is a document."""

import csv
from collections.abc import Iterator

from .....core.log import counted
from ....documents.formats import table_rows
from ....documents.record import LeftOut, Record, Rejected
from ....documents.streams import SourceFile, open_text

DELIMITERS = ";,\t|"


def read_prose_table(file: SourceFile) -> Iterator[Record | Rejected | LeftOut]:
    """The cells of at least `options.words` words, by line and column, under a header that names the columns.

    Raises:
        FileError: it cannot be unpacked or decoded.
    """
    with open_text(file, newline="") as stream:
        first = stream.readline()
        delimiter = max(DELIMITERS, key=first.count)
        header = next(csv.reader([first], delimiter=delimiter), [])
        for row in table_rows(stream, delimiter, file.where, lines_before=1):
            if isinstance(row, Rejected):
                yield row
            elif any(row.cells):
                yield from _cells(row.cells, header, row.line, file)


def _cells(row: list[str], header: list[str], line: int, file: SourceFile) -> Iterator[Record | Rejected | LeftOut]:
    if len(row) != len(header):
        yield Rejected(file.where, line, f"{counted(len(row), 'field')}, and the header has {len(header)}")
        return
    cells = [(name, cell) for name, cell in zip(header, row, strict=True) if len(cell.split()) >= file.options.words]
    for name, cell in cells:
        yield Record(f"{file.name}#{line}.{name.strip()}", cell.strip(), split=file.split)
    if not cells:
        yield LeftOut(f"rows without a cell of {file.options.words} words")
