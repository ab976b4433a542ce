"""PDF: the text of its pages, from PDFium, which runs no script and follows no link, in a process of its own."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import PurePath

from ....core.errors import UserError
from ...documents.record import Record, Rejected, is_blank
from ...documents.streams import SourceFile, open_bytes, too_long
from ..entry import filled
from .pdf_worker import MISSING, REFUSED

LARGEST = 2**29
"""Bytes of a file; the largest theses have some 200 MB, most of it pictures."""
SECONDS = 300
"""Time for one file; a thesis takes one or two seconds."""
WORKER = [sys.executable, "-m", f"{__package__}.pdf_worker"]


def read_pdf(file: SourceFile) -> Iterator[Record | Rejected]:
    """The document of a file, its pages one after the other; words that a line's end breaks are put together.

    Raises:
        FileError: it cannot be read, or unpacked.
        UserError: the library for it is missing.
    """
    with open_bytes(file.path, file.packing) as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise too_long("a PDF file", file.where)
    reason, title, text = _extract(content)
    if not reason and is_blank(text):
        reason = "the PDF has no text; its pages may be pictures, which only character recognition reads"
    if reason:
        yield Rejected(file.where, 0, reason)
    else:
        yield Record(file.name, text, filled(doc_id=PurePath(file.name).name.split(".")[0], title=title), file.split)


def _extract(content: bytes) -> tuple[str, str, str]:
    """Why there is no text, or an empty string; title and text.

    Raises:
        UserError: no file can be read here.
    """
    try:
        done = subprocess.run(WORKER, input=content, capture_output=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return f"the PDF takes more than {SECONDS} s to read", "", ""
    title, _, text = done.stdout.decode("utf-8", "replace").partition("\n")
    if done.returncode == MISSING:
        raise UserError(
            f"the package pypdfium2, which reads PDF files, cannot be loaded: {text}",
            where=sys.executable,
            fix="install it there (pip install 'pypdfium2>=5,<6'), or leave PDF files out",
        )
    if done.returncode == REFUSED:
        return text, "", ""
    if done.returncode:
        return f"the PDF ended the program that reads it (exit code {done.returncode})", "", ""
    return "", title, text
