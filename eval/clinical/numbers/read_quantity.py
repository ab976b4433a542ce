"""Quantities in French text: a number with its sign and its unit, in the notations of prescriptions and laboratories.

A comma is a decimal mark, and so is a point: `1,500 mg` and `1.500 mg` are a milligram and a half. Thousands stand
apart by a blank, of which a no-break one and a thin one are kinds. Numbers in words are none.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from .medical_units import UNITS, Unit, read_unit

BLANK = "[ \u00a0\u202f\u2009]"
_NUMBER = rf"\d{{1,3}}(?:{BLANK}\d{{3}})+(?:[.,]\d+)?|\d{{1,3}}(?:\.\d{{3}}){{2,}}|\d+(?:[.,]\d+)?"
_COUNT = r"[x×*]?\s*10\s*\^?\s*(?P<power>9|12)\s*/\s*[lL](?![A-Za-z])"
_CELLS = {"9": "G/L", "12": "T/L"}
_MILLIONS = rf"(?P<millions>millions?|M(?={BLANK}*(?:UI|U\b)))(?:\s*(?:d['’]\s*|de\s+))?"
QUANTITY = re.compile(
    rf"(?P<sign><=|>=|[<>≤≥])?\s*(?P<minus>(?<![\w.,])[-−])?(?<![\w.,])(?P<number>{_NUMBER})(?![.,]?\d)"
    rf"(?:{BLANK}*{_COUNT}|(?:{BLANK}*{_MILLIONS})?(?:{BLANK}*(?P<unit>{UNITS}))?)"
)
_RANGE_BEFORE = re.compile(r"\d\s*(?:à|-|–|—)\s*$")
_RANGE_AFTER = re.compile(r"^\s*(?:à|-|–|—)\s*\d")
_DIVIDED = re.compile(rf"{BLANK}?/{BLANK}?(?!(?:prise|dose|injection|inj)\b)[^\W\d_]")
_UNKNOWN = Unit(("unknown",), Fraction(1))
"""Unit of a quotient whose denominator is not a unit here."""
_SIGNS = {"<=": "≤", ">=": "≥"}
_SAME_LETTERS = str.maketrans({"μ": "µ", "⁹": "9", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "−": "-"})


@dataclass(frozen=True)
class Quantity:
    """A quantity in a text.

    Attributes:
        text: as it is written, with spaces and letters that look alike made one.
        value: in its unit.
        unit: `NO_UNIT` where none follows that is known.
        sign: of a comparison, or empty.
        is_range: whether it is an end of a range, such as `5 à 10 mg`.
    """

    text: str
    value: Fraction
    unit: Unit
    sign: str = ""
    is_range: bool = False

    @property
    def canonical(self) -> Fraction:
        """The value in the first unit of its dimension."""
        return self.value * self.unit.factor


def read_quantities(text: str) -> Iterator[Quantity]:
    """The quantities of a text, in its order."""
    text = uniform(text)
    for match in QUANTITY.finditer(text):
        yield _quantity(match, text)


def uniform(text: str) -> str:
    """A text with one kind of blank, and one of the letters that look alike, such as the two for micro."""
    text = text.replace("¹²", "12")
    return text.translate(_SAME_LETTERS)


def read_number(text: str) -> Fraction:
    """A number of a French text.

    Raises:
        ValueError: it is none.
    """
    digits = re.sub(BLANK, "", text)
    return Fraction(digits.replace(".", "") if digits.count(".") > 1 else digits.replace(",", "."))


def _quantity(match: re.Match[str], text: str) -> Quantity:
    value = read_number(match["number"])
    if match["minus"]:
        value = -value
    if match["millions"]:
        value *= 1_000_000
    unit = read_unit(_CELLS[match["power"]] if match["power"] else match["unit"] or "")
    before, after = text[: match.start("number")], text[match.end() :]
    if _DIVIDED.match(after):
        unit = _UNKNOWN
    return Quantity(
        text=match[0].strip(),
        value=value,
        unit=unit,
        sign=_SIGNS.get(match["sign"], match["sign"] or ""),
        is_range=bool(_RANGE_BEFORE.search(before) or _RANGE_AFTER.match(after)),
    )
