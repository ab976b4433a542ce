"""Cleaning changes white space and invisible marks, and nothing that a reader reads."""

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdapt.data_prep.clean import clean

TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("  \t\r\n\u00a0\u202f\u2009\u200b\ufeff\u0301eE1µ°<±,.")))
FORMAT_MARKS = set("\xad\ufeff\u200b\u200c\u200d\u200e\u200f") | {
    chr(code) for block in (range(0x202A, 0x202F), range(0x2060, 0x2065), range(0x2066, 0x2070)) for code in block
}
UNSEEN = ("Cc", "Cs")  # controls, and lone surrogates, which no file can hold


def visible(text: str) -> str:
    """What shows of a text, blanks left out, by Unicode's own classes."""
    shown = (c for c in text if not (c.isspace() or unicodedata.category(c) in UNSEEN or c in FORMAT_MARKS))
    return unicodedata.normalize("NFC", "".join(shown))


@given(TEXTS)
def test_every_visible_character_survives(text: str) -> None:
    assert visible(clean(text)) == visible(text)


@given(TEXTS)
def test_words_stay_apart(text: str) -> None:
    joined = "".join(
        c for c in text if c.isspace() or (c not in FORMAT_MARKS and unicodedata.category(c) not in UNSEEN)
    )
    assert clean(text).split() == unicodedata.normalize("NFC", joined).split()


@given(TEXTS)
def test_cleaning_twice_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_quantities_and_letters_survive(shared: Callable[[str], Path]) -> None:
    cases = json.loads(shared("corpus/cleaning_cases.json").read_text())
    assert len(cases) > 100
    for case in cases:
        expected = unicodedata.normalize("NFC", case["input"]).replace("\xad", "")
        assert clean(case["input"]) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("un\r\ndeux\rtrois", "un\ndeux\ntrois"),
        ("a \t b", "a b"),
        ("dose :\u00a0 5 mg", "dose :\u00a05 mg"),
        ("1\u00a0000 mg, 12\u202f500 UI, 3\u2009000", "1\u00a0000 mg, 12\u202f500 UI, 3 000"),
        ("50 \u202f% \u202f\nsuite", "50\u202f%\nsuite"),
        ("fin de ligne  \n  suite", "fin de ligne\nsuite"),
        ("a\n\n\n\n\nb", "a\n\n\nb"),
        ("\ufeffdé\u200bbut\x00\x1b", "début"),
        ("e\u0301te\u0301", "été"),
        ("e\u200b\u0301", "é"),
        ("\ud83dx", "x"),
        (" \u00a0\n", ""),
    ],
)
def test_white_space_and_invisible_marks(text: str, expected: str) -> None:
    assert clean(text) == expected
