"""Elements of an XML file, one after the other, from a parser that follows nothing and expands nothing."""

from collections.abc import Callable, Collection, Iterator
from typing import Any

from lxml import etree  # pyright: ignore[reportAttributeAccessIssue]

from ....documents.faults import FileError
from ....documents.streams import SourceFile, open_bytes

SAFE: dict[str, Any] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
}
"""lxml's options: entities stay as they are, no DTD is loaded, and depth and length of a text are bounded (10 MB)."""
XML_LANGUAGE = "{http://www.w3.org/XML/1998/namespace}lang"


def elements(file: SourceFile, tag: str) -> Iterator[etree._Element]:
    """The elements of a name, in whichever namespace, each whole; it is emptied when the next is asked for.

    Raises:
        FileError: the file is not well-formed XML, or an element refers to an entity; says the line.
    """
    with open_bytes(file.path, file.packing) as stream:
        try:
            for _, element in etree.iterparse(stream, events=("end",), tag=f"{{*}}{tag}", **SAFE):
                require_no_entity(element, file)
                yield element
                _forget(element)
        except etree.XMLSyntaxError as error:
            raise not_xml(error, file) from None


def read_tree(file: SourceFile) -> etree._Element:
    """The root of a small file.

    Raises:
        FileError: see `elements`.
    """
    with open_bytes(file.path, file.packing) as stream:
        try:
            root = etree.parse(stream, etree.XMLParser(**SAFE)).getroot()
        except etree.XMLSyntaxError as error:
            raise not_xml(error, file) from None
    require_no_entity(root, file)
    return root


def require_no_entity(element: etree._Element, file: SourceFile) -> None:
    """Check that no text of an element is an entity's, which would be missing from it.

    In attributes, where the parser replaces them, declared entities are enough to refuse a file.

    Raises:
        FileError: it is.
    """
    declared = element.getroottree().docinfo.internalDTD
    if declared is not None and (named := next(declared.iterentities(), None)) is not None:
        what = f"the XML declares the entity {named.name[:40]}, and entities are not expanded"
        raise FileError(what, where=file.where, fix="write the characters themselves")
    entity = next(element.iter(etree.Entity), None)
    if entity is not None:
        what = f"the XML refers to the entity {str(entity.text)[:40]}, and entities are not expanded"
        raise FileError(what, where=f"{file.where}:{element.sourceline}", fix="write the characters themselves")


def not_xml(error: etree.XMLSyntaxError, file: SourceFile) -> FileError:
    """The error that says where a file is not well-formed."""
    return FileError(f"not well-formed XML: {error.msg}", where=f"{file.where}:{error.lineno or 1}")


def _forget(element: etree._Element) -> None:
    """Empty an element, and drop those before it: a file of gigabytes takes no more memory than its largest one."""
    element.clear()
    parent = element.getparent()
    while parent is not None and element.getprevious() is not None:
        del parent[0]


def local_name(element: etree._Element) -> str:
    """An element's name without its namespace; empty for what is none."""
    return element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""


def children(element: etree._Element, name: str) -> list[etree._Element]:
    """The children of a name, in whichever namespace."""
    return [child for child in element if local_name(child) == name]


def text_of(element: etree._Element, without: Collection[str] = ()) -> str:
    """The text of an element and of those in it, except those of some names."""
    return "".join("".join(parts) for parts in _parts(element, without, frozenset[str]().__contains__, ()))


def lines_of(
    element: etree._Element, *, without: Collection[str], block: Callable[[str], bool], cells: Collection[str] = ()
) -> str:
    """The text of an element with each block on a line, white space within lines collapsed, empty lines left out.

    Args:
        element: what holds the text.
        without: names of the elements that are none of it.
        block: whether an element of a name begins a line, and ends one.
        cells: names of the elements that a blank separates from what follows.
    """
    lines = (" ".join("".join(parts).split()) for parts in _parts(element, without, block, cells))
    return "\n".join(line for line in lines if line)


def _parts(
    root: etree._Element, without: Collection[str], block: Callable[[str], bool], cells: Collection[str]
) -> list[list[str]]:
    """The parts of each line; without recursion, since a page may be nested as deep as it likes."""
    lines: list[list[str]] = [[]]
    hidden = 0
    for event, element in etree.iterwalk(root, events=("start", "end")):
        name = local_name(element)
        hidden -= event == "end" and name in without
        lines += [[]] if block(name) else []
        hidden += event == "start" and name in without
        if not hidden and event == "start":
            lines[-1].append(element.text or "")
        elif not hidden and element is not root:
            lines[-1].append((" " if name in cells else "") + (element.tail or ""))
    return lines
