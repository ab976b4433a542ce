"""Units of doses and laboratory values: their French and international spellings, and the factors between them.

Prefixes are those of the SI brochure (BIPM, 9th edition, table 7). International units (UI) measure each substance by a
standard of its own, so that no factor leads from them to a mass here.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

_KILO, _MILLI, _MICRO, _NANO, _PICO = (Fraction(1000) ** power for power in (1, -1, -2, -3, -4))
_ONE = Fraction(1)
_SPELLINGS = {
    ("mass", _NANO): "ng nanogramme nanogrammes",
    ("mass", _MICRO): "µg mcg ug microgramme microgrammes",
    ("mass", _MILLI): "mg milligramme milligrammes",
    ("mass", _ONE): "g gr gramme grammes",
    ("mass", _KILO): "kg kilo kilos kilogramme kilogrammes",
    ("mass", _PICO): "pg picogramme picogrammes",
    ("volume", _MICRO): "µL µl uL ul microlitre microlitres",
    ("volume", _MILLI): "mL ml ML cc cm3 cm³ millilitre millilitres",
    ("volume", Fraction(1, 100)): "cL cl centilitre centilitres",
    ("volume", Fraction(1, 10)): "dL dl décilitre décilitres",
    ("volume", _ONE): "L l litre litres",
    ("amount", _PICO): "pmol picomole picomoles",
    ("amount", _NANO): "nmol nanomole nanomoles",
    ("amount", _MICRO): "µmol umol micromole micromoles",
    ("amount", _MILLI): "mmol millimole millimoles",
    ("amount", _ONE): "mol mole moles",
    ("international units", _MILLI): "mUI mIU mU",
    ("international units", _ONE): "UI U.I. IU U ui unité unités",
    ("international units", _KILO): "kUI kIU",
    ("international units", _KILO**2): "MUI MIU",
    ("cells", Fraction(10) ** 9): "G",
    ("cells", Fraction(10) ** 12): "T",
    ("time", _ONE): "s sec seconde secondes",
    ("time", Fraction(60)): "min minute minutes",
    ("time", Fraction(3600)): "h heure heures",
    ("time", Fraction(86400)): "j jour jours d",
    ("pressure", _ONE): "mmHg",
    ("temperature", _ONE): "°C",
    ("share", Fraction(1, 100)): "%",
    ("tablets", _ONE): "cp cps comprimé comprimés",
    ("capsules", _ONE): "gélule gélules",
    ("drops", _ONE): "goutte gouttes gtte gttes",
    ("puffs", _ONE): "bouffée bouffées",
    ("sachets", _ONE): "sachet sachets",
    ("ampoules", _ONE): "ampoule ampoules",
}
_UNITS = {
    spelling: (dimension, factor)
    for (dimension, factor), spellings in _SPELLINGS.items()
    for spelling in spellings.split()
}
_PARTS = sorted(map(re.escape, _UNITS), key=len, reverse=True)
UNIT = rf"(?:(?i:unités?\s+internationales?)|(?:{'|'.join(_PARTS)})(?![A-Za-zÀ-ÿµ0-9²³]))"
"""A unit that is not a quotient; the whole word, and its case as it is written: `G/L` are cells, `g/L` is a mass."""
UNITS = rf"{UNIT}(?:\s?(?:/|par)\s?{UNIT}){{0,2}}"
"""A unit, or a quotient of two or three, such as `mg/kg/j`."""


@dataclass(frozen=True)
class Unit:
    """A unit.

    Attributes:
        dimension: its kind, then those that it is divided by, in alphabetical order. What a mass is divided by stays,
            so that mg/kg is not a share. Units of one dimension can be converted into each other.
        factor: of it in the dimension's first unit.
    """

    dimension: tuple[str, ...]
    factor: Fraction


NO_UNIT = Unit(("number",), _ONE)
"""Unit of a number alone, such as a pH."""


def read_unit(text: str) -> Unit:
    """A unit from its spelling, which `UNITS` matches; `NO_UNIT` for an empty one."""
    if not text.strip():
        return NO_UNIT
    first, *others = (_part(part) for part in re.split(r"\s?(?:/|\bpar\b)\s?", text.strip()))
    factor = first[1]
    for _, divisor in others:
        factor /= divisor
    return Unit((first[0], *sorted(dimension for dimension, _ in others)), factor)


def _part(spelling: str) -> tuple[str, Fraction]:
    if spelling.lower().startswith("unité"):
        return _UNITS["UI"]
    return _UNITS[spelling]
