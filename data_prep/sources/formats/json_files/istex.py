"""ISTEX's scroll API: pages with `hits[]`; or the record of one document, as its archives hold it."""

from collections.abc import Iterator
from typing import Any

from ....documents.record import BadDocumentError, Rejected, require_unicode
from ....documents.streams import SourceFile
from ...entry import FRENCH, Entry, filled, first, texts
from .server_answers import answers, list_in


def read_istex(file: SourceFile) -> Iterator[Entry | Rejected]:
    """The documents that a page lists.

    Raises:
        FileError: the file is no such page; a server's error is named.
    """
    number = 0
    for page in answers(file):
        for hit in [page] if "hits" not in page and "id" in page else list_in(page, ("hits",), file):
            number += 1
            try:
                yield _entry(hit, f"{file.name}#{number}")
            except BadDocumentError as error:
                yield Rejected(file.where, number, str(error))


def _entry(hit: Any, origin: str) -> Entry:
    if not isinstance(hit, dict) or not first(hit.get("id"), hit.get("idIstex")):
        raise BadDocumentError("a hit without an id")
    identifier = first(hit.get("id"), hit.get("idIstex"))
    languages = [language.lower() for language in texts(hit.get("language"))]
    french = not languages or any(language in FRENCH for language in languages)
    authors = hit["author"] if isinstance(hit.get("author"), list) else []
    ark = first(hit.get("arkIstex"), hit.get("ark"))
    stated = filled(
        doc_id=identifier,
        title=first(hit.get("title")),
        authors="; ".join(first(each.get("name")) for each in authors if isinstance(each, dict)),
        date=first(hit.get("publicationDate"), hit.get("copyrightDate")),
        doi=first(hit.get("doi")),
        url=f"https://api.istex.fr/{ark}" if ark else "",
        language="fr" if french and languages else first(languages),
    )
    abstract = first(hit.get("abstract")) if languages in (["fre"], ["fra"], ["fr"]) else ""
    text = "\n".join(filter(None, [first(hit.get("title")), abstract])) if abstract else ""
    return Entry(
        identifier,
        stated,
        origin,
        text=require_unicode(text, "abstract"),
        names=(ark.rpartition("/")[2],) if ark else (),
        french=french,
    )
