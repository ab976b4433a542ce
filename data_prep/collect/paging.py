"""Paging of the sources' search interfaces: Solr's cursors, and scroll sessions; a page is `pages/NUMBER.json`."""

from collections.abc import Iterator
from typing import Any

from ...core import log
from ...core.errors import Failed
from ...core.log import counted
from ..sources.collection import Cursor, FullTexts, Scroll
from ..sources.entry import first
from .download import Expected
from .names import safe_name
from .transport import Passing, Refused
from .visit import Visit, pairs, with_params

PAGES = "pages"
MOST_OF_A_TEXT = 2**29
"""Bytes of a full text, as many as the reader of PDF takes."""
SESSIONS = 3
"""Scroll sessions of a run; each begins from the first page."""


def collect_solr(step: Cursor, visit: Visit) -> None:
    """Fetch the pages of a cursor, and the full texts that their entries name.

    Raises:
        Failed: a page is not Solr's, or the cursors go round in a circle.
    """
    listed, total = 0, None
    for page in _solr_pages(step, visit):
        entries = page["response"]["docs"]
        listed += len(entries)
        total = page["response"].get("numFound")
        for entry in entries if step.full_texts else []:
            _full_text(step.full_texts, entry, visit)
        if visit.limit is not None and listed >= visit.limit:
            break
    else:
        _compare(listed, total, visit)
    visit.counts["entries"] += listed


def _solr_pages(step: Cursor, visit: Visit) -> Iterator[dict[str, Any]]:
    rows = step.rows if visit.limit is None else min(step.rows, visit.limit)
    cursor, seen = "*", set()
    while True:
        seen.add(cursor)
        params = [*pairs(step.params), ("sort", step.sort), ("rows", str(rows)), ("wt", "json"), ("cursorMark", cursor)]
        page = _page(visit, with_params(step.url, *params), len(seen), _check_solr)
        yield page
        following = page["nextCursorMark"]
        if following == cursor:
            return
        if following in seen:
            raise Failed(f"{step.url}: page {len(seen)} leads back to the cursor of an earlier page, {following!r}")
        if not page["response"]["docs"]:
            raise Failed(f"{step.url}: page {len(seen)} is empty, but names another cursor")
        cursor = following


def _page(visit: Visit, url: str, number: int, check: Any) -> Any:
    """A page by its number.

    Raises:
        Failed: the server refuses it.
    """
    try:
        return visit.page(url, f"{PAGES}/{number:06}.json", check)
    except Refused as error:
        raise Failed(str(error)) from error


def _check_solr(value: Any) -> None:
    if isinstance(value, dict) and value.get("error"):
        raise Failed(f"the server's answer is an error: {str(value['error'])[:300]}")
    response = value.get("response") if isinstance(value, dict) else None
    documents = response.get("docs") if isinstance(response, dict) else None
    if not isinstance(documents, list) or not isinstance(value.get("nextCursorMark"), str):
        raise Passing("a broken page: no response.docs with a nextCursorMark")


def _full_text(texts: FullTexts | None, entry: Any, visit: Visit) -> None:
    """Fetch an entry's full text, where it names one and states the licence that must be stated."""
    assert texts is not None
    stated = entry if isinstance(entry, dict) else {}
    address, identifier = first(stated.get(texts.address)), first(stated.get(texts.identifier))
    if not address or not identifier:
        visit.counts["entries without a full text"] += 1
    elif texts.licence and not first(stated.get(texts.licence)):
        visit.counts["full texts without a licence, which are not fetched"] += 1
    else:
        name = f"full_texts/{safe_name(identifier + texts.ending)}"
        visit.one_of_many(address, name, Expected(most=MOST_OF_A_TEXT))


def _compare(listed: int, total: Any, visit: Visit) -> None:
    """Warn if a server lists another number of entries than it counts: its index may have changed meanwhile."""
    if type(total) is int and listed != total:
        visit.counts["entries that the server counts but does not list"] += total - listed
        log.warn(f"collect: the server counts {total:,} entries but lists {listed:,}")


def collect_scroll(step: Scroll, visit: Visit) -> None:
    """Fetch the pages of a scroll session; one that the server has forgotten is begun again from the first page.

    Raises:
        Failed: a page is not one of a scroll session, or repeats an earlier one.
    """
    for _ in range(SESSIONS):
        try:
            visit.counts["entries"] += _scroll(step, visit)
            return
        except Refused as error:
            if error.status not in (404, 410):
                raise Failed(str(error)) from error
        pages = [name for name in visit.raw.answers if name.startswith(f"{PAGES}/")]
        if not pages:
            break
        log.warn(f"collect: the server has ended the scroll session; fetching its {counted(len(pages), 'page')} again")
        visit.raw.forget(pages)
        visit.counts["scroll sessions begun again"] += 1
    raise Failed(f"{step.url}: the server ends each scroll session before its last page")


def _scroll(step: Scroll, visit: Visit) -> int:
    """Fetch one session's pages; how many entries they list."""
    size = step.size if visit.limit is None else min(step.size, visit.limit)
    url = with_params(step.url, *pairs(step.params), ("size", str(size)))
    listed, number, seen = 0, 0, set()
    while True:
        number += 1
        page = visit.page(url, f"{PAGES}/{number:06}.json", _check_scroll)
        identifiers = tuple(str(hit.get("id")) for hit in page["hits"] if isinstance(hit, dict))
        listed += len(page["hits"])
        if visit.limit is not None and listed >= visit.limit:
            return listed
        if page.get("noMoreScrollResults") or not page.get("nextScrollURI"):
            _compare(listed, page.get("total"), visit)
            return listed
        if not identifiers or identifiers in seen:
            wrong = "repeats an earlier page" if identifiers else "is empty"
            raise Failed(f"{step.url}: page {number} {wrong}, and the session does not end")
        seen.add(identifiers)
        url = str(page["nextScrollURI"])


def _check_scroll(value: Any) -> None:
    if isinstance(value, dict) and value.get("error"):
        raise Failed(f"the server's answer is an error: {str(value['error'])[:300]}")
    if not isinstance(value, dict) or not isinstance(value.get("hits"), list):
        raise Passing("a broken page: no list of hits")
