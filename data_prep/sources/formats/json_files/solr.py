"""HAL's search answers: Solr's JSON, `response.docs[]`, one page of a cursor each."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from ....documents.record import BadDocumentError, Rejected, require_unicode
from ....documents.streams import SourceFile
from ...entry import FRENCH, Entry, filled, first, texts
from .server_answers import answers, list_in


def read_solr(file: SourceFile) -> Iterator[Entry | Rejected]:
    """The documents that a page lists.

    Raises:
        FileError: the file is no such page; a server's error is named.
    """
    number = 0
    for page in answers(file):
        for document in list_in(page, ("response", "docs"), file):
            number += 1
            try:
                yield _entry(document, f"{file.name}#{number}")
            except BadDocumentError as error:
                yield Rejected(file.where, number, str(error))


def _entry(document: Any, origin: str) -> Entry:
    if not isinstance(document, dict) or not first(document.get("halId_s")):
        raise BadDocumentError("a document without a halId_s")
    identifier = first(document["halId_s"])
    languages = texts(document.get("language_s"))
    french = not languages or any(language.lower() in FRENCH for language in languages)
    stated = filled(
        doc_id=identifier,
        title=first(document.get("fr_title_s"), document.get("title_s")),
        authors="; ".join(texts(document.get("authFullName_s"))),
        licence=first(document.get("licence_s")),
        date=first(document.get("publicationDate_s"), document.get("producedDate_s")),
        url=first(document.get("uri_s")),
        doi=first(document.get("doiId_s")),
        language="fr" if french and languages else first(languages),
    )
    text = require_unicode(_abstract(document, only_french=languages == ["fr"]), "abstract_s")
    return Entry(identifier, stated, origin, text=text, names=_file_names(document), french=french)


def _abstract(document: dict[str, Any], *, only_french: bool) -> str:
    """Title and abstract in French; empty where there is no abstract that is known to be in French."""
    alone = texts(document.get("abstract_s"))
    abstract = first(document.get("fr_abstract_s")) or (alone[0] if only_french and len(alone) == 1 else "")
    title = first(document.get("fr_title_s")) or (first(document.get("title_s")) if only_french else "")
    return "\n".join(filter(None, [title, abstract])) if abstract else ""


def _file_names(document: dict[str, Any]) -> tuple[str, ...]:
    """The name of the main file, without its ending, unless all files are called so."""
    name = urlsplit(first(document.get("fileMain_s"))).path.rpartition("/")[2].split(".")[0]
    return (name,) if name and name != "document" else ()
