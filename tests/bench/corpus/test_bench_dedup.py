"""The benchmark of near-duplicates: what it plants, and that it judges by itself."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from commands import pdapt, pdapt_json

from pdapt.bench.corpus.dedup import ANOTHER_DOSE, COPIES, is_copy, plant

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


@pytest.mark.parametrize(
    ("other", "expected"),
    [
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
