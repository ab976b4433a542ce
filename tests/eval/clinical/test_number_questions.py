"""Questions on numbers: the same every time, answered by their own texts, with factors that others state, too."""

import json
import re
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
import yaml
from commands import pdapt

from pdapt.core.files import read_json
from pdapt.eval.clinical.numbers import number_questions as module
from pdapt.eval.clinical.numbers.number_questions import Action, NumberQuestion, Subject, number_questions
from pdapt.eval.clinical.numbers.number_tasks import NUMBER_TASKS
from pdapt.eval.clinical.numbers.read_quantity import read_quantities, uniform
from pdapt.eval.clinical.numbers.score_numbers import Outcome, score_number
from pdapt.eval.tasks.all_tasks import choose_tasks
from pdapt.eval.tasks.fetch import fetch_tasks
from pdapt.eval.tasks.questions import read_questions

TABLES = {
    name: yaml.safe_load(Path(module.__file__).with_name(f"{name}.yaml").read_text(encoding="utf-8"))
    for name in ("drugs", "laboratory")
}
PUBLISHED = {
    "glycémie": (0.05551, 100),
    "créatinine": (88.4, 0.1),
    "urée": (0.1665, 100),
    "acide urique": (59.48, 0.1),
    "cholestérol total": (0.02586, 100),
    "bilirubine totale": (17.1, 0.1),
    "calcium": (0.2495, 0.1),
    "magnésium": (0.4114, 0.1),
    "phosphore": (0.3229, 0.1),
    "fer sérique": (0.1791, 100),
    "cortisol": (27.59, 0.1),
    "digoxinémie": (1.281, 1),
    "25-OH-vitamine D": (2.496, 1),
}
"""Analyte -> SI units of one conventional unit (Young, Ann Intern Med 1987;106:114), and how many of these ours is.

Conventional units are mg/dL, of iron and cortisol µg/dL, of digoxin and vitamin D ng/mL.
"""


def _groups(pattern: str, text: str) -> tuple[str, ...]:
    match = re.search(pattern, text)
    assert match, text
    return match.groups()


@pytest.fixture(scope="module")
def drawn() -> dict[str, list[NumberQuestion]]:
    return {task.name: number_questions(*task.asked, "test", task.questions) for task in NUMBER_TASKS}


def test_the_questions_are_the_same_every_time(tmp_path: Path) -> None:
    """Changes of them make another version of the tasks: `SEED` and the task files' `version` change, too."""
    made = fetch_tasks(tmp_path / "numbers", tasks=choose_tasks(["FR-NUMBERS"]))
    index = read_json(tmp_path / "numbers/benchmark.json")
    assert {name: entry["questions"] for name, entry in index.items()} == {t.name: 250 for t in NUMBER_TASKS}
    hashes = {file: digest[:8] for file, digest in made.outputs.items() if file.endswith(".jsonl")}
    assert hashes == {
        "numbers/doses_copy_fr/test.jsonl": "b91194c4",
        "numbers/doses_copy_fr/dev.jsonl": "417936e3",
        "numbers/doses_convert_fr/test.jsonl": "a6d7064a",
        "numbers/doses_convert_fr/dev.jsonl": "97a3b528",
        "numbers/labs_copy_fr/test.jsonl": "22701559",
        "numbers/labs_copy_fr/dev.jsonl": "0b3b5edf",
        "numbers/labs_convert_fr/test.jsonl": "0599f15a",
        "numbers/labs_convert_fr/dev.jsonl": "520e4d15",
    }


def test_no_question_is_asked_twice_and_none_is_a_worked_example(drawn) -> None:
    for task in NUMBER_TASKS:
        shown = number_questions(*task.asked, "dev", task.shots)
        asked = Counter(uniform(question.text + question.question) for question in (*drawn[task.name], *shown))
        assert len(asked) == task.questions + task.shots


def test_every_answer_is_in_its_text_or_follows_from_a_quantity_that_is(drawn) -> None:
    for name, questions in drawn.items():
        for question in questions:
            assert (question.source or question.answer) in question.text, question
            assert bool(question.source) == ("convert" in name)
            scored = score_number(question.answer, question.answer, question.source, question.tolerance)
            assert (scored.outcome, scored.correct) == (Outcome.EXACT, True), question
            if question.source:
                copied = score_number(question.source, question.answer, question.source, question.tolerance)
                assert (copied.outcome, copied.correct) == (Outcome.EQUAL, False), question


def test_a_copied_quantity_stands_once_beside_its_name(drawn) -> None:
    """The quantity that is asked for is that of its drug or result: the text holds others, most often in its unit."""
    for name in ("doses_copy_fr", "labs_copy_fr"):
        others = [len(list(read_quantities(question.text))) for question in drawn[name]]
        assert min(others) >= 4
    for question in drawn["labs_copy_fr"]:
        names = [row["name"] for row in TABLES["laboratory"]["results"] if row["of"] in question.question]
        (result,) = names if len(names) == 1 else (max(names, key=len),)
        value = re.escape(question.answer)
        assert re.search(rf"(?i){re.escape(result)}(?: :| =| à)? {value}", question.text), question


def test_texts_are_in_the_notations_of_french(drawn) -> None:
    every = [question.text for questions in drawn.values() for question in questions]
    for notation in (r"\d\u00a0mg", r"\d mg", r"\d\u202fmg", r"\dmg", r"\d\u00a0\d{3}\b", r"\d,\d", "< 5", "−\\d"):
        assert sum(bool(re.search(notation, text)) for text in every) > 5, notation
    assert not [text for text in every if re.search(r"\d\.\d|\{|\}|\bde [aeiouéèêh]\w+ine\b|  ", text)]


def test_converted_doses_are_computed_by_other_means(drawn) -> None:
    """By floats, from the text: 1 mL of a solution, 40 UI of vitamin D a µg, a thousand µg a mg."""
    grams = {"µg": 1e-6, "mg": 1e-3, "g": 1.0}

    def split(text: str) -> tuple[float, str]:
        number, unit = _groups(r"([\d, ]+?) ?([^\d, ].*)$", uniform(text))
        return float(number.replace(" ", "").replace(",", ".")), unit

    for question in drawn["doses_convert_fr"]:
        (given, unit), (value, asked) = split(question.source), split(question.answer)
        if asked == "mL":
            strength = split(_groups(r"solution à (.+/mL)", question.text)[0])[0]
            assert value == pytest.approx(given / strength)
        elif "UI" in (unit, asked):
            assert value == pytest.approx(given / 40 if unit == "UI" else given * 40)
        else:
            assert value == pytest.approx(given * grams[unit] / grams[asked])


@pytest.mark.parametrize("row", TABLES["laboratory"]["conversions"], ids=lambda row: row["name"])
def test_factors_are_those_that_others_publish_and_follow_from_molar_masses(row) -> None:
    factor, conventional = PUBLISHED[row["name"]]
    assert row["factor"] == pytest.approx(factor * conventional, rel=1e-3)
    grams = {"g/L": 1.0, "mg/L": 1e-3, "µg/L": 1e-6}[row["mass"]]
    moles = {"mmol/L": 1e-3, "µmol/L": 1e-6, "nmol/L": 1e-9}[row["si"]]
    assert row["factor"] == pytest.approx(grams / row["molar_mass"] / moles, rel=1e-3)


def test_converted_values_are_rounded_from_the_stated_factor(drawn) -> None:
    for question in drawn["labs_convert_fr"]:
        stated, si = _groups(r"équivaut à ([\d,]+) (\S+),", question.question)
        factor = Fraction(stated.replace(",", "."))
        (given,), (asked,) = read_quantities(question.source), read_quantities(question.answer)
        to_si = question.answer.endswith(si)
        exact = given.value * factor if to_si else given.value / factor
        places = {"à l'unité": 0, "à une décimale": 1, "à deux décimales": 2}
        rounded = next(count for words, count in places.items() if question.question.endswith(f"arrondie {words} ?"))
        assert abs(asked.value - exact) <= Fraction(1, 2) / 10**rounded
        assert Decimal(question.tolerance) == Decimal(5).scaleb(-rounded - 1)


def test_doses_and_strengths_have_units_that_are_known() -> None:
    drugs = TABLES["drugs"]
    doses = [dose for drug in (*drugs["drugs"], *drugs["solutions"], drugs["vitamin_d"]) for dose in drug["doses"]]
    for dose in [*doses, *(drug["strength"] for drug in drugs["solutions"])]:
        (quantity,) = read_quantities(dose)
        assert quantity.text == dose
        assert quantity.unit.dimension[0] in {"mass", "international units"}


def test_the_texts_are_among_those_that_a_corpus_is_searched_for(tmp_path: Path) -> None:
    tasks = choose_tasks(["labs_copy_fr"])
    fetch_tasks(tmp_path / "data", tasks=tasks)
    texts = read_questions(tmp_path / "data", tasks)["labs_copy_fr"]
    assert len(texts) == 250
    assert texts[0] == [number_questions(Subject.LABS, Action.COPY, "test", 1)[0].text]


def test_the_command_writes_them_without_a_download(tmp_path: Path) -> None:
    done = pdapt("eval", "fetch", "--tasks", "doses_*", "--out", tmp_path / "data", "--json")
    assert json.loads(done)["counts"] == {"tasks": 2, "questions": 500}
