"""An entry of a source's index, which a full text may belong to."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FRENCH = ("fr", "fre", "fra", "french", "français")
"""Names of the language whose texts are read."""


@dataclass(frozen=True)
class Entry:
    """Entry of an index: what that says of a document.

    Attributes:
        key: the publisher's id.
        stated: what the index states of it: a part of `record.FIELDS`.
        text: its title and abstract, where they are in French; the document where no full text is at hand.
        names: other names that a file of its full text may have, without endings.
        french: whether it is in French, or the index does not say.
        origin: the index's file and the entry's number there.
    """

    key: str
    stated: Mapping[str, Any]
    origin: str
    text: str = ""
    names: tuple[str, ...] = ()
    french: bool = True


def texts(value: Any) -> list[str]:
    """The texts of a field that holds one text, or a list of them; others are passed over."""
    values = value if isinstance(value, list) else [value]
    return [each.strip() for each in values if isinstance(each, str) and each.strip()]


def first(*values: Any) -> str:
    """The first text of some fields, or an empty string."""
    return next((text for value in values for text in texts(value)), "")


def filled(**stated: str) -> dict[str, str]:
    """The facts that are stated, without those that are empty."""
    return {name: value for name, value in stated.items() if value}
