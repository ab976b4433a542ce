"""Words end where the reference tokenizer's do, and its characters are of the kinds that it takes them for."""

import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, normalizers, pre_tokenizers

from pdapt.data_prep.tokens import words
from pdapt.data_prep.tokens.tokenizer import WORD_PATTERN

KNOWN = [chr(point) for point in range(sys.maxunicode + 1) if unicodedata.category(chr(point)) not in ("Cn", "Cs")]
REFERENCE = pre_tokenizers.Split(Regex(WORD_PATTERN), "isolated")
TEXTS = st.text(
    st.sampled_from([*"aé日δ1½²\u0301 \n\r\t\u00a0\u2028.,'-…🙂sſtl", "\x85", "\x1c"]), min_size=1, max_size=40
)


def ends_of_reference(text: str) -> list[int]:
    """Bytes where the words of a text end."""
    return [len(text[:end].encode()) for _, (_, end) in REFERENCE.pre_tokenize_str(text)]


@given(TEXTS, st.integers(4, 20))
@settings(max_examples=300, deadline=None)
def test_a_word_ends_where_the_references_does(text: str, chunk: int) -> None:
    ends, whole = [0], memoryview(text.encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "CHUNK_BYTES", chunk)
        while ends[-1] < len(whole):
            ends.append(words.word_end(whole, ends[-1]))
    assert ends[1:] == ends_of_reference(text)


@given(TEXTS, TEXTS)
@settings(max_examples=300, deadline=None)
def test_a_word_ends_at_a_border_whatever_follows(text: str, following: str) -> None:
    border = words.last_border(text)
    before = len(text[:border].encode())
    ends = ends_of_reference(text + following)
    assert not border or before in ends
    alone = ends_of_reference(text[:border]) if border else []
    assert [end for end in ends if end <= before] == alone


@pytest.mark.slow
def test_every_known_character_is_of_the_references_kind() -> None:
    """A letter, white space, a number or, as all others, a sign."""
    text, patterns = "".join(KNOWN), words._patterns()
    left = set(text)
    for kind, run in ((r"\p{L}+", patterns.letters), (r"\s+", patterns.blanks), (r"[^\s\p{L}\p{N}]+", patterns.signs)):
        rest = pre_tokenizers.Split(Regex(kind), "removed").pre_tokenize_str(text)
        reference = set(text).difference(*(characters for characters, _ in rest))
        assert set("".join(run.findall(text))) == reference
        left -= reference
    assert {unicodedata.category(number)[0] for number in left} == {"N"}


def test_a_text_is_composed_as_the_reference_composes_it() -> None:
    """In stretches of few characters, of all known characters in a row, and of each behind one that composes."""
    reference = normalizers.NFC()
    for text in ("".join(KNOWN), "e" + "e".join(KNOWN), "\u1100".join(KNOWN)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(words, "CHUNK_BYTES", 64)
            composed = bytes(words.compose(memoryview(text.encode()))).decode()
        assert composed == reference.normalize_str(text)


ACUTE, DIAERESIS_ACUTE, CEDILLA, UNKNOWN = "\u0301", "\u0344", "\u0327", "\u0378"


@pytest.mark.parametrize("before", ["", "e", "\u00ea", "\u0229", "\u0f73", "\u1100", "1"])
@pytest.mark.parametrize(
    "after", ["", "e", CEDILLA, UNKNOWN, "\u1161", "e" + CEDILLA, CEDILLA * 99 + ACUTE, "\u0f73", "\n"]
)
def test_marks_in_a_row_are_composed_as_the_reference_composes_them(before: str, after: str) -> None:
    reference = normalizers.NFC()
    for marks in (ACUTE * 200, (ACUTE + DIAERESIS_ACUTE) * 100, CEDILLA * 200, "\u09be" * 200, ACUTE * 31, ACUTE * 63):
        text = f"un mot {before}{marks}{after}"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(words, "CHUNK_BYTES", 64)
            composed = bytes(words.compose(memoryview(text.encode()))).decode()
        assert composed == reference.normalize_str(text)


def test_a_long_run_of_marks_is_composed_a_stretch_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "CHUNK_BYTES", 64)
    lengths: list[int] = []
    decode = words.decode
    monkeypatch.setattr(words, "decode", lambda text, begin, size: lengths.append(size) or decode(text, begin, size))
    words.compose(memoryview(("e" + ACUTE * 10_000).encode()))
    assert max(lengths) == 64


def test_a_composed_text_is_left_as_it_is() -> None:
    text = memoryview("Étude à 5 µg, 日本".encode() * 10)
    assert words.compose(text) is text


def test_no_character_that_begins_a_stretch_composes_with_what_precedes_it() -> None:
    composing = {character for known in KNOWN for character in unicodedata.normalize("NFD", known)[1:]}
    assert [character for character in sorted(composing) if words._last_start("a" + character)] == []


def test_unknown_characters_are_noticed() -> None:
    assert words.holds_unknown(memoryview("mot \u0378 mot".encode()))
    assert not words.holds_unknown(memoryview("mot 日本 🙂".encode()))
