"""Facts about a document: what it states itself; else what the user, or the registry of sources, says."""

from typing import Any

from ..sources.definition import Definition
from .record import FIELDS, Record
from .sources import Source
from .terms import Terms, terms_of

BY_DOCUMENT = "stated by the document"
BY_USER = "stated by the user of the files"


def describe(record: Record, source: Source) -> dict[str, Any]:
    """Metadata of a record: what it states itself; else what the user says of its source, or the registry.

    Returns:
        A value for each of record.FIELDS; an empty string for what is not known, None for `commercial`. `source` is
        what the record states, or the source's name.
    """
    stated = record.stated
    defaults = {
        "doc_id": f"{source.name}/{record.key}",
        "source": source.name,
        "document_type": source.document_type,
        "original_split": record.split,
        "origin": record.key,
    }
    defaults |= facts_of_source(source) | licence_facts(stated.get("licence") or "", source)
    known = {name: stated.get(name) or defaults.get(name, "") for name in FIELDS}
    return known | {"commercial": may_be_sold(stated.get("commercial"), stated.get("licence"), source)}


def may_be_sold(stated: bool | None, licence: str | None, source: Source) -> bool | None:
    """Whether a document may be used commercially; None where nobody says.

    What the document states counts first, then a licence of its own that excludes it, then what the user says of the
    files, then a licence of its own that allows it, and at last what the registry states of the source.

    Args:
        stated: what the document states of it.
        licence: the document's own.
        source: its source.
    """
    own = terms_of(licence).commercial if licence else None
    users = terms_of(source.licence).commercial
    registered = source.definition.licence.commercial if source.definition and not source.licence else None
    in_turn = (stated, False if own is False else None, source.commercial, own, users, registered)
    return next((each for each in in_turn if each is not None), None)


def facts_of_source(source: Source) -> dict[str, str]:
    """Language and address of a registered source, for documents without their own: a part of record.FIELDS."""
    if source.definition is None:
        return {}
    return {"language": source.definition.language, "url": next(iter(source.definition.endpoints), "")}


def licence_facts(stated: str, source: Source) -> dict[str, str]:
    """The facts about a document's licence: a part of record.FIELDS.

    They are its name, SPDX identifier and address, who states it, and what contradicts it. Of a registered source the
    licence is filled in only where it holds for all documents.

    Args:
        stated: the licence that the document states; empty where it states none.
        source: its source.
    """
    own = stated or source.licence
    registered = source.definition.licence if source.definition and not own else None
    licence, terms = own, terms_of(own)
    evidence = BY_DOCUMENT if stated else BY_USER if own else ""
    if registered:
        evidence = "; ".join(registered.evidence)
    if registered and registered.commercial is not None:
        licence, terms = registered.spdx or registered.name, Terms(registered.spdx, registered.url)
    return {
        "licence": licence,
        "spdx": terms.spdx,
        "licence_url": terms.url,
        "licence_evidence": evidence,
        "licence_conflict": _conflict(own, source.definition),
    }


def _conflict(licence: str, definition: Definition | None) -> str:
    """Contradiction of a document's licence that the registry states; empty where there is none.

    Args:
        licence: the one that the document, or its user, states; empty where neither does.
        definition: its source.
    """
    if definition is None or not definition.licence.conflict:
        return ""
    excluded = licence and terms_of(licence).commercial is False
    holds = {"all": True, "unlicensed": not licence, "non-commercial": excluded or not licence}
    return definition.licence.conflict if holds[definition.licence.conflict_of] else ""
