"""Pages of a wiki's categories, by the MediaWiki API: lists of members, then each page's text."""

from collections.abc import Iterator
from typing import Any

from ...core import log
from ...core.errors import Failed
from ..sources.collection import Categories
from .names import safe_name
from .transport import Passing, Refused
from .visit import Visit, with_params

LISTS, PAGES = "categories", "pages"
COMMON = (("action", "query"), ("format", "json"), ("formatversion", "2"), ("maxlag", "5"))
MEMBERS = (("list", "categorymembers"), ("cmtype", "page|subcat"), ("cmlimit", "500"))
TEXT = (("prop", "extracts|info"), ("explaintext", "1"), ("exlimit", "1"), ("inprop", "url"))
ARTICLES, CATEGORIES = 0, 14
"""Namespaces of every wiki."""
MOST_PARTS = 10_000
"""Answers that one query may be continued by."""


def collect_mediawiki(step: Categories, visit: Visit) -> None:
    """Fetch the pages of categories and of their subcategories, each once.

    Raises:
        Failed: an answer is an error, or a query never ends.
    """
    pages = _members(step, visit)
    visit.counts["entries"] += len(pages)
    for identifier in visit.first(list(pages)):
        params = [*COMMON, *TEXT, ("pageids", str(identifier))]
        for _ in _parts(visit, step.url, params, f"{PAGES}/{identifier}"):
            pass


def _members(step: Categories, visit: Visit) -> dict[int, str]:
    """Page id -> title of the categories' pages, in the order of the lists."""
    pages: dict[int, str] = {}
    entered: set[str] = set()
    level = [f"{step.namespace}:{name}" for name in step.categories]
    without = {f"{step.namespace}:{name}" for name in step.without}
    for _ in range(step.depth + 1):
        below: list[str] = []
        for category in level:
            if category in entered or category in without:
                continue
            entered.add(category)
            for member in _category(category, step, visit):
                if member.get("ns") == CATEGORIES:
                    below.append(str(member.get("title")))
                elif member.get("ns") == ARTICLES and type(member.get("pageid")) is int:
                    pages.setdefault(member["pageid"], str(member.get("title")))
            if visit.limit is not None and len(pages) >= visit.limit:
                return pages
        level = below
    return pages


def _category(title: str, step: Categories, visit: Visit) -> Iterator[dict[str, Any]]:
    name = f"{LISTS}/{safe_name(title.partition(':')[2])}"
    count = 0
    for answer in _parts(visit, step.url, [*COMMON, *MEMBERS, ("cmtitle", title)], name):
        query = answer.get("query")
        members = query.get("categorymembers") if isinstance(query, dict) else None
        if not isinstance(members, list):
            raise Failed(f"{step.url}: the answer lists no members of {title}")
        count += len(members)
        yield from (member for member in members if isinstance(member, dict))
        if visit.limit is not None and count >= visit.limit:
            return
    if not count:
        log.warn(f"collect: {title} has no members; check its name")


def _parts(visit: Visit, url: str, params: list[tuple[str, str]], name: str) -> Iterator[dict[str, Any]]:
    """The answers to a query, as long as each names a continuation.

    Raises:
        Failed: one says what an earlier one has said, or the server refuses the query.
    """
    further: dict[str, str] = {}
    seen: list[dict[str, str]] = []
    for number in range(1, MOST_PARTS):
        address = with_params(url, *params, *sorted(further.items()))
        try:
            answer = visit.page(address, f"{name}{f'-{number}' if number > 1 else ''}.json", _check)
        except Refused as error:
            raise Failed(str(error)) from error
        yield answer
        following = answer.get("continue")
        if not isinstance(following, dict):
            return
        further = {key: str(value) for key, value in following.items()}
        if further in seen:
            raise Failed(f"{url}: the answers go round in a circle: {further}")
        seen.append(further)
    raise Failed(f"{url}: more than {MOST_PARTS:,} answers to one query")


def _check(value: Any) -> None:
    if not isinstance(value, dict) or not isinstance(value.get("query", value.get("error")), dict):
        raise Passing("a broken page: neither a query's answer nor an error")
    if "error" in value:
        raise Failed(f"the server's answer is an error: {str(value['error'])[:300]}")
