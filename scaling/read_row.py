"""Reading a row of a table that somebody else has made: each field is checked, and what is assumed is noted."""

from typing import Any

from ..core.errors import UserError

SMALLEST, LARGEST = 1e-9, 1e15
"""Range of a number that a row may state: beyond it products of several would overflow."""


class Row:
    """A row's fields.

    Attributes:
        value: the row.
        where: it was read from, for messages.
        assumed: notes on what was taken where the row does not say.
    """

    def __init__(self, value: dict[str, Any], where: str) -> None:
        """Begin to read a row."""
        self.value, self.where, self.assumed = value, where, list[str]()

    def number(self, name: str, default: float | None = None, why: str = "") -> float | None:
        """A positive number; where it is not stated `default`, which is noted."""
        value = self.value.get(name)
        if value is None:
            if default is not None:
                self.assumed.append(f"{name} is taken as {default:g}{why and f': {why}'}")
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not SMALLEST < value < LARGEST:
            allowed = f"a number above 0 (from {SMALLEST:g} to {LARGEST:g})"
            raise UserError(f"{name} is {repr(value)[:40]}", where=self.where, allowed=allowed)
        return float(value)

    def whole(self, name: str, default: int | None = None, why: str = "") -> int | None:
        """As `number`, a whole one."""
        value = self.number(name, default, why)
        if value is not None and value != int(value):
            raise UserError(f"{name} is {value:g}", where=self.where, allowed="a whole number from 1")
        return None if value is None else int(value)

    def text(self, name: str) -> str:
        """A text, empty where it is not stated."""
        value = self.value.get(name)
        if value is not None and not isinstance(value, str):
            raise UserError(f"{name} is {value!r}", where=self.where, allowed="a text")
        return value or ""
