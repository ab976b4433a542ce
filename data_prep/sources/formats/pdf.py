"""PDF: the text of its pages, from PDFium, which runs no script and follows no link."""

from collections.abc import Iterator
from pathlib import PurePath

from ...documents.record import Record, Rejected, is_blank
from ...documents.streams import SourceFile, open_bytes, too_long
from ..entry import filled

LARGEST = 2**29
"""Bytes of a file; the largest theses have some 200 MB, most of it pictures."""
MOST_CHARACTERS = 50_000_000
"""Characters of a document: a hundred times those of a long thesis."""
HYPHEN = "\x02"
"""What PDFium writes for a hyphen at which a word is broken at the end of a line."""


def read_pdf(file: SourceFile) -> Iterator[Record | Rejected]:
    """The document of a file, its pages one after the other; words that a line's end breaks are put together.

    Raises:
        FileError: it cannot be read, or unpacked.
    """
    import pypdfium2

    with open_bytes(file.path, file.packing) as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise too_long("a PDF file", file.where)
    try:
        with pypdfium2.PdfDocument(content) as document:
            text = _text(document)
            title = str(document.get_metadata_dict().get("Title", "")).strip()
    except pypdfium2.PdfiumError as error:
        yield Rejected(file.where, 0, f"not a PDF file, or a damaged or locked one: {error}")
        return
    if text is None or is_blank(text):
        reason = f"the PDF has more than {MOST_CHARACTERS:,} characters" if text is None else NO_TEXT
        yield Rejected(file.where, 0, reason)
    else:
        yield Record(file.name, text, filled(doc_id=PurePath(file.name).stem, title=title), file.split)


NO_TEXT = "the PDF has no text; its pages may be pictures, which only character recognition reads"


def _text(document: object) -> str | None:
    """The text of the pages; None where there is more than a document can have."""
    pages, size = [], 0
    for page in document:  # pyright: ignore[reportGeneralTypeIssues]
        words = page.get_textpage()
        size += words.count_chars()
        if size > MOST_CHARACTERS:
            return None
        pages.append(_joined(words.get_text_bounded()))
        page.close()
    return "\n\n".join(filter(None, pages))


def _joined(page: str) -> str:
    """A page's text with `\\n` at the end of lines, and without hyphens that only a line's end asked for."""
    lines = page.replace("\r\n", "\n").replace("\r", "\n")
    whole = lines.replace(f"{HYPHEN}\n", "").replace("\ufffe\n", "").replace(HYPHEN, "").replace("\ufffe", "")
    return whole.replace("\x00", "").strip()
