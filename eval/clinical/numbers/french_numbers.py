"""Numbers and quantities as French clinical texts write them, which is in several ways."""

import random
from dataclasses import dataclass
from decimal import Decimal

UNIT_BLANKS = ("\u00a0", " ", "\u202f", "")
"""Between a number and its unit: a no-break blank, as typography asks, a plain one, a thin one, or none."""
BLANK_WEIGHTS = (4, 4, 1, 2)


def french(value: Decimal, thousands: str = " ") -> str:
    """A number with a decimal comma, a blank between thousands from 1,000 on, and a real minus sign."""
    text = f"{value:,f}"
    return text.replace(",", thousands).replace(".", ",").replace("-", "−")


@dataclass(frozen=True)
class Notation:
    """The notation of a text: blanks between thousands, and before a unit; it is one in all of the text."""

    thousands: str
    before_unit: str

    def number(self, value: Decimal) -> str:
        """A number."""
        return french(value, self.thousands)

    def quantity(self, text: str) -> str:
        """A quantity of a table, such as `0.125 mg`."""
        value, _, unit = text.strip().partition(" ")
        if not unit:
            return self.number(Decimal(value))
        return f"{self.number(Decimal(value))}{self.before_unit}{unit}"


def draw_notation(draw: random.Random) -> Notation:
    """The notation of a text; thousands stand together where a unit stands close."""
    (before_unit,) = draw.choices(UNIT_BLANKS, BLANK_WEIGHTS)
    return Notation(before_unit or draw.choice((" ", "")), before_unit)
