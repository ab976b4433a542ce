"""Reads a row of a table from outside: each field is checked, and assumptions are noted."""

from typing import Any

from ..core.errors import UserError

SMALLEST, LARGEST = 1e-9, 1e15
"""Range of a number in a row: outside of it, products of several numbers would overflow."""


class Row:
    """A row's fields.

    Attributes:
        value: the row.
        where: where it was read from, for messages.
        assumed: notes on what was assumed because the row does not state it.
    """

    def __init__(self, value: dict[str, Any], where: str) -> None:
        """Begin to read a row."""
        self.value, self.where, self.assumed = value, where, list[str]()

    def number(self, name: str, default: float | None = None, why: str = "") -> float | None:
        """Read a positive number; if it is not stated, take `default` and note that."""
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
        """Read a whole number, as `number` does."""
        value = self.number(name, default, why)
        if value is not None and value != int(value):
            raise UserError(f"{name} is {value:g}", where=self.where, allowed="a whole number from 1")
        return None if value is None else int(value)

    def text(self, name: str) -> str:
        """Read a text; empty if it is not stated."""
        value = self.value.get(name)
        if value is not None and not isinstance(value, str):
            raise UserError(f"{name} is {value!r}", where=self.where, allowed="a text")
        return value or ""
