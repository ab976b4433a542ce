"""The profiles: what was published is reproduced to the letter, and what the default may take away."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdapt.core.errors import UserError
from pdapt.data_prep.clean.characters import ORDINARY, normalise
from pdapt.data_prep.clean.profiles import PROFILES, clean_alone, profile_of
from pdapt.data_prep.clean.value_check import changed_values


@pytest.mark.parametrize(("profile", "column"), [("paper", "corpus_builder"), ("partages_llm", "partages_llm")])
def test_published_cleaning_is_reproduced(shared: Callable[[str], Path], profile: str, column: str) -> None:
    cases = json.loads(shared("corpus/cleaning_cases.json").read_text())
    assert len(cases) > 100
    got = {case["input"]: clean_alone(PROFILES[profile], case["input"]) for case in cases}
    assert got == {case["input"]: case[column] for case in cases}


@pytest.mark.parametrize(
    ("text", "paper", "partages_llm"),
    [
        ("5–10 mg", "510 mg", "510 mg"),
        ("SpO2<90% sous air", "SpO2 sous air", "SpO2<90% sous air"),
        ("a  <b  c", "a c", "a <b c"),
        ("\r\fl’été : ½ ", " l'été : ", "l'été :"),
        ("fin. " + "a" * 35 + ", suite", "fin.suite", "fin.suite"),
        ("e\u0301tude", "étude", "etude"),
        ("br/>http://x.fr?y www", " www", "br/>http : /x. fr ? y www"),
    ],
)
def test_steps_follow_in_the_published_order(text: str, paper: str, partages_llm: str) -> None:
    assert clean_alone(PROFILES["paper"], text) == paper
    assert clean_alone(PROFILES["partages_llm"], text) == partages_llm


TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("  \t\n<>/abé0159,.%±≤µ-–\u0301ﬁ\xad")), max_size=60)


@pytest.mark.parametrize("name", PROFILES)
@given(text=TEXTS)
def test_a_change_is_counted(name: str, text: str) -> None:
    changes: Counter[str] = Counter()
    assert (clean_alone(PROFILES[name], text, changes) != text) <= (changes.total() > 0)


@given(TEXTS)
def test_the_default_changes_no_value(text: str) -> None:
    assert not changed_values(text, clean_alone(PROFILES["clinical"], text))


def test_ordinary_characters_are_those_that_never_change() -> None:
    """The gate that spares most texts a closer look lets nothing pass that such a look would change."""
    changes: Counter[str] = Counter()
    ordinary = [chr(code) for code in range(0x110000) if ORDINARY.fullmatch(chr(code))]
    assert len(ordinary) > 500
    for character in ordinary:
        assert normalise(character + "\u0085", changes) == character + "…"
    assert changes == {"windows_1252": len(ordinary)}


def test_names_of_profiles() -> None:
    assert profile_of("clinical").keeps_values
    assert not profile_of("paper").keeps_values
    assert len({step.name for step in PROFILES["paper"].steps}) == len(PROFILES["paper"].steps)
    with pytest.raises(UserError, match="no cleaning profile is called 'clincal'") as caught:
        profile_of("clincal")
    assert "did you mean 'clinical'?" in str(caught.value)
