"""Files of a registered source: how each is read, by its definition."""

from collections.abc import Sequence
from dataclasses import replace

from ..sources.definition import Definition
from ..sources.registry import registry
from ..sources.rules import rule_for
from . import content
from .faults import FileError
from .folders import Unread
from .sources import Source
from .streams import SourceFile, marked

ONE_DOCUMENT = ("text", "brat", "pdf", "html", "tei", "xmi", "e3c", "mqc")
"""Formats of files that hold a document each: one that cannot be read is a damaged document, not a missing part."""
JSON = ("solr", "istex", "opendatasoft", "mediawiki", "frenchmedmcqa")
XML = ("tmx", "gsc", "bioc")
BINARY = ("pdf", "parquet")
ROWS = ("translations", "instructions")
"""Formats of rows, in Parquet or in text."""
TOGETHER = ("bdpm", "conll")
"""Formats of files that are read together with all others of their format."""
ERROR_PAGE = "it may be a server's message: fetch the file again"


def shares(sources: Sequence[Source], max_rejected: float | None) -> list[tuple[list[Source], float | None]]:
    """Sources whose damaged documents are counted together, and the share of them that may be: None for none.

    Where the user names a share it holds for all together; else each registered source has its own, and one's own files
    have none.
    """
    if max_rejected is not None:
        return [(list(sources), max_rejected)]
    own = [source for source in sources if source.definition is None]
    registered = [source for source in sources if source.definition is not None]
    return [(own, None), *(([source], registry().max_rejected) for source in registered)]


def allowed_share(sources: Sequence[Source], max_rejected: float | None) -> float | None:
    """The share of documents that may be damaged: the user's, else one in 1,000 where all sources are registered."""
    if max_rejected is None and all(source.definition is not None for source in sources):
        return registry().max_rejected
    return max_rejected


def published_file(
    file: SourceFile, definition: Definition, name: str, head: bytes, *, alone: bool
) -> SourceFile | Unread:
    """How a file of a registered source is read, or why it is not.

    Args:
        file: the file, as far as its first bytes say.
        definition: its source.
        name: its name without the endings of what it is packed in.
        head: its first bytes, unpacked.
        alone: whether the user named the file itself.

    Raises:
        FileError: it holds many documents, and by its first bytes it is not of its format.
    """
    rule = rule_for(definition, name, alone=alone)
    if rule is None:
        return Unread(file.name, f"no file of {definition.key}, by its name")
    if rule.holds and alone:
        fix = "give the file with the text, or the folder"
        raise FileError(f"{rule.holds}, which are not read", where=file.where, fix=fix)
    if rule.holds:
        return Unread(file.name, rule.holds)
    if rule.format not in ONE_DOCUMENT:
        _check_content(rule.format, head, file)
    together = rule.format if rule.format in TOGETHER else ""
    if definition.joined and rule.format != "lines":
        together = "collection"
    return replace(file, format=rule.format, encoding=rule.encoding, options=rule.options, together=together)


def conversation_file(file: SourceFile, format: str, head: bytes, *, alone: bool) -> SourceFile | Unread:
    """How a file of conversations is read, or why it is not: in Parquet or JSON, whatever it is called.

    Args:
        file: the file, as far as its first bytes say.
        format: of its rows.
        head: its first bytes, unpacked.
        alone: whether the user named the file itself.

    Raises:
        FileError: it is neither, and the user named it.
    """
    if not head.startswith(b"PAR1"):
        text = head.decode(marked(head) or "utf-8", "replace").lstrip("\ufeff \t\r\n")
        if not text.startswith(("{", "[")):
            reason = f"neither JSON nor Parquet, and --format is {format}"
            if alone:
                raise FileError(reason, where=file.where, allowed="a JSON object a line, a JSON array, or Parquet")
            return Unread(file.name, reason)
    elif file.packing:
        raise FileError(f"Parquet inside {file.packing} data", where=file.where, fix="unpack it")
    return replace(file, format=format)


def _check_content(format: str, head: bytes, file: SourceFile) -> None:
    """Check a file's first bytes."""
    kind = content.binary_kind(head, "")
    if format in BINARY or (format in ROWS and head.startswith(b"PAR1")):
        return
    if kind:
        raise FileError(f"{kind[0]}, not what the source publishes", where=file.where, fix=kind[1])
    text = head.decode(marked(head) or "utf-8", "replace").lstrip("\ufeff \t\r\n")
    if content.is_page(text):
        raise FileError("an HTML page, not what the source publishes", where=file.where, fix=ERROR_PAGE)
    if format in JSON and not text.startswith(("{", "[")):
        raise FileError("not JSON", where=file.where, allowed="a JSON object or array", fix=ERROR_PAGE)
    if format in XML and not text.startswith("<"):
        raise FileError("not XML", where=file.where, fix=ERROR_PAGE)
