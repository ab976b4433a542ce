"""A long text cut into pieces has the ids of the whole."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pdapt.data_prep.tokens import encoders
from pdapt.data_prep.tokens.encoders import FAST, HF, Encoder, make_encoder
from pdapt.data_prep.tokens.pieces import cuts_alike, pieces
from pdapt.data_prep.tokens.tokenizer import Vocabulary, load_tokenizer

HARD = st.sampled_from(
    [*"aé1 \n\t\r'-.,;\u0301\u00a0\u2028œſ日本🙂½²", "'s", "'ll", "  ", "\r\n", "5–10 mg", "l’été", "e\u0301"]
)
TEXTS = st.lists(st.one_of(HARD, st.text(max_size=3)), min_size=1, max_size=60).map("".join)


@pytest.fixture(scope="module")
def vocabulary(tokenizer_folder: Path) -> Vocabulary:
    return load_tokenizer(tokenizer_folder)


@pytest.fixture(scope="module", params=[FAST, HF])
def encoder(request: pytest.FixtureRequest, vocabulary: Vocabulary) -> Encoder:
    return make_encoder(request.param, vocabulary)


@given(TEXTS, st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_the_pieces_are_the_text(text: str, size: int) -> None:
    found = list(pieces(text.encode(), size))
    assert "".join(found) == text
    assert all(found)


@given(st.lists(TEXTS, min_size=1, max_size=4), st.integers(4, 40))
@settings(max_examples=60, deadline=None)
def test_the_ids_are_those_of_the_whole(vocabulary: Vocabulary, encoder: Encoder, texts: list[str], size: int) -> None:
    whole = [vocabulary.tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders, "PIECE_BYTES", 4)
        patch.setattr(encoders, "pieces", lambda text: pieces(text, size))
        ids, lengths = encoder.encode(pa.array(texts))
    ends = np.cumsum(lengths).tolist()
    assert [ids[end - length : end - 1].tolist() for end, length in zip(ends, lengths.tolist(), strict=True)] == whole
    assert {int(ids[end - 1]) for end in ends} == {vocabulary.eod_id}


def test_prose_is_cut_near_the_size_asked_for() -> None:
    text = "Le patient reçoit 1,5 mg/kg de paracétamol. " * 1000
    sizes = [len(piece.encode()) for piece in pieces(text.encode(), 500)]
    assert max(sizes) <= 500
    assert min(sizes[:-1]) > 480


def test_a_long_stretch_without_a_place_to_cut_is_told_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("pdapt.data_prep.tokens.pieces.LONG_BYTES", 64)
    assert list(pieces(b"mot 1 " + b"a" * 300 + b" fin", 8))[-1].endswith(" fin")
    assert capsys.readouterr().err.count("has no place to cut it") == 1


def test_only_a_tokenizer_that_cuts_text_as_qwen3_does_is_given_pieces(vocabulary: Vocabulary) -> None:
    definition = vocabulary.definition
    assert cuts_alike(definition)
    split, byte_level = definition["pre_tokenizer"]["pretokenizers"]
    for other in (
        {"normalizer": None},
        {"pre_tokenizer": byte_level},
        {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [split | {"pattern": {"Regex": r"\s"}}, byte_level]}},
    ):
        assert not cuts_alike(definition | other)
