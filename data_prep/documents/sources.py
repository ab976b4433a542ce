"""A source: its files or data set, and what the user says of it."""

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ...core.errors import UserError
from ..sources.definition import Definition
from ..sources.registry import find_source, is_source
from .faults import printable

SOURCE_NAME = re.compile(r"\w[\w.-]*")
UNSAFE = re.compile(r"[^\w.-]+")
HUB = "hub:"
FORMATS = ("text", "lines", "jsonl", "json", "csv", "parquet")
"""Formats of files, as --format names them beside the registered sources."""


@dataclass(frozen=True)
class Source:
    """A data set, and what the user says of it.

    Attributes:
        name: what it is called; also the name of its files.
        path: a file or folder; a string is a data set on the Hugging Face Hub, `OWNER/NAME[:CONFIG]`.
        format: one of FORMATS; a registered source, by its key or by the path of a file that defines it; None to tell
            each file's from its content.
        document_type: the kind of text (scientific, clinical, ...), for records that do not state their own.
        licence: its licence, for records that do not state their own.
        commercial: whether it may be used commercially, for records that do not say; None where that is not known.
        text_column: the field that holds the text, where records have named fields.
        encoding: of files that have no byte order mark and are not UTF-8; None where there must be none.
        named: whether the user gave the name.
    """

    name: str
    path: Path | str
    format: str | None = None
    document_type: str = ""
    licence: str = ""
    commercial: bool | None = None
    text_column: str = "text"
    encoding: str | None = None
    named: bool = False

    @cached_property
    def definition(self) -> Definition | None:
        """The registered source whose files these are.

        Raises:
            UserError: the file that defines it is not as it must be.
        """
        registered = self.format and self.format not in FORMATS and is_source(self.format)
        return find_source(self.format) if registered and self.format else None


def check_names(names: list[str]) -> None:
    """Check that sources are called differently, and so that files can be called after them.

    Raises:
        UserError: they are not.
    """
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UserError(f"two sources are called {name!r}", where="sources", fix="name them: NAME=PATH")
        if not SOURCE_NAME.fullmatch(name):
            raise UserError(
                f"{name!r} cannot name a source", allowed="letters, digits, '_', '.', '-'", fix="name it: NAME=PATH"
            )
        seen.add(name)


def made_name(name: str) -> str:
    """A source's name made from a file's or folder's: accents go, and `-` stands for what names may not hold."""
    plain = "".join(each for each in unicodedata.normalize("NFKD", printable(name)) if not unicodedata.combining(each))
    return UNSAFE.sub("-", plain).strip(".-") or "source"
