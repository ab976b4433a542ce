"""Scores of quantities that a model wrote, against answers made by hand."""

from fractions import Fraction

import pytest

from pdapt.eval.clinical.numbers.medical_units import read_unit
from pdapt.eval.clinical.numbers.read_quantity import read_quantities
from pdapt.eval.clinical.numbers.score_numbers import Outcome, process_results, score_number

EXACT, EQUAL, ALTERED, ABSENT = Outcome


@pytest.mark.parametrize(
    ("answer", "asked", "outcome"),
    [
        ("0,125 mg", "0,125 mg", EXACT),
        (" 0,125\u00a0mg.", "0,125 mg", EXACT),
        ("4\u202f000\u00a0UI", "4 000 UI", EXACT),
        ("12,5 μg", "12,5 µg", EXACT),
        ("-4,2 mmol/L", "−4,2 mmol/L", EXACT),
        ("0.125 mg", "0,125 mg", EQUAL),
        ("La dose est de 0,125 mg, le matin", "0,125 mg", EQUAL),
        ("125 microgrammes", "0,125 mg", EQUAL),
        ("1000 mg", "1 g", EQUAL),
        ("1g", "1 g", EQUAL),
        ("4000 unités internationales", "4 000 UI", EQUAL),
        ("3 millions d'UI", "3 000 000 UI", EQUAL),
        ("1.500.000 UI", "1 500 000 UI", EQUAL),
        ("12,5 x 10^9/L", "12,5 G/L", EQUAL),
        ("12,5 10⁹/L", "12,5 G/L", EQUAL),
        ("8,7 g/dL", "87 g/L", EQUAL),
        ("2,50 mg/heure", "2,5 mg/h", EQUAL),
        ("60 mL/h", "1 mL/min", EQUAL),
        ("0,126 mg", "0,125 mg", ALTERED),
        ("125 mg", "0,125 mg", ALTERED),
        ("0,125", "0,125 mg", ALTERED),
        ("0,125 µg", "0,125 mg", ALTERED),
        ("1,25 mg", "0,125 mg", ALTERED),
        ("1,500 mg", "1 500 mg", ALTERED),
        ("1.500 mg", "1 500 mg", ALTERED),
        ("5 à 10 mg", "10 mg", ALTERED),
        ("5-10 mg", "10 mg", ALTERED),
        ("10 mg à 20 mg", "10 mg", ALTERED),
        ("5 mg/L", "< 5 mg/L", ALTERED),
        ("< 5 mg/L", "5 mg/L", ALTERED),
        ("12,5 g/L", "12,5 G/L", ALTERED),
        ("15 mg", "15 mg/kg", ALTERED),
        ("1 g/j", "1 g", ALTERED),
        ("1 mg par jour", "1 mg", ALTERED),
        ("40 mg/m²", "40 mg", ALTERED),
        ("4,2 mmol/L", "−4,2 mmol/L", ALTERED),
        ("7,3", "7,38", ALTERED),
        ("ne figure pas dans le texte", "10 mg", ABSENT),
        ("vitamine B12", "10 mg", ABSENT),
        ("", "10 mg", ABSENT),
    ],
)
def test_an_answer_is_exact_equal_altered_or_absent(answer: str, asked: str, outcome: Outcome) -> None:
    assert score_number(answer, asked).outcome == outcome


@pytest.mark.parametrize(
    ("answer", "asked", "tenfold"),
    [
        ("15 mg", "1,5 mg", True),  # the comma dropped
        ("0,15 mg", "1,5 mg", True),
        ("125 mg", "125 µg", True),  # the unit's prefix
        ("1,5 g", "1,5 mg", True),
        ("1,500 mg", "1 500 mg", True),
        ("2,5 mg", "1,5 mg", False),
        ("15 mL", "1,5 mg", False),  # another kind of unit
        ("15", "1,5 mg", False),
        ("0 mg", "1,5 mg", False),
        ("-15 mg", "1,5 mg", False),
        ("1,5 mg", "1,5 mg", False),
    ],
)
def test_an_error_by_a_power_of_ten_is_told_apart(answer: str, asked: str, tenfold: bool) -> None:
    scored = score_number(answer, asked)
    assert scored.tenfold is tenfold
    assert not (scored.tenfold and scored.outcome != ALTERED)


def test_a_copy_in_another_unit_is_equal_and_not_what_was_asked_for() -> None:
    assert score_number("1 000 mg", "1 g") == score_number("1000 milligrammes", "1 g")
    assert not score_number("1 000 mg", "1 g").correct
    assert score_number("1,0 g", "1 g").correct


@pytest.mark.parametrize(
    ("answer", "outcome", "correct", "tenfold"),
    [
        ("1,25 g/L", EXACT, True, False),
        ("1,249 g/L", EQUAL, True, False),  # 20.8 / 16.65 = 1.2492…
        ("1249 mg/L", EQUAL, False, False),
        ("20,8 mmol/L", EQUAL, False, False),  # not converted, and not altered
        ("1,2 g/L", ALTERED, False, False),  # rounded to less than was asked for
        ("12,5 g/L", ALTERED, False, True),
        ("12,4 g/L", ALTERED, False, True),  # and roughly so
        ("346,3 g/L", ALTERED, False, False),  # multiplied and not divided
        ("20,8 g/L", ALTERED, False, False),  # another unit at the same number
        ("environ un gramme", ABSENT, False, False),
    ],
)
def test_a_conversion_may_be_rounded_as_it_was_asked_for(
    answer: str, outcome: Outcome, correct: bool, tenfold: bool
) -> None:
    scored = score_number(answer, "1,25 g/L", source="20,8 mmol/L", tolerance="0.005")
    assert (scored.outcome, scored.correct, scored.tenfold) == (outcome, correct, tenfold)


def test_lm_eval_gets_one_outcome_of_four() -> None:
    doc = {"answer": "1,5 mg", "source": "", "tolerance": "0"}
    altered = process_results(doc, ["15 mg"])
    assert altered == {"correct": 0, "exact": 0, "equal": 0, "altered": 1, "absent": 0, "tenfold": 1}
    assert process_results(doc, ["1.5 mg"])["correct"] == 1
    assert process_results(doc, ["[invalid]"])["absent"] == 1


def test_quantities_are_read_with_all_that_they_are_made_of() -> None:
    text = "Mme B., 67 ans, 64,5 kg : 1 000 mg x 3/j, PaO2 68 mmHg, HbA1c 7,2 %, CRP < 5 mg/L, BE −4,2 mmol/L."
    read = [(str(q.value), q.sign, q.unit.dimension) for q in read_quantities(text)]
    assert read == [
        ("67", "", ("number",)),
        ("129/2", "", ("mass",)),
        ("1000", "", ("mass",)),
        ("3", "", ("unknown",)),  # three a day is no unit of a quantity
        ("68", "", ("pressure",)),
        ("36/5", "", ("share",)),
        ("5", "<", ("mass", "volume")),
        ("-21/5", "", ("amount", "volume")),
    ]


@pytest.mark.parametrize(
    ("unit", "other", "ratio"),
    [  # by their definitions
        ("g", "mg", 1000),
        ("mg", "µg", 1000),
        ("µg", "ng", 1000),
        ("L", "mL", 1000),
        ("dL", "mL", 100),
        ("h", "min", 60),
        ("j", "h", 24),
        ("T/L", "G/L", 1000),
        ("g/L", "mg/dL", 100),
        ("µg/mL", "mg/L", 1),
        ("UI/mL", "mUI/L", 1_000_000),
        ("mL/min", "mL/h", 60),
    ],
)
def test_units_are_converted_by_their_definitions(unit: str, other: str, ratio: int) -> None:
    first, second = read_unit(unit), read_unit(other)
    assert first.dimension == second.dimension
    assert first.factor / second.factor == Fraction(ratio)


def test_units_of_other_kinds_have_nothing_in_common() -> None:
    names = ["g", "L", "mol", "UI", "mg/kg", "%", "g/L", "mol/L", "UI/L", "G/L", "mmHg", "gouttes", "mg/h", "mg/kg/h"]
    assert len({read_unit(name).dimension for name in names}) == len(names)
