"""The benchmark of near-duplicates: what it plants, and that it judges by itself."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import pdapt, pdapt_json

from pdapt.bench.corpus.dedup import ANOTHER_DOSE, COPIES, _read, is_copy, plant

DRAW, LETTERS = np.random.default_rng(0), str.maketrans("0123456789", "abcdefghij")
CASES = [
    " ".join(
        ["Le patient prend", str(number * 5), "mg,", "soit", str(number), "comprimés."]
        + [f"mot{each}".translate(LETTERS) for each in DRAW.integers(0, 10**6, 160)]
    )
    for number in range(1, 49)
]


def test_planted_documents_are_what_they_are_called() -> None:
    planted = plant([*CASES, "trop court pour 1 copie"])
    assert planted.texts[: len(CASES)] == CASES
    kinds = dict.fromkeys(COPIES, 0)
    for document, (origin, kind) in planted.origins.items():
        assert is_copy(planted.texts[document], planted.texts[origin]) == (kind != ANOTHER_DOSE)
        assert planted.texts[document] != planted.texts[origin]
        kinds[kind] += 1
    assert set(kinds.values()) == {3}


def drawn(kind: str, text: str) -> set[str]:
    """All that a kind of copy makes of a text."""
    return {COPIES[kind](text, random.Random(seed)) for seed in range(50)}


def test_an_edited_copy_changes_one_word_in_80_and_no_border_and_no_number() -> None:
    assert drawn("edited", "le soir passe") == {"le  passe", "le soir soir passe"}
    assert drawn("edited", "5 soirs passent ici") == {
        "5 soirs  ici",
        "5 soirs passent passent ici",
        "5 soirs passent ici",
    }
    for count, places in ((159, 1), (160, 2)):
        words = [chr(ord("a") + number % 26) * (3 + number // 26) for number in range(count)]
        copies = [Counter(copy.split(" ")) for copy in drawn("edited", " ".join(words))]
        assert {sum(copy[word] != 1 for word in words) for copy in copies} == {places}


def test_other_copies_change_what_they_are_named_after() -> None:
    assert drawn("tokenized", "5 mg, puis l'eau.") == {"5 mg , puis l ' eau ."}
    assert drawn("shortened", " ".join(map(str, range(20)))) == {" ".join(map(str, range(18)))}
    assert drawn("shortened", " ".join(map(str, range(19)))) == {" ".join(map(str, range(18)))}
    assert drawn(ANOTHER_DOSE, "5 mg, 10 jours") == {"6 mg, 10 jours", "5 mg, 11 jours"}


def test_every_fourth_document_of_sixty_words_with_a_number_gets_another() -> None:
    just, short, wordy = "5 mg " * 30, "5 mg " * 29 + "le", "le mot " * 60
    assert plant([short, wordy] + [just] * 9).origins == {
        11: (2, "tokenized"),
        12: (6, "edited"),
        13: (10, "shortened"),
    }


def test_texts_are_read_until_they_have_the_words_and_each_once(tmp_path: Path) -> None:
    path = tmp_path / "texts.parquet"
    pq.write_table(pa.table({"text": ["a b", "a b", "c d e", "f"]}), path)
    assert [_read([path], words) for words in (4, 5, 7, 9)] == [
        ["a b"],
        ["a b", "c d e"],
        ["a b", "c d e"],
        ["a b", "c d e", "f"],
    ]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        ("prendre 5 mg le matin et le soir, tard", True),
        ("prendre 5 mg le matin et le soir, très tard", False),
        ("prendre le matin et le soir 5 mg", False),
        ("PRENDRE 5 mg, le matin et le soir.", True),
        ("prendre 6 mg le matin et le soir", False),
        ("prendre 5 mg le soir", False),
        ("", False),
    ],
)
def test_a_copy_shares_words_and_numbers(other: str, expected: bool) -> None:
    assert is_copy("prendre 5 mg le matin et le soir", other) == expected


@pytest.mark.slow
def test_both_ways_are_measured_on_the_same_documents(tmp_path: Path) -> None:
    path = tmp_path / "cases.parquet"
    pq.write_table(pa.table({"text": CASES}), path)
    ours, theirs = pdapt_json("bench", "dedup", path)["ways"]
    copies = dict.fromkeys((kind for kind in COPIES if kind != ANOTHER_DOSE), 1.0)
    assert (ours["recall"], ours["precision"], ours["dropped"]) == (copies | {ANOTHER_DOSE: 0.0}, 1.0, 9)
    assert theirs["recall"] == copies | {ANOTHER_DOSE: 1.0}
    assert theirs["precision"] == pytest.approx(9 / 12)
    assert "1.0 x datatrove MinHash; drops 12 documents, 75.0% of them rightly" in pdapt("bench", "dedup", path)
