"""Editions of a corpus: the documents that a use allows, chosen by what is known of each."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from ...core.errors import check_known
from ..sources.definition import Definition


class Edition(StrEnum):
    """A use of a corpus.

    Attributes:
        COMMERCIAL: documents that may be used commercially.
        RESEARCH: all documents.
        STRICT: documents that may be used commercially, by a licence that is known and that nothing contradicts.
        PAPER: documents of the sources in the paper's Table 1; it decides by source what is commercial.
    """

    COMMERCIAL = "commercial"
    RESEARCH = "research"
    STRICT = "strict"
    PAPER = "paper"


def edition_of(name: str | None) -> Edition | None:
    """The edition of a name.

    Raises:
        UserError: there is none; the nearest name is given.
    """
    if name is None:
        return None
    check_known(name, [str(each) for each in Edition], "edition", "--edition")
    return Edition(name)


def reason_to_leave_out(edition: Edition | None, known: Mapping[str, Any], definition: Definition | None) -> str:
    """Why a document is not part of an edition, or an empty string.

    Args:
        edition: the edition; None for all documents.
        known: what is known of the document, see `describe`.
        definition: its source, where that is a registered one.
    """
    if edition is Edition.PAPER:
        return "" if definition and definition.documents is not None else "not of a source in the paper's Table 1"
    if edition not in (Edition.COMMERCIAL, Edition.STRICT):
        return ""
    if known["commercial"] is not True:
        unknown = known["commercial"] is None
        return "it is not known whether commercial use is allowed" if unknown else "commercial use is not allowed"
    if edition is Edition.STRICT and known["licence_conflict"]:
        return "the licence is disputed"
    return "no licence is known" if edition is Edition.STRICT and not known["licence"] else ""


def as_counted(edition: Edition | None, known: dict[str, Any], definition: Definition | None) -> dict[str, Any]:
    """Facts about a document, as an edition counts them: the paper decides by source what is commercial."""
    if edition is Edition.PAPER and definition is not None:
        return known | {"commercial": definition.edition == "commercial"}
    return known
