"""Moses: aligned files, one for each language, with a sentence a line; the French one's lines are documents."""

import re
from collections.abc import Iterator
from pathlib import Path

from .....core.log import counted
from ....documents.faults import FileError
from ....documents.record import BLANK_LINES, LeftOut, Record, is_blank
from ....documents.streams import SourceFile, open_bytes, open_text, packing_of

SIDE = re.compile(r"[a-z]{2}")


def read_moses(file: SourceFile) -> Iterator[Record | LeftOut]:
    """A line a document; an empty line, a sentence that was left untranslated, is counted.

    Raises:
        FileError: the file cannot be read, or another side beside it has another number of lines.
    """
    number = 0
    with open_text(file, newline="\n") as stream:
        for number, line in enumerate(stream, 1):
            if is_blank(line):
                yield LeftOut(BLANK_LINES)
            else:
                yield Record(f"{file.name}#{number}", line.rstrip("\r\n"), split=file.split)
    for side in _other_sides(file.path):
        lines = _count(side)
        if lines != number:
            counts = f"{counted(number, 'line')}, and {side.name} has {lines}"
            what = f"{counts}: one of them is cut off, or not its other side"
            raise FileError(what, where=file.where, fix="fetch both again")


def _other_sides(path: Path) -> list[Path]:
    """The files beside one that differ from it in the language only: `EMEA.en-fr.en` of `EMEA.en-fr.fr`."""
    siblings = path.parent.glob(f"{_escaped(path.stem)}.*")
    return sorted(each for each in siblings if SIDE.fullmatch(each.suffix[1:]) and each != path and each.is_file())


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _count(path: Path) -> int:
    with open_bytes(path) as stream:
        packing = packing_of(stream.read(16))
    with open_bytes(path, packing) as stream:
        return sum(1 for _ in stream)
