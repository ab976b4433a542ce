"""The split: no text on both sides, and as many held out as asked, whatever is repeated where."""

import re
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdapt.data_prep.tokens.selection import split as split_module
from pdapt.data_prep.tokens.selection.split import (
    DROPPED,
    DUPLICATE,
    TEST,
    TRAIN,
    VALID,
    hash_texts,
    mark_duplicates,
    quotas,
    split,
    text_hasher,
)

CORPORA = st.lists(st.lists(st.tuples(st.integers(0, 40), st.booleans()), max_size=40), min_size=1, max_size=6)
PERCENT = st.integers(1, 90).map(lambda number: number / 100)


def flat(corpus: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    texts = [text for stratum in corpus for text in stratum]
    strata = [number for number, stratum in enumerate(corpus) for _ in stratum]
    return np.array(texts, np.uint64), np.array(strata, np.int64)


def sides(corpus: list[list[int]], fraction: float, domains: list[int] | None = None) -> list[list[int]]:
    texts, strata = flat(corpus)
    decided = split(texts, strata, np.array(domains or [0] * len(corpus)), fraction)
    return [decided[strata == number].tolist() for number in range(len(corpus))]


@given(CORPORA, PERCENT, st.data())
def test_no_text_is_on_both_sides(corpus: list[list[tuple[int, bool]]], fraction: float, data: st.DataObject) -> None:
    texts, strata = flat([[text for text, _ in stratum] for stratum in corpus])
    withheld = np.array([some and text % 5 == 0 for stratum in corpus for text, some in stratum], bool)
    domains = sorted(data.draw(st.lists(st.integers(0, 2), min_size=len(corpus), max_size=len(corpus))))
    decided = split(texts, strata, np.array(domains), fraction, withheld)
    train, valid, dropped = (texts[decided == side].tolist() for side in (TRAIN, VALID, DROPPED))
    barred = set(texts[withheld].tolist())
    assert not set(train) & {*valid, *dropped}
    assert not barred & {*train, *valid}
    assert set(dropped) <= {*valid, *barred}
    assert max(Counter(valid).values(), default=1) == 1
    seen: dict[int, int] = {}
    for text, stratum in zip(texts.tolist(), strata.tolist(), strict=True):
        seen.setdefault(text, domains[stratum])
    for domain in set(domains):
        total = sum(where == domain and text not in barred for text, where in seen.items())
        held = sum(seen[text] == domain for text in valid)
        assert held == min(max(1, round(Fraction(str(fraction)) * total)), max(0, total - 1))


@given(st.lists(st.integers(0, 200), min_size=1, max_size=40), PERCENT)
def test_each_stratum_gives_its_share(sizes: list[int], fraction: float) -> None:
    found = quotas(np.array(sizes), fraction).tolist()
    asked = Fraction(str(fraction))
    for start in range(len(sizes)):
        for stop in range(start + 1, len(sizes) + 1):
            given = sum(found[start:stop])
            assert given <= sum(sizes[start:stop])
            assert abs(given - asked * sum(sizes[start:stop])) <= 1 or sum(found) == sum(sizes) - 1


def test_two_percent_of_three_hundred_folders_of_two_notes_are_twelve() -> None:
    decided = sides([[2 * number + 1, 2 * number + 2] for number in range(300)], 0.02)
    assert sum(stratum.count(VALID) for stratum in decided) == 12
    assert sum(VALID in stratum for stratum in decided) == 12


def test_a_large_source_keeps_its_share_beside_small_ones() -> None:
    corpus = [list(range(1, 1001)), *([5000 + number] for number in range(50)), list(range(2001, 3001))]
    counts = [stratum.count(VALID) for stratum in sides(corpus, 0.02)]
    assert (counts[0], sum(counts[1:-1]), counts[-1]) == (20, 1, 20)


def test_no_fraction_is_rounded_by_the_computer() -> None:
    for percent in range(1, 100):
        assert quotas(np.array([100]), percent / 100).tolist() == [percent]


def test_the_lowest_hashes_are_drawn_and_the_first_copy_is_held_out() -> None:
    corpus = [[7, 1, 7, 1], [1, 9, 3]]
    assert sides(corpus, 0.5) == [[TRAIN, VALID, TRAIN, DROPPED], [DROPPED, TRAIN, VALID]]


def test_domains_are_held_out_from_one_by_one() -> None:
    corpus = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert sum(stratum.count(VALID) for stratum in sides(corpus, 0.1)) == 1
    assert [stratum.count(VALID) for stratum in sides(corpus, 0.1, [0, 0, 1])] == [0, 1, 1]
    assert [stratum.count(VALID) for stratum in sides(corpus, 0.1, [0, 1, 2])] == [1, 1, 1]


def test_one_text_gives_none_to_validation() -> None:
    assert sides([[5, 5]], 0.5) == [[TRAIN, TRAIN]]


def test_a_source_without_text_decides_nothing() -> None:
    assert sides([[], [1, 2]], 0.5) == [[], [VALID, TRAIN]]
    assert sides([[]], 0.5) == [[]]


def test_withheld_texts_are_in_no_other_place() -> None:
    texts = np.array([1, 2, 3, 2, 4], np.uint64)
    withheld = np.array([False, False, False, True, False])
    decided = split(texts, np.zeros(5, np.int64), np.zeros(1, np.int64), 0.3, withheld)
    assert decided.tolist() == [VALID, DROPPED, TRAIN, DROPPED, TRAIN]


@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from([TRAIN, VALID, DROPPED, TEST]))))
def test_later_copies_in_training_are_duplicates(documents: list[tuple[int, int]]) -> None:
    decided = np.array([side for _, side in documents], np.int8)
    mark_duplicates(decided, np.array([text for text, _ in documents], np.uint64))
    seen: set[int] = set()
    for (text, before), after in zip(documents, decided.tolist(), strict=True):
        assert after == (DUPLICATE if before == TRAIN and text in seen else before)
        seen |= {text} if before == TRAIN else set()


@pytest.mark.parametrize(
    # printf '0\nfièvre' | sha256sum
    ("text", "seed", "expected"),
    [("fièvre", 0, 0x892571CDB7084E4F), ("fièvre", 1, 0xD13A774801689F63)],
)
def test_the_hash_is_sha256(text: str, seed: int, expected: int) -> None:
    hash_text = text_hasher(seed)
    for content in (text.encode(), memoryview(text.encode()), np.frombuffer(text.encode(), np.uint8)):
        assert hash_text(content) == hash_text(content) == expected


@pytest.mark.parametrize("block", [split_module.BLOCK_BYTES, 3])
def test_blanks_in_a_row_make_no_other_text(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(split_module, "BLOCK_BYTES", block)
    texts = [
        "à savoir :   - 5  mg",
        "à savoir : - 5 mg ",
        "5 mg",
        "5mg",
        "5\tmg",
        "5\nmg",
        "5\n\nmg",
        " 5 mg",
        "",
        "  à savoir",
    ]
    parts = [text.encode() for text in texts]
    values = np.frombuffer(b"".join(parts), np.uint8)
    found = list(hash_texts(values, np.cumsum([0, *map(len, parts)]), 3))
    assert found == [text_hasher(3)(re.sub(" +", " ", text).encode()) for text in texts]
