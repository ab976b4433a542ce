"""Cleaning changes line ends and invisible marks, and no number, sign, unit or column."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reading_helpers import texts_of_samples

from pdapt.data_prep.clean.profiles import PROFILES, clean_alone

TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("  \t\r\n\u00a0\u202f\u2009\u200b\ufeff\u0301eE1µ°<±,.")))
MARKS = set("\ufeff\u200b\u200c\u200d\u200e\u200f") | {
    chr(code) for block in (range(0x202A, 0x202F), range(0x2060, 0x2065), range(0x2066, 0x2070)) for code in block
}
UNSEEN = ("Cc", "Cs")  # controls, and lone surrogates, which no file can hold
SILENT = ["\x00", "\x01", "\x1b", "\x7f", "\x81", "\x8d", "\x8f", "\x90", "\x9d", "\u200b", "\u200d", "\u2060"]
SILENT += ["\u202c", "\ufeff", "\ud83d", "\u200b\x00", "\x9d\u200e\x7f"]
LINE_ENDS = ["\n", "\r\n", "\r", "\r\r\n", " \n", "\u00a0\r\n", "\v\n", "\n\f", "\u2029", "\x1e"]
LIGATURES = "ﬀﬁﬂﬃﬄﬅﬆ"
Pair = tuple[str, str]
"""Text as it comes in, and as it is read on paper."""


def clean(text: str, changes: Counter[str] | None = None) -> str:
    """The default profile, on a text that is the only one of its source."""
    return clean_alone(PROFILES["clinical"], text, changes)


def without_ligatures(text: str) -> str:
    """The letters that ligatures join, by Unicode's compatibility decomposition."""
    return "".join(unicodedata.normalize("NFKC", c) if c in LIGATURES else c for c in text)


def is_c1(character: str) -> bool:
    return "\x80" <= character <= "\x9f"


def visible(text: str) -> str:
    """The visible characters of a text, blanks left out, by Unicode's own classes."""
    shown = (c for c in text if not (c.isspace() or unicodedata.category(c) in UNSEEN or c in MARKS))
    return unicodedata.normalize("NFC", without_ligatures("".join(shown)))


def without(text: str) -> str:
    """A generated text without the characters whose meaning depends on what is around them."""
    return "".join(c for c in text if c != "\xad" and not is_c1(c))


def pairs(*texts: str) -> list[Pair]:
    return [(text, text) for text in texts]


WINDOWS_1252 = [(chr(byte), bytes([byte]).decode("cp1252")) for byte in b"\x80\x82\x85\x89\x91\x92\x93\x94\x96\x97"]
NUMBER = st.one_of(
    st.integers(0, 10**6).map(str),
    st.tuples(st.integers(0, 99), st.integers(0, 99)).map(lambda n: f"{n[0]},{n[1]}"),
    st.sampled_from(["10²", "½", "1\u00a0000", "12\u202f500", "0.05", "1·10³"]),
).map(lambda text: (text, text))
DASH = st.sampled_from(
    [*WINDOWS_1252, ("\xad", "-"), ("\xad\u200b\xad", "-"), *pairs("-", "\u2011", "\u2010", "–", "\u2212", "/", "±")]
)
CUT = st.sampled_from([(mark, " ") for mark in SILENT] + [("\u2009", " "), ("\u3000", " ")])
LETTERS = st.sampled_from(["", *SILENT, "\xad", "\u200b\xad"]).map(lambda mark: (f"hé{mark}moglobine", "hémoglobine"))
WORD = st.one_of(LETTERS, st.sampled_from([("c\x9cur", "cœur"), ("d\x92un", "d’un"), ("CO\xad2", "CO-2")]))
UNIT = st.sampled_from([*pairs("mg", "µg", "μmol/l", "%", "°C", "mm²", "kΩ"), ("m\u200bg", "mg"), ("e\u0301", "é")])
SIGN = st.sampled_from(pairs("", "", "<", "≥", "±", "-", "\u2212", "~"))
GAP = st.sampled_from([*pairs(" ", "\u00a0", "\u202f"), ("\u2009", " ")])


def joined(parts: Iterable[Pair]) -> Pair:
    raw, printed = zip(*parts, strict=True)
    return "".join(raw), "".join(printed)


RANGE = st.tuples(NUMBER, st.one_of(DASH, CUT), NUMBER).map(joined)
DOSE = st.tuples(SIGN, st.one_of(NUMBER, RANGE), GAP, UNIT).map(joined)
CELL = st.one_of(DOSE, WORD, NUMBER, st.just(("", "")))
COLUMN = st.sampled_from([*pairs("\t", "   ", "\u00a0\u00a0"), ("\x1f", "\t"), ("\v\t", " \t"), ("\t\f", "\t ")])
ROW = st.lists(CELL, min_size=1, max_size=5).flatmap(
    lambda cells: st.lists(COLUMN, min_size=len(cells), max_size=len(cells)).map(
        lambda columns: joined(
            [*pairs("|"), *(pair for both in zip(cells, columns, strict=True) for pair in both), *pairs("|")]
        )
    )
)
DOCUMENT = st.lists(st.tuples(ROW, st.sampled_from(LINE_ENDS)), min_size=1, max_size=5)


@pytest.mark.slow
@given(DOCUMENT)
def test_a_generated_document_reads_as_it_was_printed(rows: list[tuple[Pair, str]]) -> None:
    """Each row is built twice, as it comes in and as it is printed, so the oracle knows no rule of the code's."""
    raw = "first row|" + "".join(f"{end}{row}" for (row, _), end in rows)
    printed = "\n".join(["first row|", *(row for (_, row), _ in rows)])
    assert clean(raw) == unicodedata.normalize("NFC", printed)


@given(TEXTS.map(without))
def test_every_visible_character_survives(text: str) -> None:
    assert visible(clean(text)) == visible(text)


def as_words(text: str) -> list[str]:
    """Words between white space; an invisible mark between two digits is white space."""
    shown = [c if c.isspace() or not (c in MARKS or unicodedata.category(c) in UNSEEN) else None for c in text]
    out = []
    for number, character in enumerate(shown):
        before = next((c for c in reversed(out) if c is not None), "")
        after = next((c for c in shown[number:] if c is not None), "")
        cut = character is None and before.isnumeric() and after.isnumeric()
        out.append(" " if cut else character)
    return unicodedata.normalize("NFC", without_ligatures("".join(c for c in out if c is not None))).split()


@given(TEXTS.map(without))
def test_words_stay_apart_and_together(text: str) -> None:
    assert clean(text).split() == as_words(text)


@given(st.text(st.one_of(st.characters(), st.sampled_from("  \t\r\n\v\f\x85\x96\xad\u00a0\u200b\u2028\u0301e1,."))))
def test_cleaning_twice_changes_nothing(text: str) -> None:
    again: Counter[str] = Counter()
    once = clean(text)
    assert clean(once, again) == once
    assert not again


@given(TEXTS)
def test_a_change_is_counted(text: str) -> None:
    changes: Counter[str] = Counter()
    assert (clean(text, changes) != text) == (changes.total() > 0)


def values(text: str) -> list[list[str]]:
    """The numbers, signs, units, words and columns of each line that has any, by Unicode's classes of characters."""
    rows, row, last = [], [], ""
    for character in text.replace("\r\n", "\n"):
        category = unicodedata.category(character)
        kind = category[0] if category[0] in "LN" else category
        if character in "\n\r":
            rows.append(row)
            row, last = [], ""
        elif kind == last and kind in "LN":
            row[-1] += character
        elif not character.isspace() or character == "\t" or last == "Zs":
            row.append("column" if character.isspace() else character)
        last = kind
    return [row for row in [*rows, row] if row]


def sample_texts(shared: Callable[[str], Path]) -> list[str]:
    texts = texts_of_samples(shared("samples")).values()
    return [unicodedata.normalize("NFC", text) for source in texts for text in source]


def trimmed(text: str) -> str:
    """Without the blanks before line ends and at both ends, which are no columns."""
    lines = [line.rstrip(" \u00a0\u202f\r") for line in text.split("\n")]
    return "\n".join(lines).strip() if "\t" not in text else "\n".join(lines)


@pytest.mark.slow
def test_samples_keep_their_numbers_signs_units_and_columns(shared: Callable[[str], Path]) -> None:
    texts = sample_texts(shared)
    assert len(texts) > 13_000
    numbers = 0
    for text in texts:
        cleaned, expected = clean(text), trimmed(text)
        before = values(expected)
        assert cleaned == expected or values(cleaned) == before
        numbers += sum(token[0].isnumeric() for row in before for token in row)
    assert numbers > 20_000


def test_samples_survive_a_wrong_encoding(shared: Callable[[str], Path]) -> None:
    """Text that was written as Windows-1252 and read as Latin-1 comes back."""
    seen = 0
    for text in sample_texts(shared)[::5]:
        written = text.encode("cp1252", "ignore")
        if b"\xad" in written or b"\x85" in written:
            continue
        meant, misread = written.decode("cp1252"), written.decode("latin-1")
        assert clean(misread) == clean(meant)
        seen += meant != misread
    assert seen > 200


def test_quantities_and_letters_survive(shared: Callable[[str], Path]) -> None:
    cases = json.loads(shared("corpus/cleaning_cases.json").read_text())
    assert len(cases) > 100
    for case in cases:
        expected = unicodedata.normalize("NFC", without_ligatures(case["input"])).replace("\xad", "")
        expected = re.sub(r" ?(https?://|www\.)\S*\w", "", expected)
        assert clean(case["input"]) == expected


@pytest.mark.parametrize("byte", range(0x80, 0xA0))
def test_c1_characters_are_windows_1252(byte: int) -> None:
    meant = bytes([byte]).decode("cp1252", "ignore")
    assert clean(f"5{chr(byte)}10 mg") == f"5{meant or ' '}10 mg"
    assert clean(f"l{chr(byte)}eau") == f"l{meant}eau"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Bref\x85 puis rien", "Bref… puis rien"),
        ("un\x85deux\nfin", "un…deux\nfin"),
        ("un\x85deux\x85trois\x85", "un\ndeux\ntrois"),
        ("l\x92un\x85l\x92autre\x85fin", "l’un…l’autre…fin"),
        ("de 5\x8510 mg\x85et plus", "de 5…10 mg…et plus"),
    ],
)
def test_next_line_is_an_ellipsis_unless_it_ends_all_lines(text: str, expected: str) -> None:
    assert clean(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2\xad4 mg", "2-4 mg"),
        ("le 23\xad3\xad2022", "le 23-3-2022"),
        ("hyper\xadtension", "hypertension"),
        ("hyper\xad\ntension", "hyper\ntension"),
        ("hyper\xad \r\ntension", "hyper\ntension"),
        ("vitamine B\xad\r\n  12", "vitamine B-\n  12"),
        ("12\xad\n14", "12-\n14"),
        ("5\xadmg", "5-mg"),
        ("\xad5 °C", "-5 °C"),
        ("37 \xad 38 °C", "37 - 38 °C"),
        ("hyper\xad\nTension", "hyper\nTension"),
        ("12 \xad\n14", "12\n14"),
        ("5 \xad mg", "5 - mg"),
        ("mot \xad 5", "mot - 5"),
        ("mot\xad 5", "mot 5"),
        (f"5{60 * ' '}\xad mg", f"5{60 * ' '}- mg"),
        (f"mot \xad{60 * ' '}5", f"mot -{60 * ' '}5"),
        (f"5{100 * ' '}\xad{100 * ' '}5", f"5{200 * ' '}5"),
        ("10\xad³ g", "10-³ g"),
        ("2\u200b\xad\u200b4", "2-4"),
        ("mot \xad mot", "mot  mot"),
    ],
)
def test_soft_hyphens_become_hyphens_only_beside_numbers_and_at_letters_that_stand_alone(
    text: str, expected: str
) -> None:
    assert clean(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("un\r\ndeux\rtrois\r\r\nquatre", "un\ndeux\ntrois\nquatre"),
        ("a \t b", "a \t b"),
        ("Na\t140\t\nK\t\t4", "Na\t140\t\nK\t\t4"),
        ("\tHb\tNa\n1\t12\t140\t\t", "\tHb\tNa\n1\t12\t140\t\t"),
        ("        Hb    Na\njeudi   12   140", "        Hb    Na\njeudi   12   140"),
        ("Na\t140\vmmol/l\t135\f145", "Na\t140 mmol/l\t135 145"),
        ("Na   140\v135", "Na   140 135"),
        ("fin de page\fTitre\vsuite", "fin de page\nTitre\nsuite"),
        ("fin\n\fNa\t140", "fin\nNa\t140"),
        ("dose :\u00a0 5 mg", "dose :\u00a0 5 mg"),
        ("1\u00a0000 mg, 12\u202f500 UI, 3\u2009000", "1\u00a0000 mg, 12\u202f500 UI, 3 000"),
        ("50 \u202f% \u202f\nsuite", "50 \u202f%\nsuite"),
        ("fin de ligne  \n  suite", "fin de ligne\n  suite"),
        ("\n \na\n\n\n\n\nb \n\n", "a\n\n\n\n\nb"),
        ("  Fièvre \n", "Fièvre"),
        ("\ufeffdé\u200bbut\x00\x1b", "début"),
        ("1\u200b2 et 1\x003, 1\x7f4, 0\u200b,5", "1 2 et 1 3, 1 4, 0,5"),
        ("e\u0301te\u0301", "été"),
        ("e\u200b\u0301", "é"),
        ("\ud83dx1\ud83d2", "x1 2"),
        ("2\u2011 3\u2010 \u22124 m² 5\u00b5g 6\u03bcg", "2\u2011 3\u2010 \u22124 m² 5\u00b5g 6\u03bcg"),
        ("5 \u212b, 3 k\u2126, 1\u03872", "5 Å, 3 kΩ, 1·2"),
        (" \u00a0\n", ""),
        ("\t\n ", ""),
    ],
)
def test_white_space_keeps_columns_and_invisible_marks_go(text: str, expected: str) -> None:
    assert clean(text) == expected


def test_changes_are_counted_by_kind() -> None:
    changes: Counter[str] = Counter()
    clean("  e\u0301 5\x9610 2\xad4 mo\xadt 1\u200b2 a\x00b\r\nx \ny\fz\n\t1\v2\u2009\x1f3\n", changes)
    assert changes == {
        "windows_1252": 1,
        "soft_hyphens_kept": 1,
        "soft_hyphens_removed": 1,
        "marks_to_blanks": 1,
        "marks_removed": 1,
        "line_ends": 3,
        "trailing_blanks": 1,
        "soft_breaks_in_rows": 1,
        "other_blanks": 1,
        "unit_separators": 1,
        "nfc": 1,
        "at_the_ends": 1,
    }
