"""Files of a source that are read together: tables that are joined, and an index with the full texts of its entries."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import PurePath

from ..documents.faults import FileError
from ..documents.record import LeftOut, Record, Rejected
from ..documents.streams import SourceFile
from .entry import Entry
from .formats.brat import read_brat
from .formats.json_files.istex import read_istex
from .formats.json_files.opendatasoft import read_opendatasoft
from .formats.json_files.solr import read_solr
from .formats.text_files.bdpm import read_bdpm
from .formats.text_files.conll import read_sentences_once
from .readers import NATIVE

Item = Record | Rejected | LeftOut
INDEXES: dict[str, Callable[[SourceFile], Iterator[Entry | Rejected]]] = {
    "solr": read_solr,
    "istex": read_istex,
    "opendatasoft": read_opendatasoft,
}
"""Format of an index -> its reader."""
FORMS = ("text", "e3c", "html", "tei", "pdf", "xmi")
"""Formats of a full text; of a document in several of them the first is read."""
TEXT_READERS = NATIVE | {"text": read_brat}
VERSION = re.compile(r"v\d+$")


def rejecting(items: Iterator[Item], file: SourceFile) -> Iterator[Item]:
    """The items of a file that holds one document: where the file cannot be read, the document is damaged."""
    try:
        yield from items
    except FileError as error:
        yield Rejected(file.where, 0, error.what)


def read_collection(files: Sequence[SourceFile]) -> Iterator[Item]:
    """The documents of an index's entries, and full texts that no entry names.

    An entry's document is its full text with what the index states of it; without one, the title and abstract in
    French that the index gives.

    Raises:
        FileError: an index cannot be read.
    """
    entries: list[Entry] = []
    for file in (file for file in files if file.format in INDEXES):
        for item in INDEXES[file.format](file):
            if isinstance(item, Entry):
                entries.append(item)
            else:
                yield item
    by_name = {name.lower(): entry for entry in reversed(entries) for name in (*entry.names, entry.key)}
    read: set[str] = set()
    full_texts = [file for file in files if file.format not in INDEXES]
    for file in sorted(full_texts, key=lambda file: FORMS.index(file.format)):
        yield from _full_text(file, by_name, read)
    yield from _without_full_text(entries, read)


def _full_text(file: SourceFile, by_name: dict[str, Entry], read: set[str]) -> Iterator[Item]:
    """The document of a file, unless it was read in another form; notes it in `read`."""
    entry = next((by_name[name] for name in _names(file.name) if name in by_name), None)
    identity = entry.key if entry else _names(file.name)[0]
    if identity in read:
        yield LeftOut("second forms of a document")
    elif entry and not entry.french:
        read.add(identity)
        yield LeftOut("documents in another language")
    else:
        for item in rejecting(TEXT_READERS[file.format](file), file):
            if isinstance(item, Record):
                read.add(identity)
                yield replace(item, stated={**item.stated, **entry.stated}) if entry else item
            else:
                yield item


def _without_full_text(entries: Sequence[Entry], read: set[str]) -> Iterator[Item]:
    """The documents of the entries whose full text is not at hand."""
    for entry in entries:
        if entry.key in read:
            continue
        read.add(entry.key)  # an entry that two pages list is one
        if not entry.french:
            yield LeftOut("documents in another language")
        elif entry.text:
            yield Record(entry.origin, entry.text, {**entry.stated, "subset": "abstract"})
        else:
            yield LeftOut("entries of an index without a full text here, or an abstract in French")


def _names(name: str) -> list[str]:
    """Names that an index may give to a full text's file: its name, its folder's, and both without a version."""
    path = PurePath(name.lower())
    stems = [path.name.split(".")[0], *([path.parent.name] if path.parent.name else [])]
    return list(dict.fromkeys([*stems, *(VERSION.sub("", stem) for stem in stems)]))


GROUPED: dict[str, Callable[[Sequence[SourceFile]], Iterator[Item]]] = {
    "bdpm": read_bdpm,
    "conll": read_sentences_once,
    "collection": read_collection,
}
"""Format of files that are read together -> their reader."""
