"""A file's kind by its content: its first bytes, its first character, the shape of its first lines."""

import csv
import io
import json
import re
from collections.abc import Iterator
from typing import Any

from .values import parse_line

PACKED = "unpack it, and give the folder"
CONVERT = "convert it to plain text, for instance with pandoc or LibreOffice"
BINARY: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF-", "PDF", "convert it, for instance: pdftotext FILE.pdf"),
    (b"PK\x03\x04", "ZIP archive", f"{PACKED}: unzip FILE.zip"),
    (b"PK\x05\x06", "empty ZIP archive", ""),
    (b"7z\xbc\xaf\x27\x1c", "7z archive", PACKED),
    (b"Rar!\x1a\x07", "RAR archive", PACKED),
    (b"\x04\x22\x4d\x18", "LZ4 data", "unpack it: lz4 -d FILE"),
    (b"\x1f\x9d", "compress (.Z) data", "unpack it: gzip -d FILE"),
    (b"!<arch>\n", "ar archive", PACKED),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old Office document (doc, xls, ppt)", CONVERT),
    (rb"{\rtf", "RTF", CONVERT),
    (b'<doc id="', "WikiExtractor's pages between <doc> tags", "run WikiExtractor with --json for JSON lines"),
    (b"\x89PNG", "image", ""),
    (b"\xff\xd8\xff", "image", ""),
    (b"GIF8", "image", ""),
    (b"II*\x00", "image", ""),
    (b"MM\x00*", "image", ""),
    (b"RIFF", "image or sound", ""),
    (b"SQLite format 3\x00", "SQLite database", "export the table as CSV"),
    (b"\x89HDF\r\n", "HDF5 file", "export its texts as JSON lines"),
    (b"\x93NUMPY", "NumPy array", "export its texts as JSON lines"),
    (b"ARROW1\x00\x00", "Arrow file", "write it as Parquet"),
    (b"\xff\xff\xff\xff", "Arrow stream", "write it as Parquet"),
    (b"Obj\x01", "Avro file", "write it as Parquet"),
    (b"ORC", "ORC file", "write it as Parquet"),
    (b"PARE", "encrypted Parquet file", "write it as Parquet without encryption"),
    (b"version https://git-lfs.github.com/spec/", "Git LFS pointer", "fetch the file itself: git lfs pull"),
    (b"\x7fELF", "program", ""),
    (b"ID3", "sound", ""),
    (b"OggS", "sound", ""),
    (b"\xff\xfb", "sound", ""),
)
"""First bytes of a file, what it is, and what makes it readable."""
OFFICE = (
    (b"word/", "docx document", CONVERT),
    (b"xl/", "xlsx table", "export the sheet as CSV"),
    (b"ppt/", "pptx slides", CONVERT),
    (b"mimetypeapplication/vnd.oasis", "OpenDocument file", CONVERT),
    (b"mimetypeapplication/epub", "EPUB book", CONVERT),
)
"""Member of a ZIP archive -> what the archive is, and what makes it readable."""
ENDINGS = {"docx": OFFICE[0], "xlsx": OFFICE[1], "pptx": OFFICE[2], "odt": OFFICE[3], "epub": OFFICE[4]}
HTML = re.compile(
    r"<(?:!doctype\s+html|html|head|body|p|div|span|h[1-6]|table|ul|ol|br|meta|title|script|style|article|section)\b",
    re.IGNORECASE,
)
WHOLE_PAGE = re.compile(r"\ufeff?\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
WHOLE_MARKUP = re.compile(r"<(?:!doctype|html\b|\?xml)", re.IGNORECASE)
MARKUP = re.compile(r"<(?:[A-Za-z_][\w:.-]*(?:\s[^<>]*)?/?>|!--|!\w|\?\w)")
DELIMITERS = ",;\t|"
SEPARATOR_LINE = re.compile(r"sep=(.)")
"""Excel's first line, which names the delimiter."""
CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f]")
LINES = 20
"""Lines of a file's head that are looked at."""


def binary_kind(head: bytes, ending: str) -> tuple[str, str] | None:
    """Kind of a file that holds no text, and how to make it readable; None if it may hold text."""
    if head[257:262] == b"ustar":
        return "tar archive", f"{PACKED}: tar xf FILE"
    if head[4:8] == b"ftyp":
        return "image, film or sound", ""
    for magic, kind, fix in BINARY:
        if head.startswith(magic) and (not magic.isalnum() or has_controls(head)):
            return _zip_kind(head, ending) if kind == "ZIP archive" else (kind, fix)
    return None


def has_controls(head: bytes) -> bool:
    """Whether the first bytes hold control characters, as they do where a word such as ORC begins a binary file."""
    return CONTROL.search(head[:64]) is not None


def _zip_kind(head: bytes, ending: str) -> tuple[str, str]:
    office = next((kind for kind in OFFICE if kind[0] in head), ENDINGS.get(ending))
    return office[1:] if office else ("ZIP archive", f"{PACKED}: unzip FILE.zip")


def looks_binary(head: bytes) -> bool:
    """Whether bytes without a known signature are not text in any usual encoding."""
    controls = len(CONTROL.findall(head))
    return controls > len(head) // 10 or (controls > len(head) // 50 and not _is_utf8(head))


def looks_utf16(head: bytes) -> str:
    """The encoding of UTF-16 without a byte order mark, or an empty string."""
    even, odd = head[0::2].count(0), head[1::2].count(0)
    half = len(head) // 2
    if half >= 2 and max(even, odd) > 0.4 * half and min(even, odd) < 0.1 * half:
        return "utf-16-le" if odd > even else "utf-16-be"
    return ""


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and "unexpected end" in error.reason
    return True


def markup_kind(text: str, named_text: bool) -> str:
    """`HTML`, `XML` or an empty string.

    Args:
        text: the first characters.
        named_text: whether the file's name says that it is plain text or Markdown, which may begin with a tag.
    """
    start = text.lstrip()
    if named_text and not WHOLE_MARKUP.match(start):
        return ""
    if HTML.match(start) or re.search(r"<html\b", start, re.IGNORECASE):
        return "HTML"
    return "XML" if MARKUP.match(start) else ""


def is_page(text: str) -> bool:
    """Whether text is a whole HTML page, as a server's error is that was saved in a document's place."""
    return WHOLE_PAGE.match(text) is not None


def json_kind(text: str, whole: bool, ending: str) -> str:
    """`jsonl`, `json` or an empty string.

    Args:
        text: the first characters of a file.
        whole: whether that is all of it.
        ending: of the file's name, which tells a damaged file from prose.
    """
    start = text.lstrip("\ufeff \t\r\n")
    lines = [line for line in _lines(start)[: LINES + 1] if line.strip()]
    if not whole and len(lines) <= LINES:
        lines = lines[:-1] or lines  # the last one may be incomplete
    objects = sum(_is_object(line) for line in lines)
    if start.startswith("["):
        return "json" if re.match(r"\[\s*([{\]]|$)", start) or ending == "json" else ""
    if re.match(r'\{\s*(["}]|$)', start):
        one_long_line = not whole and len(lines) == 1 and "\n" not in start.rstrip()
        return "jsonl" if objects or one_long_line else "json"
    return "jsonl" if objects else ""


def _lines(text: str) -> list[str]:
    """Lines as a text file has them: they do not end at U+2028, U+0085 and the like, as in `str.splitlines`."""
    return list(io.StringIO(text, newline=None))


def _is_object(line: str) -> bool:
    if not line.lstrip("\ufeff \t").startswith("{"):
        return False
    try:
        return isinstance(parse_line(line), dict)
    except ValueError:
        return False


def head_objects(text: str, whole: bool) -> list[dict[str, Any]]:
    """The objects that stand, a line each, in the first characters of a file."""
    lines = _lines(text)
    lines = lines if whole else lines[:-1]
    return [parse_line(line) for line in lines if line.strip() and _is_object(line)]


def csv_columns(text: str, text_column: str) -> tuple[tuple[str, ...], str]:
    """Columns and delimiter of a table with a header.

    The delimiter is the one that makes a column of that name, else the one that makes most columns.
    """
    separator = SEPARATOR_LINE.match(text)
    first = text.split("\n", 1)[1] if separator and "\n" in text else text
    candidates = separator[1] if separator else DELIMITERS
    headers = [(_header(first, delimiter), delimiter) for delimiter in candidates]
    columns, delimiter = max(headers, key=lambda each: (text_column in each[0], len(each[0])))
    return columns, delimiter if len(columns) > 1 else "\x1f"


def _header(text: str, delimiter: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in next(_rows(text, delimiter), []))


def _rows(text: str, delimiter: str) -> Iterator[list[str]]:
    """The rows of the first characters of a table, up to the first that is none."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        try:
            yield next(rows)
        except (StopIteration, csv.Error):
            return


def is_table(text: str, whole: bool, text_column: str) -> bool:
    """Whether text is a table with a header that names the text column, and rows of as many fields."""
    columns, delimiter = csv_columns(text, text_column)
    if text_column not in columns or len(columns) < 2:
        return False
    rows = [row for row in _rows(text, delimiter) if row][1 : LINES + 1]
    rows = rows if whole else rows[:-1]
    return bool(rows) and all(len(row) == len(columns) for row in rows)


def describe_json(value: Any) -> str:
    """The JSON name of a value's type."""
    if isinstance(value, bool):
        return "a truth value"
    names = {dict: "an object", list: "an array", str: "a string", int: "a number", float: "a number"}
    return names.get(type(value), json.dumps(value))
