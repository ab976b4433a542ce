"""Layouts: where every token stands, and how full the rows are."""

from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from pdapt.core.errors import UserError
from pdapt.data_prep.tokens.layouts import Layout, Rows, best_fit, check_layout, figures, overlapping, pack
from pdapt.data_prep.tokens.parcomed import SEQUENCES, drawn_lengths, table

LENGTHS = st.lists(st.integers(1, 90), min_size=1, max_size=80).map(lambda lengths: np.array(lengths, np.int32))
ROW = st.integers(5, 40)
OVERLAP = 4
"""Tokens that two pieces of one document share in the paper's rows."""


def tokens_of(rows: Rows) -> list[tuple[int, int]]:
    """Every (document, token in it) that stands in some row."""
    pieces = zip(rows.document.tolist(), rows.start.tolist(), rows.length.tolist(), strict=True)
    return [(document, start + token) for document, start, length in pieces for token in range(length)]


def in_rows(rows: Rows) -> list[list[tuple[int, int, int]]]:
    """The pieces of each row: document, first token, length."""
    pieces = list(zip(rows.document.tolist(), rows.start.tolist(), rows.length.tolist(), strict=True))
    return [pieces[a:b] for a, b in pairwise(rows.borders.tolist())]


@given(LENGTHS, ROW, st.integers(0, 5))
def test_packed_rows_hold_every_token_once(lengths: np.ndarray, row: int, seed: int) -> None:
    rows = pack(lengths, row, seed)
    assert sorted(tokens_of(rows)) == [(document, token) for document, n in enumerate(lengths) for token in range(n)]
    assert (rows.tokens() <= row).all()
    assert rows.tokens().sum() == lengths.sum()


@given(LENGTHS, ROW, st.integers(0, 5))
def test_a_document_that_fits_is_not_cut_and_a_longer_one_only_at_the_rows_length(
    lengths: np.ndarray, row: int, seed: int
) -> None:
    rows = pack(lengths, row, seed)
    for document, count in Counter(rows.document.tolist()).items():
        assert count == -(-int(lengths[document]) // row)
    for start, length, document in zip(rows.start, rows.length, rows.document, strict=True):
        assert start % row == 0
        assert length == min(row, lengths[document] - start)


@given(LENGTHS, ROW, st.integers(0, 5))
def test_packing_depends_on_lengths_and_seed_alone(lengths: np.ndarray, row: int, seed: int) -> None:
    first, second = pack(lengths, row, seed), pack(lengths.copy(), row, seed)
    assert in_rows(first) == in_rows(second)


def test_another_seed_puts_other_documents_together() -> None:
    lengths = np.full(200, 7, np.int32)
    first, second = (
        {frozenset(document for document, _, _ in row) for row in in_rows(pack(lengths, 21, seed))} for seed in (0, 1)
    )
    assert len(first) == len(second) == 67
    assert first != second


def best_fit_one_by_one(sizes: list[int], capacity: int) -> list[int]:
    """Room left in each row when every item is placed by itself: the textbook's algorithm."""
    room: list[int] = []
    for size in sizes:
        fitting = [(left, number) for number, left in enumerate(room) if left >= size]
        if fitting:
            room[min(fitting)[1]] -= size
        else:
            room.append(capacity - size)
    return sorted(room)


@given(st.lists(st.integers(1, 30), min_size=1, max_size=120), st.integers(30, 60))
def test_rows_are_those_of_best_fit_decreasing(sizes: list[int], capacity: int) -> None:
    falling = sorted(sizes, reverse=True)
    row = best_fit(np.array(falling, np.int32), capacity)
    filled = np.bincount(row, weights=falling).astype(int)
    assert sorted((capacity - filled).tolist()) == best_fit_one_by_one(falling, capacity)


@given(LENGTHS, ROW)
def test_rows_of_the_paper_follow_its_formula(lengths: np.ndarray, row: int) -> None:
    rows = overlapping(lengths, row)
    assert rows.borders.tolist() == list(range(len(rows.document) + 1))
    for document, n in enumerate(lengths.tolist()):
        mine = [piece for (piece,) in in_rows(rows) if piece[0] == document]
        assert len(mine) == (1 if n <= row else -(-(n - row) // (row - OVERLAP)) + 1)
        for (_, first, length), (_, following, _) in pairwise(mine):
            assert (length, following) == (row, first + row - OVERLAP)
        assert mine[-1][1] + mine[-1][2] == n


def test_rows_of_the_paper_are_those_of_the_tokenizers_own_overflow(tokenizer_folder: Path) -> None:
    """The rows of `datasets.map` with max_length, stride and return_overflowing_tokens, to the token."""
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    words = ["patient", "mg", "reçoit", "ville", "gare", "12"]
    texts = [" ".join(words[(n + k) % 6] for k in range(n)) for n in (1, 7, 8, 40, 90, 200)]
    whole = tokenizer(texts)["input_ids"]
    cut = tokenizer(texts, max_length=32, stride=OVERLAP, truncation=True, return_overflowing_tokens=True)
    rows = overlapping(np.array([len(ids) for ids in whole], np.int32), 32)
    ours = [whole[document][start : start + length] for ((document, start, length),) in in_rows(rows)]
    assert ours == cut["input_ids"]
    assert rows.document.tolist() == list(cut["overflow_to_sample_mapping"])


@given(LENGTHS, ROW)
def test_figures_count_what_the_rows_hold(lengths: np.ndarray, row: int) -> None:
    makers = {Layout.PACKED: lambda: pack(lengths, row, 3), Layout.PAPER: lambda: overlapping(lengths, row)}
    for layout, make in makers.items():
        rows, found = make(), figures(layout, lengths, row)
        assert (found.sequences, found.slots, found.real_tokens) == (len(rows), len(rows) * row, rows.tokens().sum())
    concat = figures(Layout.CONCAT, lengths, row)
    assert concat.slots == concat.real_tokens == concat.sequences * row <= lengths.sum() - 1
    assert {layout: 0 <= figures(layout, lengths, row).fill <= 1 for layout in Layout} == dict.fromkeys(Layout, True)


@pytest.mark.parametrize("spread", [0.3, 0.6, 1.0, 1.3])
def test_parcomed_packs_to_99_5_per_cent(spread: float) -> None:
    """All 17 sources at full size, each packed by itself, whatever the unknown spread of the lengths is."""
    found = [figures(Layout.PACKED, lengths, 2048) for lengths in drawn_lengths(0, spread).values()]
    assert sum(len(lengths) for lengths in drawn_lengths(0, spread).values()) == 892_339
    real, slots = sum(one.real_tokens for one in found), sum(one.slots for one in found)
    assert real == pytest.approx(1_955_165_272, rel=1e-4)
    assert real / slots >= 0.995


def test_the_papers_own_layout_leaves_half_of_the_slots_empty() -> None:
    found = [figures(Layout.PAPER, lengths, 2048) for lengths in drawn_lengths(0).values()]
    fill = sum(one.real_tokens for one in found) / sum(one.slots for one in found)
    assert 0.45 < fill < 0.55


def test_the_papers_count_of_sequences_is_more_than_its_counts_allow() -> None:
    """Its 2.53 epochs of 4,320 x 1,152 sequences are 1.967 M of them. A document of n tokens gives at most
    1 + n / 2,044 rows, so that its documents and tokens cannot give more than 1.85 M: 2.69 epochs or more."""
    assert round(SEQUENCES) == 1_967_051
    found = table()
    documents = sum(source["documents"] for source in found["sources"] if source["commercial"])
    bound = documents + found["tokens"] / (2048 - OVERLAP)
    drawn = sum(figures(Layout.PAPER, lengths, 2048).sequences for lengths in drawn_lengths(0).values())
    assert drawn <= bound < 1.85e6 < SEQUENCES
    assert 4320 * 1152 / bound > 2.69


def test_the_committed_table_is_the_papers(shared: Callable[[str], Path]) -> None:
    import json

    theirs = json.loads(shared("paper/paper_tables.json").read_text())["table1"]["rows"]
    ours = table()["sources"]
    assert [tuple(row.values()) for row in ours] == [
        (row["source"], row["doc_type"], row["commercial"], row["n_docs"], row["n_words"]) for row in theirs
    ]


@pytest.mark.parametrize(
    ("layout", "seq_length", "message"),
    [
        ("pack", 64, "did you mean 'packed'"),
        ("paper", 4, "5 or more with paper"),
        ("packed", 0, "1 or more with packed"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(layout: str, seq_length: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_layout(layout, seq_length)
    check_layout("packed", 4)
