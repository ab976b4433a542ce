"""HTML pages: the visible text, a block a line."""

import re
from collections.abc import Iterator
from pathlib import PurePath

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from ....documents import streams
from ....documents.record import Record, Rejected, is_blank
from ....documents.streams import SourceFile, open_text
from ...entry import filled
from .elements import lines_of

HIDDEN = frozenset(
    ("script", "style", "head", "noscript", "template", "svg", "select", "button", "iframe", "nav", "header", "footer")
)
"""Elements of which a page's reader sees no text, and those around it that every page of a site repeats."""
CELLS = frozenset(("td", "th"))
INLINE = frozenset(
    (*CELLS, "a", "abbr", "b", "bdi", "bdo", "cite", "code", "del", "dfn", "em", "font", "i", "ins", "kbd", "label")
) | frozenset(
    ("mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup", "time", "tt", "u", "var", "wbr")
)
"""Elements within a line; all others begin one."""


def read_html(file: SourceFile) -> Iterator[Record | Rejected]:
    """The document of a page, by its file's name.

    Raises:
        FileError: it cannot be unpacked or decoded.
    """
    with open_text(file) as stream:
        content = stream.read(streams.LINE_BYTES)
    parser = etree.HTMLParser(encoding="utf-8", no_network=True, remove_comments=True, remove_pis=True)
    try:
        root = etree.fromstring(content.encode("utf-8"), parser) if not is_blank(content) else None
    except (etree.XMLSyntaxError, ValueError) as error:
        yield Rejected(file.where, 0, f"not an HTML page: {error}")
        return
    fatal = next((str(each.message) for each in parser.error_log if each.level_name == "FATAL"), "")
    text = visible_text(root) if root is not None else ""
    if fatal or is_blank(text):
        yield Rejected(file.where, 0, f"the page is cut off: {fatal}" if fatal else "the page has no text")
    else:
        yield Record(file.name, text, filled(doc_id=_identifier(file.name), title=_title(root)), file.split)


def _identifier(name: str) -> str:
    """The drug's code in the name of a leaflet's page, or the name without its ending."""
    stem = PurePath(name).name
    code = re.search(r"(?<!\d)\d{8}(?!\d)", stem)
    return code[0] if code else stem.split(".")[0]


def _title(root: etree._Element | None) -> str:
    title = root.find(".//title") if root is not None else None
    return " ".join((title.text or "").split()) if title is not None else ""


def visible_text(root: etree._Element) -> str:
    """The text that a page shows, a block a line."""
    return lines_of(root, without=HIDDEN, block=lambda name: name not in INLINE, cells=CELLS)
