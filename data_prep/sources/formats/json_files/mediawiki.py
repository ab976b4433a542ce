"""The MediaWiki API's answers to `action=query&prop=extracts`: a page's plain text is a document."""

from collections.abc import Iterator
from typing import Any

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from ....documents.faults import FileError
from ....documents.record import BadDocumentError, LeftOut, Record, Rejected, is_blank, require_unicode
from ....documents.streams import SourceFile
from ...entry import filled, first
from ..xml_files.web_page import visible_text
from .server_answers import answers


def read_mediawiki(file: SourceFile) -> Iterator[Record | Rejected | LeftOut]:
    """The pages of a file's answers, by page id; extracts in HTML, as the API gives them unless asked, as text.

    Raises:
        FileError: the file is no such answer; a server's error is named.
    """
    for answer in answers(file):
        query = answer.get("query")
        pages = query.get("pages") if isinstance(query, dict) else None
        if not isinstance(pages, dict | list):
            allowed = "an answer to action=query"
            raise FileError("the answer has no query.pages", where=file.where, allowed=allowed, fix="fetch it again")
        for number, page in enumerate(pages.values() if isinstance(pages, dict) else pages, 1):
            try:
                yield _page(page, file)
            except BadDocumentError as error:
                yield Rejected(file.where, number, str(error))


def _page(page: Any, file: SourceFile) -> Record | LeftOut:
    if not isinstance(page, dict):
        raise BadDocumentError("a page that is not an object")
    if page.get("missing") not in (None, False) or page.get("invalid") not in (None, False):
        return LeftOut("pages that do not exist")
    identifier = str(page.get("pageid", ""))
    if "extract" not in page:
        return LeftOut("pages whose text is in another answer")  # the API goes on with the rest of a page there
    text = page["extract"]
    if not isinstance(text, str) or is_blank(text) or not identifier:
        raise BadDocumentError(f"the page {page.get('title')!r} has no id, or no text")
    if text.lstrip().startswith("<"):
        text = visible_text(etree.fromstring(text.encode(), etree.HTMLParser(encoding="utf-8", no_network=True)))
    revision = page.get("lastrevid")
    stated = filled(
        doc_id=identifier,
        title=first(page.get("title")),
        url=first(page.get("fullurl"), page.get("canonicalurl"))
        + (f"?oldid={revision}" if revision and page.get("fullurl") else ""),
        date=first(page.get("touched")),
        language=first(page.get("pagelanguage")),
    )
    return Record(f"{file.name}#{identifier}", require_unicode(text, "extract"), stated, file.split)
