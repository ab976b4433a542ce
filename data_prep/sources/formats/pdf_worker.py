"""The process that takes the text from one PDF: PDFium is not safe in threads, and a hostile file may end it.

The file comes on standard input. On standard output come the title, on the first line, and the text; where there is
none, what is wrong, and the exit code: of the file `REFUSED`, of the installation `MISSING`.
"""

import resource
import sys
from importlib import import_module
from typing import Any

REFUSED = 3
MISSING = 4
"""Exit code where the library that reads PDF is not installed, or not as it should be."""
MEMORY = 4 * 2**30
"""Bytes of address space. PDFium unpacks up to 1 GiB of a stream, whatever the size of the file."""
MOST_CHARACTERS = 50_000_000
"""Characters of a document: a hundred times those of a long thesis."""
HYPHENS = ("\x02", "\ufffe")
"""Characters that PDFium writes for a hyphen at which a word is broken at the end of a line."""


def pdf_text(content: bytes) -> tuple[str, str]:
    """Title and text of a PDF: its pages in order, words that a line's end breaks put together.

    Raises:
        ValueError: it is none, is damaged or locked, or has more text than a document can have.
    """
    import pypdfium2  # not where `pdf.py` imports this module

    try:
        with pypdfium2.PdfDocument(content) as document:
            title = str(document.get_metadata_dict().get("Title", ""))
            return " ".join(title.split()), "\n\n".join(filter(None, _pages(document)))
    except pypdfium2.PdfiumError as error:
        raise ValueError(f"not a PDF file, or a damaged or locked one: {error}") from None


def _pages(document: Any) -> list[str]:
    pages, size = [], 0
    for page in document:
        words = page.get_textpage()
        size += words.count_chars()
        if size > MOST_CHARACTERS:
            raise ValueError(f"the PDF has more than {MOST_CHARACTERS:,} characters")
        pages.append(_joined(words.get_text_bounded()))
        page.close()
    return pages


def _joined(page: str) -> str:
    """A page's text with `\\n` at the end of lines, and without hyphens that only a line's end asked for."""
    text = page.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    for hyphen in HYPHENS:
        text = text.replace(f"{hyphen}\n", "").replace(hyphen, "")
    return text.strip()


def main() -> int:
    """Answer for one file."""
    try:
        import_module("pypdfium2")  # before there is a limit on memory
    except (ImportError, OSError) as error:  # it is not there, or its own library is not
        sys.stdout.buffer.write(f"\n{error}".encode("utf-8", "replace"))
        return MISSING
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    try:
        title, text = pdf_text(sys.stdin.buffer.read())
        code = 0
    except ValueError as error:
        title, text, code = "", str(error), REFUSED
    sys.stdout.buffer.write(f"{title}\n{text}".encode("utf-8", "replace"))
    return code


if __name__ == "__main__":
    sys.exit(main())
