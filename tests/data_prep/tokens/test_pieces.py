"""A long text cut into pieces has the ids of the whole."""

import random
import string
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdapt.data_prep.tokens import encoders, words
from pdapt.data_prep.tokens.encoders import FAST, HF, Encoder, Fast, make_encoder
from pdapt.data_prep.tokens.pieces import Ids, PieceEncoder, cuts_alike, encode_pieces
from pdapt.data_prep.tokens.tokenizer import Vocabulary, load_tokenizer

HARD = st.sampled_from(
    [*"aé1 \n\t\r'-.,;\u0301\u00a0\u2028œſ日本🙂½²", "'s", "'ll", "  ", "\r\n", "5–10 mg", "l’été", "e\u0301"]
)
COUNTS = st.integers(1, 300)
TEXTS = st.lists(st.one_of(HARD, st.text(max_size=3)), min_size=1, max_size=60).map("".join)


@pytest.fixture(scope="module")
def vocabulary(tokenizer_folder: Path) -> Vocabulary:
    return load_tokenizer(tokenizer_folder)


@pytest.fixture(scope="module", params=[FAST, HF])
def encoder(request: pytest.FixtureRequest, vocabulary: Vocabulary) -> Encoder:
    return make_encoder(request.param, vocabulary)


def encode_whole(vocabulary: Vocabulary, text: str) -> list[int]:
    return vocabulary.tokenizer.encode(text, add_special_tokens=False).ids


def recorded_pieces(vocabulary: Vocabulary, text: str, size: int) -> tuple[list[bytes], list[int]]:
    """The pieces that a text is encoded in, and the ids."""
    recorded: list[bytes] = []

    def encode(piece: str) -> Ids:
        recorded.append(piece.encode())
        return np.array(encode_whole(vocabulary, piece), np.int32)

    def encode_word(piece: bytes) -> Ids:
        recorded.append(piece)
        return vocabulary.encode_word(piece)

    parts = encode_pieces(text.encode(), PieceEncoder(encode, encode_word, vocabulary.token_bytes), size)
    return recorded, [value for part in parts for value in part.tolist()]


@given(st.lists(TEXTS, min_size=1, max_size=6), st.integers(4, 40), st.sampled_from([4, 50]))
@settings(max_examples=60, deadline=None)
def test_the_ids_are_those_of_the_whole(
    vocabulary: Vocabulary, encoder: Encoder, texts: list[str], size: int, longest: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders, "PIECE_BYTES", longest)
        patch.setattr(encoders, "encode_pieces", lambda *given: encode_pieces(*given, size=size))
        ids, lengths = encoder.encode(pa.array(texts))
    ends = np.cumsum(lengths).tolist()
    parts = [ids[end - length : end - 1].tolist() for end, length in zip(ends, lengths.tolist(), strict=True)]
    assert parts == [encode_whole(vocabulary, text) for text in texts]
    assert {int(ids[end - 1]) for end in ends} == {vocabulary.eod_id}


def test_texts_beside_a_long_one_are_encoded_together(vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoders, "PIECE_BYTES", 100)
    calls = []

    class Recording:
        def encode_batch_flat(self, texts: list[str]) -> tuple[bytes, bytes]:
            calls.append(texts)
            return fast.tokenizer.encode_batch_flat(texts)

    fast = make_encoder(FAST, vocabulary)
    assert isinstance(fast, Fast)
    short, long = [f"texte {number}" for number in range(50)], "un mot " * 40
    ids, lengths = Fast(vocabulary, Recording()).encode(pa.array([*short, long, *short]))
    assert [calls[0], calls[-1]] == [short, short]
    assert "".join(piece for call in calls[1:-1] for piece in call) == long
    assert len(calls) < 20
    expected = [encode_whole(vocabulary, text) for text in [*short, long, *short]]
    assert np.split(ids, np.cumsum(lengths))[50].tolist() == [*expected[50], vocabulary.eod_id]
    assert lengths.tolist() == [len(each) + 1 for each in expected]


RUNS = [
    *["a", "ab", "aab", "é", "日本語", "δόξα", "ﻋرب", "がき", "e\u0301", "\uac00", "\u1100\u1161"],
    *[".", "-=", "…", "–—", "🙂", "👍🏽", "\u0301", "\u0301\u0323", "×±≤", "'"],
    *[" ", "\n", "\r\n", "\t", "\u00a0", "\u2028", " \n", "\n ", "1", "½", "a1", ".\n", "'s", "'ſ"],
]
"""Letters, signs, white space and digits that long texts repeat."""
LONG_WORDS = st.lists(
    st.one_of(
        st.builds(lambda run, times: run * times, st.sampled_from(RUNS), COUNTS),
        st.text("abcdeé", min_size=20, max_size=200),
        st.text(" \n\r\t\u00a0", min_size=20, max_size=200),
        st.lists(st.sampled_from(["anti", "para", "céta", "mol", "lé"]), min_size=5, max_size=50).map("".join),
        st.sampled_from([" ", "\n", "1", "!", "mot", "'s", "\U0001e6ff"]),
    ),
    min_size=1,
    max_size=6,
).map("".join)


@pytest.mark.slow
@given(LONG_WORDS, st.integers(8, 100))
@settings(max_examples=200, deadline=None)
def test_words_longer_than_a_piece_have_the_ids_of_the_whole(vocabulary: Vocabulary, text: str, size: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(words, "CHUNK_BYTES", size)
        assert recorded_pieces(vocabulary, text, size)[1] == encode_whole(vocabulary, text)


@pytest.mark.parametrize("run", RUNS)
def test_a_run_of_any_characters_is_encoded_in_short_pieces(vocabulary: Vocabulary, run: str) -> None:
    text = "".join(random.Random(0).choices(run, k=4 * len(run))) + run * (12_000 // len(run))
    pieces, ids = recorded_pieces(vocabulary, text, 1000)
    assert max(map(len, pieces)) <= 2000
    assert ids == encode_whole(vocabulary, text)


def test_pieces_whose_first_token_is_another_are_encoded_as_one() -> None:
    """An encoding that depends on where a piece begins is not believed."""
    pieces: list[bytes] = []

    def encode(piece: bytes) -> Ids:
        pieces.append(piece)
        return np.full(len(piece), len(pieces), np.int32)

    def encode_text(piece: str) -> Ids:
        raise AssertionError(piece)

    list(encode_pieces(b"a" * 100, PieceEncoder(encode_text, encode, np.ones(200, np.int32)), 40))
    assert pieces[-1] == b"a" * 100


def test_a_piece_that_does_not_fit_the_one_before_is_encoded_with_it_and_as_much_again() -> None:
    """The pieces before the two are not encoded again."""
    word = "".join(random.Random(0).choices(string.ascii_lowercase, k=200)).encode()
    pieces: list[tuple[int, int]] = []

    def encode(piece: bytes) -> Ids:
        """A token a byte, but for the third piece's first."""
        ids = np.frombuffer(piece, np.uint8).astype(np.int32)
        pieces.append((word.index(piece), len(piece)))
        return ids if len(pieces) != 3 else np.concatenate([[0], ids[1:]]).astype(np.int32)

    def encode_text(piece: str) -> Ids:
        raise AssertionError(piece)

    parts = list(encode_pieces(word, PieceEncoder(encode_text, encode, np.ones(256, np.int32)), 40))
    assert pieces == [(0, 40), (20, 40), (40, 40), (20, 120), (120, 40), (140, 40), (160, 40)]
    assert np.concatenate(parts).tolist() == list(word)


def test_prose_is_cut_near_the_size_asked_for(vocabulary: Vocabulary) -> None:
    text = "Le patient reçoit 1,5 mg/kg de paracétamol. " * 1000
    pieces, _ = recorded_pieces(vocabulary, text, 500)
    sizes = [len(piece) for piece in pieces]
    assert b"".join(pieces).decode() == text
    assert max(sizes) <= 500
    assert min(sizes[:-1]) > 480


def test_a_long_stretch_of_unknown_characters_is_told_once(
    vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pdapt.data_prep.tokens.pieces.LONG_BYTES", 64)
    pieces, _ = recorded_pieces(vocabulary, "mot 1 " + "\u0378" * 300 + " fin", 8)
    assert pieces[-1].endswith(b" fin")
    assert capsys.readouterr().err.count("cannot be cut anywhere within") == 1


def test_only_a_tokenizer_that_cuts_text_as_qwen3_does_is_given_pieces(vocabulary: Vocabulary) -> None:
    definition = vocabulary.definition
    assert cuts_alike(definition)
    split, byte_level = definition["pre_tokenizer"]["pretokenizers"]
    for other in (
        {"normalizer": None},
        {"pre_tokenizer": byte_level},
        {"model": definition["model"] | {"dropout": 0.1}},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split | {"pattern": {"Regex": r"\s"}}, byte_level]}},
    ):
        assert not cuts_alike(definition | other)
