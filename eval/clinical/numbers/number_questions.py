"""Questions on the doses and laboratory values of French clinical texts, drawn from a seed: the answers are known.

The texts are made of `wording.yaml`, the doses of `drugs.yaml`, the values and factors of `laboratory.yaml`. Nothing is
downloaded, and no text is a patient's.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from .french_numbers import Notation, draw_notation, french
from .read_quantity import uniform

SEED = "pdapt numbers 1"
"""Seed of all questions: another one, other templates or other tables are another version of the tasks."""
DRUGS, RESULTS = (3, 5), (5, 8)
"""Least and most drugs, and results, of a text."""


class Subject(StrEnum):
    """The quantities of a text."""

    DOSES = "doses"
    LABS = "labs"


class Action(StrEnum):
    """The action that is asked for."""

    COPY = "copy"
    CONVERT = "convert"


@dataclass(frozen=True)
class NumberQuestion:
    """A text, a question on one of its quantities, and the answer.

    Attributes:
        text, question: what the model reads.
        answer: the quantity as it is to be written.
        source: the quantity in the text that the answer was converted from; empty where it is to be copied.
        tolerance: the largest error of an answer that is rounded, in the unit of the answer; "0" where it is exact.
    """

    text: str
    question: str
    answer: str
    source: str = ""
    tolerance: str = "0"

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def number_questions(subject: Subject, action: Action, split: str, questions: int) -> list[NumberQuestion]:
    """So many different questions of a split, `test` or `dev`; no question is in both."""
    draw: Callable[[random.Random], NumberQuestion] = {
        (Subject.DOSES, Action.COPY): _copied_dose,
        (Subject.DOSES, Action.CONVERT): _converted_dose,
        (Subject.LABS, Action.COPY): _copied_value,
        (Subject.LABS, Action.CONVERT): _converted_value,
    }[subject, action]
    drawn: dict[tuple[str, str], NumberQuestion] = {}
    for number in count():
        if len(drawn) == questions:
            break
        question = draw(random.Random(f"{SEED} {subject} {action} {split} {number}"))  # noqa: S311 - to be repeated
        drawn.setdefault((uniform(question.text), question.question), question)
    return list(drawn.values())


@cache
def _table(name: str) -> dict[str, Any]:
    return yaml.safe_load(Path(__file__).with_name(f"{name}.yaml").read_text(encoding="utf-8"))


def _of(name: str) -> str:
    """A drug's name after « de »; the h of drugs is mute."""
    return f"d'{name}" if name[0].lower() in "aeiouyéèêîôh" else f"de {name}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _setting(draw: random.Random, notation: Notation) -> dict[str, Any]:
    """Patient and circumstances, with numbers that are neither doses nor results."""
    wording = _table("wording")
    patient = draw.choice(wording["patients"])
    day = draw.randint(2, 6)
    values = {
        **patient,
        "initial": draw.choice(wording["initials"]),
        "age": draw.randint(24, 94),
        "weight": notation.number(Decimal(draw.randint(84, 200)) / 2),
        "reason": draw.choice(wording["reasons"]),
        "day": day,
        "next_day": day + draw.randint(1, 3),
        "hours": draw.choice((24, 48, 72)),
        "room": draw.randint(101, 348),
        "pain": draw.randint(1, 8),
        "diuresis": notation.number(Decimal(draw.randint(16, 48) * 50)),
    }
    return values | {"opening": wording["opening"].format(**values)}


def _drug_names(drug: dict[str, Any]) -> dict[str, str]:
    return {"drug": drug["name"], "Drug": _capital(drug["name"]), "of_drug": _of(drug["name"])}


def _treatment(
    draw: random.Random, notation: Notation, setting: dict[str, Any], given: tuple[dict[str, Any], str]
) -> str:
    """A text with several drugs, one of which is given with its dose."""
    wording, (asked, dose) = _table("wording"), given
    others = [drug for drug in _table("drugs")["drugs"] if drug["name"] != asked["name"]]
    chosen = draw.sample(others, draw.randint(*DRUGS) - 1)
    template = draw.choice(wording["treatments"])
    parts = []
    for drug in chosen:
        parts.append(_taken(draw, drug, notation.quantity(draw.choice(drug["doses"])), template))
    parts.insert(draw.randint(0, len(parts)), _taken(draw, asked, dose, template))
    return template["before"].format(**setting) + template["between"].join(parts) + template["after"].format(**setting)


def _taken(draw: random.Random, drug: dict[str, Any], dose: str, template: dict[str, str]) -> str:
    taken = draw.choice(drug.get("taken") or ["selon le protocole du service"])
    if drug.get("rate") and "{dose} {of_drug}" not in template["each"]:
        rate = _table("wording")["rates"].format(**_drug_names(drug), dose=dose, taken=taken)
        return ("- " if template["each"].startswith("-") else "") + rate
    return template["each"].format(**_drug_names(drug), dose=dose, taken=taken)


def _copied_dose(draw: random.Random) -> NumberQuestion:
    wording, notation = _table("wording"), draw_notation(draw)
    setting, drug = _setting(draw, notation), draw.choice(_table("drugs")["drugs"])
    dose, names = notation.quantity(draw.choice(drug["doses"])), _drug_names(drug)
    if len(drug["doses"]) > 1 and not drug.get("rate") and draw.random() < 0.25:
        return _changed_dose(draw, notation, setting, drug)
    text = _treatment(draw, notation, setting, given=(drug, dose))
    key = "rate_question" if drug.get("rate") else "dose_question"
    return NumberQuestion(text, wording[key].format(**names), dose)


def _changed_dose(
    draw: random.Random, notation: Notation, setting: dict[str, Any], drug: dict[str, Any]
) -> NumberQuestion:
    """A dose that replaces another, which stands beside it."""
    wording, names = _table("wording"), _drug_names(drug)
    old, new = (notation.quantity(dose) for dose in draw.sample(drug["doses"], 2))
    others = [other for other in _table("drugs")["drugs"] if other["name"] != drug["name"]]
    beside = draw.choice(others)
    text = _treatment(draw, notation, setting, given=(beside, notation.quantity(draw.choice(beside["doses"]))))
    if drug["name"] in text:
        return _copied_dose(draw)
    changed = wording["change"].format(**names, **setting, old=old, dose=new, taken=draw.choice(drug["taken"]))
    return NumberQuestion(text + changed, wording["new_question"].format(**names), new)


def _converted_dose(draw: random.Random) -> NumberQuestion:
    kind = draw.choice((_dose_in_other_unit, _dose_in_other_unit, _volume_of_dose, _vitamin_d))
    return kind(draw)


def _dose_in_other_unit(draw: random.Random) -> NumberQuestion:
    """Micrograms, milligrams and grams: a power of ten between them."""
    wording, notation = _table("wording"), draw_notation(draw)
    setting = _setting(draw, notation)
    masses = {"µg": ("mg",), "mg": ("g", "µg"), "g": ("mg",)}
    drugs = [drug for drug in _table("drugs")["drugs"] if drug["doses"][0].split()[1] in masses]
    drug = draw.choice(drugs)
    value, unit = (dose := draw.choice(drug["doses"])).split()
    # No prescriber writes 5 mg as 5,000 µg nor 0.125 mg as 0.000125 g.
    other = draw.choice(masses[unit]) if unit != "mg" else ("µg" if Decimal(value) < 10 else "g")
    thousands = {"µg": 0, "mg": 1, "g": 2}
    converted = Decimal(value) * Decimal(1000) ** (thousands[unit] - thousands[other])
    written = notation.quantity(dose)
    text = _treatment(draw, notation, setting, given=(drug, written))
    question = wording["same_in_unit"].format(**_drug_names(drug), unit=other)
    return NumberQuestion(text, question, f"{french(converted.normalize())} {other}", source=written)


def _volume_of_dose(draw: random.Random) -> NumberQuestion:
    """The volume of a solution that holds a dose."""
    wording, notation = _table("wording"), draw_notation(draw)
    setting, drug = _setting(draw, notation), draw.choice(_table("drugs")["solutions"])
    dose, names = draw.choice(drug["doses"]), _drug_names(drug)
    written = notation.quantity(dose)
    text = _treatment(draw, notation, setting, given=(drug, written))
    text += wording["solution"].format(**names, strength=notation.quantity(drug["strength"]))
    volume = Decimal(dose.split()[0]) / Decimal(drug["strength"].split()[0])
    return NumberQuestion(
        text, wording["volume_question"].format(**names), f"{french(volume.normalize())} mL", source=written
    )


def _vitamin_d(draw: random.Random) -> NumberQuestion:
    """Vitamin D in micrograms and in international units."""
    wording, notation = _table("wording"), draw_notation(draw)
    setting, drug = _setting(draw, notation), _table("drugs")["vitamin_d"]
    units = Decimal(draw.choice(drug["doses"]).split()[0])
    doses = {"UI": f"{units} UI", "µg": f"{units / 40} µg"}
    given, asked = draw.sample(list(doses), 2)
    written = notation.quantity(doses[given])
    text = _treatment(draw, notation, setting, given=(drug, written))
    value = Decimal(doses[asked].split()[0]).normalize()
    return NumberQuestion(
        text, wording["vitamin_question"].format(unit=asked), f"{french(value)} {asked}", source=written
    )


def _value(draw: random.Random, result: dict[str, Any], notation: Notation) -> str:
    """A result as the laboratory writes it; below the limit of the method now and then."""
    if "limit" in result and draw.random() < 0.3:
        return f"< {notation.quantity(f'{result["limit"]} {result["unit"]}')}"
    scale = 10 ** result["decimals"]
    steps = draw.randint(round(result["low"] * scale), round(result["high"] * scale))
    value = (Decimal(steps) / scale).quantize(Decimal(1).scaleb(-result["decimals"]))
    return notation.quantity(f"{value} {result['unit']}")


def _report(draw: random.Random, notation: Notation, setting: dict[str, Any], given: tuple[dict[str, Any], str]) -> str:
    """A text with several results, one of which is given."""
    asked, value = given
    others = [result for result in _table("laboratory")["results"] if result["name"] != asked["name"]]
    chosen = draw.sample(others, draw.randint(*RESULTS) - 1)
    results = [(result, _value(draw, result, notation)) for result in chosen]
    results.insert(draw.randint(0, len(results)), (asked, value))
    template = draw.choice(_table("wording")["reports"])
    parts = [
        template["each"].format(name=result["name"], Name=_capital(result["name"]), value=written)
        for result, written in results
    ]
    return template["before"].format(**setting) + template["between"].join(parts) + template["after"].format(**setting)


def _copied_value(draw: random.Random) -> NumberQuestion:
    wording, notation = _table("wording"), draw_notation(draw)
    setting, result = _setting(draw, notation), draw.choice(_table("laboratory")["results"])
    value, old = (_value(draw, result, notation) for _ in range(2))
    text = _report(draw, notation, setting, given=(result, value))
    if draw.random() < 0.25 and value != old:
        text += wording["earlier"].format(name=result["name"], old=old)
    return NumberQuestion(text, wording["value_question"].format(of=result["of"]), value)


def _converted_value(draw: random.Random) -> NumberQuestion:
    """A concentration of mass in one of substance, or back, by the factor that the question states."""
    wording, notation = _table("wording"), draw_notation(draw)
    setting, row = _setting(draw, notation), draw.choice(_table("laboratory")["conversions"])
    mass, si, factor = row["mass"], row["si"], Decimal(str(row["factor"]))
    scale = 10 ** row["decimals"][0]
    steps = draw.randint(round(row["low"] * scale), round(row["high"] * scale))
    in_mass = Decimal(steps) / scale
    in_si = _rounded(in_mass * factor, row["decimals"][1])
    to_si = draw.random() < 0.5
    given, places = (in_mass, row["decimals"][1]) if to_si else (in_si, row["decimals"][0])
    answer = in_si if to_si else _rounded(in_si / factor, places)
    written = notation.quantity(f"{given} {mass if to_si else si}")
    text = _report(draw, notation, setting, given=(row, written))
    question = wording["converted_question"].format(
        mass_unit=f"1 {mass}",
        of=row["of"],
        factor=f"{french(factor)} {si}",
        unit=si if to_si else mass,
        rounding=wording["rounding"][places],
    )
    half = Decimal(5).scaleb(-places - 1)
    return NumberQuestion(
        text, question, f"{french(answer)} {si if to_si else mass}", source=written, tolerance=str(half)
    )


def _rounded(value: Decimal, places: int) -> Decimal:
    return value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)


def question_rows(questions: list[NumberQuestion]) -> Iterator[dict[str, Any]]:
    """The questions as rows of a file, numbered."""
    return ({"id": number, **question.to_json()} for number, question in enumerate(questions))
