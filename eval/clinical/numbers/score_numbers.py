"""The score of a quantity that a model wrote: as it was asked for, equal, altered, or absent.

lm-eval calls `process_results` for the tasks of this folder.
"""

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any

from .medical_units import NO_UNIT
from .read_quantity import Quantity, read_quantities, uniform

HIGHEST_POWER = 9
"""Powers of ten between two quantities that are looked for: from a nanogram to a gram."""
CLOSE = Fraction(1, 50)
"""The relative error within which a converted quantity is a power of ten off, and not another."""


class Outcome(StrEnum):
    """An answer against the quantity that was asked for.

    `EXACT` is as it was to be written, blanks aside; `EQUAL` has the same value, in another notation or unit; `ALTERED`
    has another value, no unit or another one, another sign of comparison, or is a range; `ABSENT` has no number.
    """

    EXACT = "exact"
    EQUAL = "equal"
    ALTERED = "altered"
    ABSENT = "absent"


@dataclass(frozen=True)
class Scored:
    """An answer's score.

    Attributes:
        outcome: see there.
        correct: whether it has the value that was asked for in the unit that was asked for, in whatever notation.
        tenfold: whether it is altered by a power of ten: a decimal mark dropped, or mg in the place of µg.
    """

    outcome: Outcome
    correct: bool
    tenfold: bool


def score_number(answer: str, asked: str, source: str = "", tolerance: str = "0") -> Scored:
    """Score the first quantity of an answer; the first number where none of them has a unit.

    Args:
        answer: of the model.
        asked: the quantity as it is to be written.
        source: the quantity that it was converted from, if it was: equal to the answer, and not what was asked for.
        tolerance: largest error in the unit of `asked`.
    """
    given, wanted = _stated(answer, asked), _quantity(asked)
    if given is None:
        return Scored(Outcome.ABSENT, correct=False, tenfold=False)
    error = Fraction(tolerance)
    if _same(given, wanted, error):
        exact = uniform(answer).strip().rstrip(".").rstrip() == uniform(asked)
        return Scored(Outcome.EXACT if exact else Outcome.EQUAL, correct=given.unit == wanted.unit, tenfold=False)
    if source and _same(given, _quantity(source), Fraction(0)):
        return Scored(Outcome.EQUAL, correct=False, tenfold=False)
    return Scored(Outcome.ALTERED, correct=False, tenfold=_power_of_ten(given, wanted, rounded=bool(error)))


def process_results(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """lm-eval's scores of an answer: `correct`, each `Outcome`, and `tenfold`; 1 or 0."""
    scored = score_number(results[0], doc["answer"], doc["source"], doc["tolerance"])
    outcomes = {outcome.value: float(scored.outcome == outcome) for outcome in Outcome}
    return {"correct": float(scored.correct), "tenfold": float(scored.tenfold), **outcomes}


def _quantity(text: str) -> Quantity:
    return next(read_quantities(text))


def _stated(answer: str, asked: str) -> Quantity | None:
    """The quantity that an answer states."""
    quantities = list(read_quantities(answer))
    with_unit = [quantity for quantity in quantities if quantity.unit != NO_UNIT]
    wants_unit = _quantity(asked).unit != NO_UNIT
    return next(iter(with_unit if wants_unit and with_unit else quantities), None)


def _same(given: Quantity, wanted: Quantity, error: Fraction) -> bool:
    """Whether two quantities are one, within an error in the unit of the second."""
    alike = (given.unit.dimension, given.sign, given.is_range) == (wanted.unit.dimension, wanted.sign, False)
    return alike and abs(given.canonical - wanted.canonical) <= error * wanted.unit.factor


def _power_of_ten(given: Quantity, wanted: Quantity, *, rounded: bool) -> bool:
    """Whether two quantities of one dimension differ by a power of ten."""
    if given.unit.dimension != wanted.unit.dimension or not given.value or not wanted.value:
        return False
    ratio, close = given.canonical / wanted.canonical, CLOSE if rounded else Fraction(0)
    powers = (Fraction(10) ** power for power in range(-HIGHEST_POWER, HIGHEST_POWER + 1) if power)
    return any(abs(ratio / power - 1) <= close for power in powers)
