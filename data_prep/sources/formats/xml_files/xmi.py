"""UIMA's XMI: a text in the attribute `sofaString` of a view, and annotations by their offsets, which are not read."""

from collections.abc import Iterator
from pathlib import PurePath

from ....documents.record import Record, Rejected, is_blank
from ....documents.streams import SourceFile
from .elements import elements

FIRST_VIEW = "_InitialView"


def read_xmi(file: SourceFile) -> Iterator[Record | Rejected]:
    """The document of a file: the text of its first view.

    Raises:
        FileError: it is not well-formed XML.
    """
    views = [
        (element.get("sofaID"), element.get("sofaString") or "")
        for element in elements(file, "Sofa")
        if element.get("sofaString") is not None
    ]
    views.sort(key=lambda view: view[0] != FIRST_VIEW)
    if not views or is_blank(views[0][1]):
        reason = "there is no cas:Sofa with a sofaString" if not views else "the sofaString is empty"
        yield Rejected(file.where, 0, reason)
    else:
        yield Record(file.name, views[0][1], {"doc_id": PurePath(file.name).name.split(".")[0]}, file.split)
