"""The split: no text on both sides, whatever is repeated where."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pdapt.data_prep.split import DROPPED, TRAIN, VALID, split, text_hasher

CORPORA = st.dictionaries(st.sampled_from("abcd"), st.lists(st.integers(0, 30), min_size=1, max_size=60), min_size=1)


@given(CORPORA, st.floats(0.01, 0.9))
def test_no_text_on_both_sides(corpus: dict[str, list[int]], fraction: float) -> None:
    decisions = split({source: np.array(texts, np.uint64) for source, texts in corpus.items()}, fraction)
    pairs = [(text, side) for source in corpus for text, side in zip(corpus[source], decisions[source], strict=True)]
    train, valid, dropped = ([text for text, side in pairs if side == which] for which in (TRAIN, VALID, DROPPED))
    assert not set(train) & {*valid, *dropped}
    assert max(Counter(valid).values(), default=1) == 1
    assert set(dropped) <= set(valid)
    for source, texts in corpus.items():
        distinct = sorted(set(texts))
        drawn = distinct[: min(max(1, round(fraction * len(distinct))), len(distinct) - 1)]
        assert set(drawn) <= set(valid), source


def test_the_first_copy_is_kept() -> None:
    corpus = {"a": np.array([7, 1, 7, 1], np.uint64), "b": np.array([1, 9, 3], np.uint64)}
    decisions = split(corpus, 0.5)
    assert decisions["a"].tolist() == [TRAIN, VALID, TRAIN, DROPPED]
    assert decisions["b"].tolist() == [DROPPED, TRAIN, VALID]


def test_one_text_gives_none_to_validation() -> None:
    assert split({"a": np.array([5, 5], np.uint64)}, 0.5)["a"].tolist() == [TRAIN, TRAIN]


def test_a_source_without_text_decides_nothing() -> None:
    decisions = split({"a": np.array([], np.uint64), "b": np.array([1, 2], np.uint64)}, 0.5)
    assert {source: sides.tolist() for source, sides in decisions.items()} == {"a": [], "b": [VALID, TRAIN]}


@pytest.mark.parametrize(
    # printf '0\nfièvre' | sha256sum
    ("text", "seed", "expected"),
    [("fièvre", 0, 0x892571CDB7084E4F), ("fièvre", 1, 0xD13A774801689F63)],
)
def test_the_hash_is_sha256(text: str, seed: int, expected: int) -> None:
    hash_text = text_hasher(seed)
    for content in (text.encode(), memoryview(text.encode()), np.frombuffer(text.encode(), np.uint8)):
        assert hash_text(content) == hash_text(content) == expected
