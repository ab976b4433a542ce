"""A file's bytes and its text: unpacked, decoded, and every fault named by its place."""

import bz2
import codecs
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa

from ...core.errors import UserError
from .faults import FileError, printable

MAGIC = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ\x00": "xz",
    **{b"BZh%d1AY&SY" % level: "bzip2" for level in range(1, 10)},
    **{bytes([0x50 + number]) + b"\x2a\x4d\x18": "zstd" for number in range(16)},  # a frame to skip, as pzstd writes
}
"""First bytes of a file -> how it is packed."""
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""Byte order mark -> encoding; UTF-32's before those of UTF-16, with which one of them begins."""
UTF8 = "utf-8-sig"
BLOCK = 2**18
LINE_BYTES = 2**30
"""Unpacked bytes of one line, or of one text file, of a packed file. A gzip file of 1 MB may hold a line of 1 GB."""
_Damaged = (gzip.BadGzipFile, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException)


@dataclass(frozen=True)
class Span:
    """A part of a file.

    Attributes:
        start: its first byte, with which a line begins, or its first row group of a Parquet file.
        stop: the byte, or the row group, after the last.
        before: lines, or rows, of the file before it.
    """

    start: int
    stop: int
    before: int


@dataclass(frozen=True)
class SourceFile:
    """A file that holds documents, and how it is read.

    Attributes:
        path: where it is.
        name: its path below its source's folder, as text; its name where the source is that file.
        format: a key of `reading.READERS`.
        packing: one of MAGIC's values, or empty.
        encoding: of its text, as Python names it.
        split: the publisher's split that its name states: `train`, `dev`, `test`, or empty.
        size: bytes on disk; of a part of the file, its own.
        columns: names of its columns, where the first line of the file names them.
        delimiter: of its columns, where it has lines of columns.
        schema: of JSON lines, the fields that are read and their types, as far as the first lines tell; None where one
            of them holds what has no column's type, such as a list.
        options: of its format, where the definition of its source sets them.
        together: a key of `grouped.GROUPED` where it is read together with other files of its source, or empty.
        span: the part of the file that is read; None for all of it.
    """

    path: Path
    name: str
    format: str
    packing: str = ""
    encoding: str = UTF8
    split: str = ""
    size: int = 0
    columns: tuple[str, ...] = ()
    delimiter: str = ""
    schema: pa.Schema | None = None
    options: Any = None
    together: str = ""
    span: Span | None = None

    @property
    def where(self) -> str:
        """The file, as an error names it."""
        return printable(self.path)

    @property
    def is_utf8(self) -> bool:
        """Whether its text is UTF-8."""
        return self.encoding == UTF8

    @property
    def first_number(self) -> int:
        """Number of the first line, or row, that is read of it."""
        return 1 + (self.span.before if self.span else 0)


def packing_of(head: bytes) -> str:
    """How a file with these first bytes is packed, or an empty string."""
    return next((packing for magic, packing in MAGIC.items() if head.startswith(magic)), "")


@contextmanager
def open_bytes(path: Path, packing: str = "") -> Iterator[IO[bytes]]:
    """A file's bytes, unpacked.

    Raises:
        FileError: the file cannot be opened, or what it is packed in is damaged.
    """
    where = printable(path)
    if path.exists() and not path.is_file():  # a pipe would be waited for, and is read but once
        raise FileError("a pipe or a device, not a file", where=where, fix="write its content to a file first")
    try:
        with _opened(path, packing) as stream:
            yield cast(IO[bytes], io.BufferedReader(_Lines(stream, where), BLOCK)) if packing else stream
    except _Damaged as error:
        if not packing:
            raise
        message = f"the {packing} data is damaged: {error}"
        raise FileError(message, where=where, fix="fetch the file again") from None
    except OSError as error:
        if error.errno is None and packing:  # bzip2's, of damaged data
            raise FileError(
                f"the {packing} data is damaged: {error}", where=where, fix="fetch the file again"
            ) from None
        raise FileError(f"the file cannot be read: {error.strerror or error}", where=where) from None


def _opened(path: Path, packing: str) -> Any:
    if packing == "gzip":
        return gzip.open(path)
    if packing == "bzip2":
        return bz2.open(path)
    if packing == "xz":
        return lzma.open(path)
    if packing == "zstd":
        return io.BufferedReader(_Zstd(path), BLOCK)  # pyright: ignore[reportArgumentType]
    return path.open("rb")


class _Zstd(io.RawIOBase):
    """A file that zstd packed, frame after frame, unpacked by Arrow."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._stream = pa.CompressedInputStream(pa.PythonFile(self._file, "r"), "zstd")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()


class _Part(io.RawIOBase):
    """Some bytes of a file."""

    def __init__(self, stream: IO[bytes], span: Span) -> None:
        self._stream, self._left = stream, span.stop - span.start
        stream.seek(span.start)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(min(len(buffer), self._left))
        buffer[: len(content)] = content
        self._left -= len(content)
        return len(content)


class _Lines(io.RawIOBase):
    """Unpacked bytes of which no line is longer than LINE_BYTES, so that a small file cannot take all memory."""

    def __init__(self, stream: IO[bytes], where: str) -> None:
        self._stream, self._where, self._line = stream, where, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        content = self._stream.read(len(buffer))
        buffer[: len(content)] = content
        first, last = content.find(b"\n"), content.rfind(b"\n")
        if self._line + (first if first >= 0 else len(content)) > LINE_BYTES:
            raise too_long("a line", self._where)
        self._line = len(content) - last - 1 if last >= 0 else self._line + len(content)
        return len(content)


def too_long(what: str, where: str) -> FileError:
    """The error that says that a packed file holds more in one piece than is unpacked."""
    allowed = f"{LINE_BYTES / 2**30:g} GiB in one piece of a packed file"
    return FileError(
        f"{what} of more than {LINE_BYTES / 2**30:g} GiB once unpacked",
        where=where,
        allowed=allowed,
        fix="unpack the file: files that are not packed have no such limit",
    )


@contextmanager
def open_text(file: SourceFile, newline: str | None = None) -> Iterator[io.TextIOWrapper]:
    """A file's text, unpacked and decoded.

    Args:
        file: the file.
        newline: as `open` takes it: None to end lines at `\\n`, `\\r\\n` and `\\r`, an empty string to keep them.

    Raises:
        FileError: it cannot be opened, is damaged, or not of its encoding; says the byte and the line.
    """
    with open_bytes(file.path, file.packing) as stream:
        part = io.BufferedReader(_Part(stream, file.span), BLOCK) if file.span else stream
        # A byte order mark stands at a file's beginning; elsewhere the same bytes are a character.
        encoding = "utf-8" if file.span and file.span.start and file.is_utf8 else file.encoding
        text = io.TextIOWrapper(cast(Any, part), encoding=encoding, newline=newline)
        try:
            yield text
        except UnicodeError as error:
            raise undecodable(file, error) from None
        finally:
            text.detach()


def undecodable(file: SourceFile, error: UnicodeError | None = None) -> FileError:
    """The error that says where a file is not of its encoding."""
    place = _first_fault(file)
    name = "UTF-8" if file.is_utf8 else file.encoding
    what = f"not {name}: {place}" if place else f"not {name}: {error}"
    return FileError(
        what,
        where=file.where,
        fix="name the encoding, for instance --encoding cp1252; or convert: iconv -f CP1252 -t UTF-8 FILE > NEW",
    )


def _first_fault(file: SourceFile) -> str:
    """Byte and line of the first byte that cannot be decoded."""
    decoder = codecs.getincrementaldecoder(file.encoding)()
    at, line = 0, 1
    with open_bytes(file.path, file.packing) as stream:
        while True:
            block = stream.read(BLOCK)
            try:
                line += decoder.decode(block, not block).count("\n")
            except UnicodeDecodeError as fault:
                start = at + len(block) - len(fault.object) + fault.start
                line += fault.object[: fault.start].decode(file.encoding, "ignore").count("\n")
                return f"byte 0x{fault.object[fault.start]:02x} at line {line}, byte {start + 1} of the file"
            except UnicodeError:
                return ""
            at += len(block)
            if not block:
                return ""


def check_encoding(name: str) -> str:
    """The name of an encoding, checked.

    Raises:
        UserError: Python knows no encoding of text by that name.
    """
    try:
        codec = codecs.lookup(name)
        b"text".decode(name)
    except (LookupError, UnicodeError, ValueError):
        codec = None
    if (
        codec is None
        or not getattr(codec, "_is_text_encoding", True)
        or codec.name in ("idna", "punycode", "undefined")
    ):
        raise UserError(
            f"no encoding is called {name!r}",
            where="--encoding",
            allowed="as Python names them: utf-8, cp1252, latin-1, iso8859-15, mac-roman, utf-16-le, ...",
        )
    return codec.name


def marked(head: bytes) -> str:
    """The encoding that a file's byte order mark states, or an empty string."""
    return next((encoding for mark, encoding in MARKS.items() if head.startswith(mark)), "")


def encoding_of(path: Path, packing: str, head: bytes, fallback: str | None) -> str:
    """The encoding of a file's text: its byte order mark's, else UTF-8.

    Args:
        path: the file.
        packing: how it is packed.
        head: its first bytes, unpacked.
        fallback: the encoding of a file that has no mark and is not UTF-8, as the user names it. One that does not
            hold ASCII (UTF-16) is taken as it is, since its bytes may look like UTF-8.

    Raises:
        FileError: the file is damaged.
    """
    stated = marked(head)
    if stated or fallback is None:
        return stated or UTF8
    if fallback != "utf-8" and (not _holds_ascii(fallback) or not _is_utf8(path, packing)):
        return fallback
    return UTF8


def _holds_ascii(encoding: str) -> bool:
    plain = bytes(range(0x20, 0x7F))
    try:
        return plain.decode(encoding) == plain.decode("ascii")
    except UnicodeError:
        return False


def _is_utf8(path: Path, packing: str) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with open_bytes(path, packing) as stream:
        try:
            while block := stream.read(BLOCK):
                decoder.decode(block)
            decoder.decode(b"", True)
        except UnicodeDecodeError:
            return False
    return True
