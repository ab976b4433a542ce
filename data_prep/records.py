"""What a reader yields, and reading text so that a fault is named by its file, line and byte."""

import gzip
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from ..core.errors import UserError

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("dev", "valid", "validation", "val", "development"), "dev"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""Publishers' words for their splits."""


@dataclass(frozen=True)
class Record:
    """A document as a source gives it, before cleaning.

    Attributes:
        key: what tells it from every other document of its source: the file's relative path, and where a file holds
            several, the line or the publisher's id.
        text: its text.
        split: the publisher's split: `train`, `dev`, `test`, or empty.
        document_type: the kind the record itself states, or empty.
        licence: the licence the record itself states, or empty.
    """

    key: str
    text: str
    split: str = ""
    document_type: str = ""
    licence: str = ""


@dataclass(frozen=True)
class Input:
    """What a reader reads.

    Attributes:
        path: the source: a file, a folder, or the name of a data set on the Hugging Face Hub.
        files: the files there that are of the reader's format, sorted; none for the Hub.
        text_column: where the records have named fields, the one that holds the text.
    """

    path: Path | str
    files: tuple[Path, ...]
    text_column: str

    def name(self, file: Path) -> str:
        """A file's path below the source's folder; its name where the source is that file."""
        return file.name if file == self.path else file.relative_to(self.path).as_posix()


def split_of(name: str) -> str:
    """The publisher's split that a file's relative name states, or an empty string."""
    words = re.split(r"[^a-z]+", name.lower())
    return next((SPLITS[word] for word in words if word in SPLITS), "")


def decode(raw: bytes, file: Path, line: int | None = None) -> str:
    """Decode UTF-8, without a byte order mark.

    Raises:
        UserError: the bytes are not UTF-8; says the file, the line and the byte.
    """
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        at = error.start + len(raw) - len(error.object)  # the error does not count a byte order mark
        place = f"line {line}, byte {at + 1}" if line else f"byte {at + 1}"
        raise UserError(
            f"not UTF-8: byte 0x{raw[at]:02x} at {place}",
            where=str(file),
            mend="convert the file, for instance from Windows-1252: iconv -f CP1252 -t UTF-8",
        ) from None


def read_text(file: Path) -> str:
    """The whole of a UTF-8 file, gzip or not.

    Raises:
        UserError: it is not UTF-8, or the gzip data is damaged.
    """
    with _open(file) as stream:
        return decode(stream.read(), file)


def read_lines(file: Path) -> Iterator[tuple[int, str]]:
    """The lines of a UTF-8 file, gzip or not, as (line number from 1, line without its end).

    Raises:
        UserError: a line is not UTF-8, or the gzip data is damaged.
    """
    with _open(file) as stream:
        for number, raw in enumerate(stream, 1):
            yield number, decode(raw, file, number).rstrip("\r\n")


@contextmanager
def _open(file: Path) -> Iterator[gzip.GzipFile | BufferedReader]:
    try:
        with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as stream:
            yield stream
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UserError(f"the gzip data is damaged: {error}", where=str(file), mend="fetch the file again") from None
