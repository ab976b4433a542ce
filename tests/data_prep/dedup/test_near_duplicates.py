"""Words, numbers and similar texts, compared with what Python's own sets say."""

import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any
from unicodedata import category

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdapt.data_prep.dedup.near_duplicates import SIMILARITY, find_similar
from pdapt.data_prep.dedup.parts import Part
from pdapt.data_prep.dedup.quantities import disagree, quantities
from pdapt.data_prep.dedup.representatives import EXACT, NEAR, WORDS, Copy, first_of_equal, near_copies, with_equal
from pdapt.data_prep.dedup.shingles import distinct, shingles_of, words_of

TEXTS = st.lists(st.text("aé€ 1,²×\u00a0Œ\n-½µ's", max_size=40), min_size=1, max_size=5)
DOSES = "Prendre 500 mg de paracétamol toutes les 6 heures, sans dépasser 2,5 g par jour ; SpO2 < 90 % : appeler le 15."
FOLLOWING = "En cas d'oubli, ne pas doubler la dose suivante et demander conseil au pharmacien avant de reprendre."


def part_of(texts: list[str]) -> Part:
    def read() -> Iterator[pa.StringArray]:
        yield from (pa.array(texts[begin : begin + 7], pa.string()) for begin in range(0, len(texts), 7))

    return Part(len(texts), read)


def copies_of(texts: list[str], ranks: list[int] | None = None, workers: int = 1) -> list[Copy]:
    numbers = np.arange(len(texts))
    with find_similar([part_of(texts)], numbers, workers) as similar:
        return near_copies(similar, numbers if ranks is None else np.array(ranks))


def similarity(first: str, second: str) -> float:
    ours, theirs = (
        {tuple(words[at : at + 5]) for at in range(max(1, len(words) - 4))}
        for words in (re.findall(r"\d+|[^\W\d_]+", text.lower()) for text in (first, second))
    )
    return len(ours & theirs) / len(ours | theirs)


def is_other(first: str, second: str) -> bool:
    """Whether two texts give other numbers in one place."""
    numbers, offsets = quantities(words_of(pa.array([first, second])))
    return disagree(*np.split(numbers, offsets[1:-1]))


def test_of_western_signs_those_divide_words_that_are_no_letter_and_no_raised_digit() -> None:
    signs = [chr(code) for code in range(0x80, 0x100)]
    words = words_of(pa.array([f"a{sign}b" for sign in signs]))
    joins = [category(sign).startswith("L") or sign in "¹²³" for sign in signs]
    assert np.diff(words.offsets).tolist() == [1 if joined else 2 for joined in joins]


@settings(deadline=None)
@given(TEXTS)
def test_words_are_those_that_a_regular_expression_finds(texts: list[str]) -> None:
    words = words_of(pa.array(texts, pa.string()))
    cut = [bytes(words.values[start:end]).decode() for start, end in zip(words.starts, words.ends, strict=True)]
    # A raised digit and € count as letters here, a fraction as a sign.
    expected = [re.findall(r"[0-9]+|[aéœ²µs€]+", text.lower()) for text in texts]
    assert cut == [word for each in expected for word in each]
    assert np.diff(words.offsets).tolist() == [len(each) for each in expected]


@pytest.mark.slow
@settings(deadline=None)
@given(TEXTS)
def test_what_a_text_has_does_not_depend_on_its_neighbours(texts: list[str]) -> None:
    together, alone = words_of(pa.array(texts, pa.string())), [words_of(pa.array([text])) for text in texts]
    shingles, begins = distinct(*shingles_of(together))
    for at, words in enumerate(alone):
        assert shingles[begins[at] : begins[at + 1]].tolist() == distinct(*shingles_of(words))[0].tolist()
        numbers, offsets = quantities(together)
        assert numbers[offsets[at] : offsets[at + 1]].tolist() == quantities(words)[0].tolist()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("500", "1000"),
        ("500", "50"),
        ("500 mg", "500 g"),
        ("500 mg", "500 mg/kg"),
        ("500 mg", "1 g"),
        ("2,5", "25"),
        ("2,5", "2-5"),
        ("6 heures", "huit heures"),
        ("6 heures", "6 jours"),
        ("< 90", "> 90"),
        ("< 90", "≤ 90"),
        ("90 %", "90 ‰"),
        ("15.", "18."),
    ],
)
def test_another_dose_is_another_text(before: str, after: str) -> None:
    other = DOSES.replace(before, after)
    assert other != DOSES
    assert is_other(DOSES, other)
    assert is_other(other, DOSES)
    leaflets = [f"{DOSES} {FOLLOWING}", f"{other} {FOLLOWING}"]
    assert copies_of([" ".join([each, FOLLOWING.upper() * 3]) for each in leaflets]) == []


def test_one_tablet_is_not_two() -> None:
    assert is_other("Le matin, prendre un comprimé avec de l'eau.", "Le matin, prendre deux comprimés avec de l'eau.")
    assert not is_other("Chez un patient âgé, réduire la dose.", "Chez une patiente âgée, réduire la dose.")


@pytest.mark.parametrize(
    "other",
    [
        DOSES.upper(),
        " ".join(re.findall(r"\w+|[^\w\s]", DOSES)),
        DOSES.replace(" ", "\u00a0"),
        DOSES.replace(";", "\u2013"),
        f"{DOSES} Voir la rubrique 4.8.",
        DOSES.partition(",")[0],
        DOSES.replace("paracétamol", "Paracetamol"),
    ],
)
def test_spelling_and_further_text_make_no_other_dose(other: str) -> None:
    assert not is_other(DOSES, other)


@settings(deadline=None)
@given(st.data())
def test_a_text_with_one_number_changed_is_never_a_copy(data: Any) -> None:
    words = st.sampled_from(["la", "dose", "de", "mg", "par", "jour", "et", "5", "10", "20", "comprimés"])
    text = data.draw(st.lists(words, min_size=3, max_size=60).filter(lambda drawn: {"5", "10", "20"} & {*drawn}))
    at = data.draw(st.sampled_from([place for place, word in enumerate(text) if word.isdigit()]))
    changed = [*text[:at], data.draw(st.sampled_from(sorted({"5", "10", "20", "40"} - {text[at]}))), *text[at + 1 :]]
    assert is_other(" ".join(text), " ".join(changed))


def notes(count: int, seed: int = 0) -> list[list[str]]:
    """Documents of 80 words each that have nothing in common."""
    draw, letters = np.random.default_rng(seed), str.maketrans("0123456789", "abcdefghij")
    return [[f"mot{number}".translate(letters) for number in draw.integers(0, 10**6, 80)] for _ in range(count)]


def test_planted_copies_are_found_whatever_their_case_and_spaces() -> None:
    originals = [" ".join(words) for words in notes(60)]
    edited = [" ".join([*text.split()[:40], *text.split()[41:]]) for text in originals[:20]]
    shouted = [text.upper().replace(" ", " , ") for text in originals[20:40]]
    texts = [*originals, *edited, *shouted]
    copies = {copy.text: copy for copy in copies_of(texts, workers=3)}
    assert {text: copy.kept for text, copy in copies.items()} == {60 + number: number for number in range(40)}
    assert {copies[60 + number].kind for number in range(20)} == {NEAR}
    assert {copies[80 + number].kind for number in range(20)} == {WORDS}
    for text, copy in copies.items():
        assert copy.similarity == pytest.approx(similarity(texts[text], texts[copy.kept]))


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(st.lists(st.lists(st.sampled_from("abcd"), min_size=1, max_size=9).map(" ".join), min_size=1, max_size=14))
def test_pairs_are_those_that_sets_of_shingles_give(texts: list[str]) -> None:
    texts = list(dict.fromkeys(texts))
    with find_similar([part_of(texts)], np.arange(len(texts)), 1) as similar:
        pairs = dict(zip(map(tuple, similar.pairs.tolist()), similar.similarity.tolist(), strict=True))
    expected = {
        (first, second): value
        for first, second in combinations(range(len(texts)), 2)
        if (value := similarity(texts[first], texts[second])) >= SIMILARITY
    }
    assert pairs == pytest.approx(expected)


@pytest.mark.slow
@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(0, 11), min_size=1, max_size=16), st.randoms(use_true_random=False))
def test_every_copy_was_compared_with_the_text_that_stands_for_it(changes: list[int], random: Any) -> None:
    words = notes(1)[0]
    texts = [" ".join(words[3 * change :]) for change in changes]
    ranks = random.sample(range(len(texts)), len(texts))
    copies = copies_of(texts, ranks)
    kept = {*range(len(texts))} - {copy.text for copy in copies}
    for copy in copies:
        assert copy.kept in kept
        assert ranks[copy.kept] < ranks[copy.text]
        assert similarity(texts[copy.text], texts[copy.kept]) >= SIMILARITY
    for first, second in combinations(sorted(kept), 2):
        assert similarity(texts[first], texts[second]) < SIMILARITY


def test_texts_of_one_pattern_are_found_among_many() -> None:
    """Each has dozens of neighbours that agree in most bands and differ in their numbers."""
    frame = notes(1)[0]
    leaflets = [" ".join([*frame, "prendre", str(100 + number), "mg"]) for number in range(60)]
    copies = copies_of([*leaflets, *(leaflet.upper() for leaflet in leaflets)])
    assert {(copy.text, copy.kept) for copy in copies} == {(60 + number, number) for number in range(60)}


def test_texts_without_a_word_are_no_copies() -> None:
    assert copies_of(["", " ", "!!!", "- -", "?"]) == []


def test_equal_texts_are_copies_of_what_their_first_is_a_copy_of() -> None:
    hashes, ranks = np.array([5, 7, 5, 7, 9], np.uint64), np.array([4, 1, 3, 2, 0])
    equal = first_of_equal(hashes, ranks)
    assert equal.tolist() == [2, 1, 2, 1, 4]
    copies = with_equal([Copy(1, 4, NEAR, 0.9)], equal)
    assert sorted((copy.text, copy.kept, copy.kind) for copy in copies) == [(0, 2, EXACT), (1, 4, NEAR), (3, 4, NEAR)]
