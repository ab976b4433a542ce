"""TEI: the body's text, or of a bibliographic record the title and abstract in French."""

from collections.abc import Iterator

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from ....documents.record import LeftOut, Record, Rejected, is_blank
from ....documents.streams import SourceFile
from ...entry import FRENCH, filled
from .elements import XML_LANGUAGE, children, lines_of, local_name, read_tree, text_of

BLOCKS = frozenset(("p", "head", "ab", "l", "item", "label", "row", "figDesc", "quote", "div", "lg", "list"))
"""Elements that begin a line of their own."""
BREAKS = frozenset(("lb", "pb", "cb", "cell"))
"""Elements that stand for a blank."""
NOT_TEXT = frozenset(("note", "teiHeader", "back", "formula", "graphic"))
"""Elements that are not part of the running text."""


def read_tei(file: SourceFile) -> Iterator[Record | Rejected | LeftOut]:
    """The document of a file; of a list of bibliographic records (HAL's), one each.

    Raises:
        FileError: it is not well-formed XML.
    """
    root = read_tree(file)
    if local_name(root) == "html":
        yield Rejected(file.where, 0, "an HTML page, not TEI: it may be a server's message")
        return
    records = list(root.iter("{*}biblFull"))
    if not records:
        yield _document(root, file)
    for number, record in enumerate(records, 1):
        stated, text = _stated(record), _abstract(record)
        if is_blank(text):
            yield LeftOut("records without an abstract in French")
        else:
            yield Record(f"{file.name}#{stated.get('doc_id', number)}", text, stated, file.split)


def _document(root: etree._Element, file: SourceFile) -> Record | Rejected:
    text = "\n".join(filter(None, map(_running_text, root.iter("{*}body")))) or _abstract(root)
    if is_blank(text):
        return Rejected(file.where, 0, "there is neither a body with text nor an abstract in French")
    return Record(file.name, text, _stated(root), file.split)


def _running_text(element: etree._Element) -> str:
    """The text of a body or an abstract, a block a line."""
    return lines_of(element, without=NOT_TEXT, block=BLOCKS.__contains__, cells=BREAKS)


def _stated(record: etree._Element) -> dict[str, str]:
    """Facts that the header states."""
    title = _first(record, "titleStmt", "title") or _first(record, "analytic", "title")
    licence = next((each.get("target") or text_of(each) for each in record.iter("{*}licence")), "")
    language = next((each.get("ident") or "" for each in record.iter("{*}language")), "")
    people = (name for author in record.iter("{*}author") for name in author.iter("{*}persName"))
    names = [" ".join(text_of(person).split()) for person in people]
    return filled(
        doc_id=_identifier(record, "halid"),
        title=title,
        licence=licence.strip(),
        language=language,
        authors="; ".join(dict.fromkeys(filter(None, names))),
        doi=_identifier(record, "doi"),
        url=_identifier(record, "haluri"),
    )


def _identifier(record: etree._Element, kind: str) -> str:
    matches = (text_of(each).strip() for each in record.iter("{*}idno") if (each.get("type") or "").lower() == kind)
    return next(matches, "")


def _first(record: etree._Element, parent: str, name: str) -> str:
    """The first child of a name of the first parent of a name, in French where there is one."""
    matches = [child for each in record.iter(f"{{*}}{parent}") for child in children(each, name)]
    matches.sort(key=lambda child: child.get(XML_LANGUAGE, "fr") not in FRENCH)
    return " ".join(text_of(matches[0]).split()) if matches else ""


def _abstract(record: etree._Element) -> str:
    """Title and abstract in French; empty where there is no such abstract."""
    matches = [each for each in record.iter("{*}abstract") if each.get(XML_LANGUAGE, "").lower() in FRENCH]
    if not matches:
        return ""
    title = _first(record, "titleStmt", "title") or _first(record, "analytic", "title")
    return "\n".join(filter(None, [title, _running_text(matches[0])]))
