"""Files that the user has written: where they may lie, and their text: UTF-8, or what its byte order mark says."""

import os
from pathlib import Path

from ....core.errors import UserError
from ....data_prep.documents.content import binary_kind
from ....data_prep.documents.streams import marked

HEAD = 2048
"""Bytes by which a file is recognised that holds no text."""


def lies_within(name: str, folder: Path, within: Path) -> bool:
    """Whether a name of a file, relative to `folder`, leads to a place below `within`, through whatever links."""
    if not name or "\0" in name or Path(name).is_absolute():
        return False
    return Path(os.path.realpath(folder / name)).is_relative_to(os.path.realpath(within))


def decoded(data: bytes, path: Path) -> str:
    """The text of a file's bytes.

    Raises:
        UserError: they are those of another kind of file, or not of that encoding; says the line.
    """
    other = binary_kind(data[:HEAD], path.suffix[1:].lower())
    if other:
        kind, fix = other
        raise UserError(f"{path.name} is not text: {kind}", where=str(path), fix=fix)
    encoding = marked(data) or "utf-8"
    try:
        return data.decode(encoding)
    except UnicodeError as error:
        start = getattr(error, "start", 0)
        line = data[:start].count(b"\n") + 1
        raise UserError(
            f"{path.name} is not {encoding.upper()}: byte 0x{data[start : start + 1].hex()}",
            where=f"{path}:{line}",
            fix="save it as UTF-8; from Windows' encoding of Western Europe: iconv -f CP1252 -t UTF-8 FILE > NEW",
        ) from None
