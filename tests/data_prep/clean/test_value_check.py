"""The comparison of texts before and after cleaning: it sees every change of a value, and no permitted change."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from reading_helpers import texts_of_samples

from pdapt.data_prep.clean.boilerplate import Boilerplate
from pdapt.data_prep.clean.profiles import PROFILES, clean_alone, run_steps
from pdapt.data_prep.clean.source_facts import find_facts
from pdapt.data_prep.clean.value_check import changed_values

NOTE = (
    "Où est l’œdème ? PaO2 < 60 mmHg, SpO2≤90 %, dose de 5–10 mg ou 37±0,5 °C.\n"
    "BRCA1 et TP muté ; β-bloquant : 1·5 mg/kg, 10⁹/L, HCO₃⁻, n° 12-B.\n"
    "Na\t140\tmmol/L\nK   4,5   mmol/L"
)


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("5–10", "510", "numbers"),
        ("±", "", "numbers"),
        ("60 mmHg", "60 mmhg", "words"),
        (" < ", " ", "signs"),
        ("Où", "O", "letters"),
        ("β-", "-", "letters"),
        ("œ", "oe", "letters"),
        ("⁹", "", "numbers"),
        ("TP", "Tp", "codes"),
        ("\t140", " 140", "columns"),
        ("   4,5", " 4,5", "columns"),
        ("muté", "", "letters"),
        ("dose", "doses", "words"),
        ("12-B", "12 -B", "numbers"),
        ("PaO2 < 60", "60 < PaO2", "order"),
    ],
)
def test_a_changed_value_is_seen(old: str, new: str, kind: str) -> None:
    assert changed_values(NOTE, NOTE.replace(old, new))[kind] > 0


def test_values_are_counted_before_and_after_and_another_order_once() -> None:
    assert changed_values("5 mg et 10 mg", "5 mg et 20 mg") == {"numbers": 2}
    assert changed_values("dose de 5 mg", "dose de mg") == {"numbers": 1}
    assert changed_values("PaO2 < 60 et 70", "60 < PaO2 et 70") == {"order": 1}


@given(st.integers(0, len(NOTE) - 1), st.sampled_from(["", "x", "7", "<", "é", "\t", "-"]))
def test_any_visible_edit_is_seen(at: int, put: str) -> None:
    edited = NOTE[:at] + put + NOTE[at + 1 :]
    assume(edited.split() != NOTE.split() and edited != NOTE)
    assert changed_values(NOTE, edited)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("5\x9610 mg, hé\u200bmo, 2\xad4", "5–10 mg, hémo, 2-4"),
        ("un\r\ndeux \r\n", "un\ndeux"),
        ("une hyper-\ntension", "une hypertension"),
        ("déﬁnition e\u0301tude", "définition étude"),
        ("voir http://x.fr/12 ou <b>5</b> mg", "voir ou 5 mg"),
        ("10<sup>9</sup>/L", "10⁹/L"),
        ("Tous droits réservés\nFin", "Fin"),
    ],
)
def test_what_the_default_may_take_away(before: str, after: str) -> None:
    gone = Boilerplate({"Tous droits réservés": 9}, {})
    assert not changed_values(before, after, gone)


def test_a_lost_character_of_a_wrong_encoding_is_seen() -> None:
    assert changed_values("5\x9610 mg", "510 mg") == {"numbers": 2}
    assert changed_values("5\u200b10 mg", "510 mg")


@pytest.mark.slow
def test_samples_keep_every_value(shared: Callable[[str], Path]) -> None:
    """Each source's two passes; the published profile changes values in most documents of some sources."""
    profile, altered = PROFILES["clinical"], Counter[str]()
    for source, texts in texts_of_samples(shared("samples")).items():
        begun = [run_steps(profile.before_source, text, Counter()) for text in texts]
        facts = find_facts(lambda begun=begun: begun)
        for text, each in zip(texts, begun, strict=True):
            assert not changed_values(text, run_steps(profile.from_source, each, Counter(), facts), facts.boilerplate)
        altered[source] = sum(bool(changed_values(text, clean_alone(PROFILES["paper"], text))) for text in texts[:50])
    assert len(altered) > 8
    assert altered["frasimed"] > 30
