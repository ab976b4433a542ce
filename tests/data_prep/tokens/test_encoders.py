"""The fast back end's ids are those of Hugging Face's tokenizers, whatever the text."""

import gzip
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import batched
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from pdapt.core.errors import UserError
from pdapt.data_prep.tokens.encoders import FAST, HF, Encoder, make_encoder
from pdapt.data_prep.tokens.tokenizer import load_tokenizer, train_tokenizer

END_OF_DOCUMENT = "<|endoftext|>"
CODE_POINTS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]
EMPTY_PLANES = range(0x40000, 0xE0000)
"""Planes 4 to 13: Unicode assigns nothing there, so all that differs between two of them are the four bytes."""
CONTEXTS = {
    "alone": "{}",
    "in a word": "a{}b",
    "before a digit": " {}1",
    "twice": "{0}{0}",
    "under an accent": "a{}\u0301",
    "after an apostrophe": "'{}e",
}
PIECES = [
    *(
        "'s",
        "'S",
        "'re",
        "'LL",
        "'\u017f",
        "\u2019s",
        "l'\u017f",
        "\u212a",
        "'\u212a",
        "'d",
        "''",
        "\u017ft",
        "\u0130'T",
    ),
    *(" ", "  ", "\t", "\n", "\r", "\r\n", "\n\r", "\x0b", "\x0c", "\x1c", "\x85", "\xa0", "\u1680", "\u2003"),
    *("\u2028", "\u2029", "\u202f", "\u205f", "\u3000", "\u200b", "\u200d", "\ufeff", "\u00ad", "\u180e", "\u2060"),
    *("\x00", "\x01", "\x7f", "\x9f", "e\u0301", "\u0301", "\u0308\u0301", "\u1100\u1161\u11a8", "\uac00\u11a8", "ǆ"),
    *(
        "0",
        "12",
        "٣",
        "߃",
        "३",
        "๓",
        "五",
        "Ⅷ",
        "½",
        "²",
        "𝟗",
        "①",
        "a",
        "Été",
        "ß",
        "ﬁ",
        "Ω",
        "Å",
        "字",
        "한",
        "ع",
        "ॐ",
    ),
    *(
        "👩\u200d⚕\ufe0f",
        "👨\u200d👩\u200d👧\u200d👦",
        "🏴\U000e0067\U000e0062",
        "🇫🇷",
        "1\ufe0f\u20e3",
        "🙂🏽",
        "\ufffd",
        "\uffff",
    ),
    *(
        "\U0010ffff",
        "\ue000",
        "\u0378",
        "«",
        "»",
        "…",
        "—",
        "°C",
        "µg/mL",
        "<",
        "|",
        ">",
        "</s>",
        "##",
        "_",
        "Ġ",
        "Ċ",
        "▁",
    ),
    *(
        "<|endoftext|>",
        "<|im_end|>",
        "<|im_start|>",
        "<think>",
        "</think>",
        "<|fim_prefix|>",
        "<tool_call>",
        "<|im_end|",
    ),
]
"""Text that tokenizers disagree on: contractions, white space, joiners, combining marks, digits, planes, control."""
TEXTS = [
    *PIECES,
    *("".join(PIECES), " ".join(PIECES), "\n".join(PIECES), "\r\n".join(PIECES), "'".join(PIECES)),
    *(piece * 50 for piece in PIECES),
    "",
    "x" * 300_000,  # longer than a piece
    "Où" * 100_000 + "\u0301" * 1000,
    "\x00" * 10_000,
    " " * 10_000 + "\n" * 10_000 + "\t" * 10_000 + "\xa0" * 10_000,
    " \r\n \r \n\n\r\r\n  \r\n\t\r\n x \r\n",
    "9" * 10_000,
    "'" * 10_000,
    "Je l\u2019ai vu, qu'il s'\u017foit \u212aelvin\u2028\u2029\u0085\u00a0\u202f!",
]


@dataclass(frozen=True)
class Pair:
    """The fast back end, and Hugging Face's tokenizer made to read text as text."""

    fast: Encoder
    reference: Tokenizer
    end: int

    def check(self, texts: list[str]) -> npt.NDArray[np.int32]:
        """Assert that both give the same ids for the texts as one batch; those ids."""
        ids, lengths = self.fast.encode(pa.array(texts, pa.string()))
        expected = [[*found.ids, self.end] for found in self.reference.encode_batch_fast(texts)]
        assert (ids.dtype, lengths.dtype) == (np.int32, np.int32)
        flat = np.fromiter((each for document in expected for each in document), np.int32)
        if not np.array_equal(lengths, list(map(len, expected))) or not np.array_equal(ids, flat):
            ours = [piece.tolist() for piece in np.split(ids, np.cumsum(lengths)[:-1])]
            wrong = next(number for number in range(len(texts)) if ours[number] != expected[number])
            assert ours[wrong] == expected[wrong], repr(texts[wrong][:1000])
        return ids


def make_pair(folder: Path) -> Pair:
    reference = Tokenizer.from_file(str(folder / "tokenizer.json"))
    reference.add_special_tokens([token.content for token in reference.get_added_tokens_decoder().values()])
    reference.encode_special_tokens = True
    end = reference.token_to_id(END_OF_DOCUMENT)
    assert end is not None
    return Pair(make_encoder(FAST, load_tokenizer(folder)), reference, end)


@pytest.fixture(scope="module")
def qwen3(shared: Callable[[str], Path]) -> Pair:
    return make_pair(shared("tokenizers/qwen3"))


@pytest.fixture(scope="module")
def old_french(tmp_path_factory: pytest.TempPathFactory) -> Pair:
    """With tokens of words that begin with a long s, which show whether `'\u017f` was cut off as a contraction."""
    folder = tmp_path_factory.mktemp("old-french")
    texts = ("\u017foir \u017foit \u017foir \u017foit \u017fe la-\u017foir (\u017foir soir",) * 50
    train_tokenizer(iter(texts), 400, folder)
    return make_pair(folder)


@pytest.fixture(scope="module")
def trained_here(tokenizer_folder: Path) -> Pair:
    return make_pair(tokenizer_folder)


@pytest.fixture(scope="module", params=["qwen3", "trained_here", "old_french"])
def pair(request: pytest.FixtureRequest) -> Pair:
    return request.getfixturevalue(request.param)


def sample_texts(folder: Path) -> Iterator[str]:
    """Every text of the samples: whole files, their lines, and the strings of JSON files."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        raw = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        yield raw.decode()
        yield from strings(json.loads(raw)) if path.suffix == ".json" else raw.decode().splitlines(keepends=True)


def strings(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


@pytest.mark.slow
def test_the_ids_of_every_sample_are_the_references(pair: Pair, shared: Callable[[str], Path]) -> None:
    texts = list(sample_texts(shared("samples")))
    assert sum(map(len, texts)) > 5_000_000
    for batch in batched(texts, 5000):
        pair.check(list(batch))


@pytest.mark.slow
@given(st.lists(st.text(), max_size=5))
@settings(max_examples=150, deadline=None)
def test_the_ids_of_random_unicode_are_the_references(pair: Pair, texts: list[str]) -> None:
    pair.check(texts)


@given(st.lists(st.one_of(st.sampled_from(PIECES), st.characters(codec="utf-8")), max_size=30))
@settings(max_examples=150, deadline=None)
def test_the_ids_of_mixed_pieces_are_the_references(pair: Pair, pieces: list[str]) -> None:
    pair.check(["".join(pieces)])


@pytest.mark.slow
def test_the_ids_of_hard_texts_are_the_references(pair: Pair) -> None:
    pair.check(TEXTS)
    pair.check(TEXTS[:1])


@pytest.mark.slow
def test_no_text_gives_a_control_id(qwen3: Pair) -> None:
    assert qwen3.end == 151_643
    ids = qwen3.check(TEXTS)
    assert (ids >= 151_643).sum() == (ids == 151_643).sum() == len(TEXTS)
    for token in qwen3.reference.get_added_tokens_decoder().values():
        for text in (token.content, f"avant {token.content}après", token.content * 3):
            *inner, last = qwen3.check([text]).tolist()
            assert max(inner) < 151_643 == last
            assert qwen3.reference.decode(inner) == text


def test_the_end_of_a_document_is_not_the_configurations_eos(qwen3: Pair, shared: Callable[[str], Path]) -> None:
    configuration = json.loads((shared("tokenizers/qwen3") / "tokenizer_config.json").read_text())
    assert configuration.get("eos_token") == "<|im_end|>"
    for text in ("", "a", "<|im_end|>"):
        assert qwen3.check([text]).tolist()[-1] == qwen3.reference.token_to_id(END_OF_DOCUMENT) == 151_643


@pytest.mark.slow
@pytest.mark.parametrize("pair", ["qwen3", "trained_here"], indirect=True)
@pytest.mark.parametrize("context", CONTEXTS.values(), ids=CONTEXTS.keys())
def test_every_character_has_the_references_ids(pair: Pair, context: str) -> None:
    assert len(CODE_POINTS) == 0x110000 - 0x800
    every = context == CONTEXTS["alone"]
    for batch in batched([c for c in CODE_POINTS if every or ord(c) not in EMPTY_PLANES], 100_000):
        pair.check([context.format(character) for character in batch])


@given(
    st.lists(st.sampled_from(["a'\u017foit", "\u017f", "le patient", "", "5 mg", "é", "c5 bf", "ž\u2fff"]), max_size=12)
)
@settings(max_examples=40, deadline=None)
def test_the_order_is_kept_where_the_reference_does_some(pair: Pair, texts: list[str]) -> None:
    pair.check(texts)
    whole = pa.array(["avant", *texts, "après"], pa.string())
    of_slice, of_whole = (
        pair.fast.encode(array) for array in (whole.slice(1, len(texts)), pa.array(texts, pa.string()))
    )
    assert [part.tolist() for part in of_slice] == [part.tolist() for part in of_whole]


@pytest.mark.slow
def test_both_back_ends_give_the_same_arrays(tokenizer_folder: Path) -> None:
    vocabulary = load_tokenizer(tokenizer_folder)
    batches = [pa.array(texts, pa.string()) for texts in ([], [""], TEXTS)]
    for batch in batches:
        fast, slow = (make_encoder(backend, vocabulary).encode(batch) for backend in (FAST, HF))
        assert [(part.dtype, part.tolist()) for part in fast] == [(part.dtype, part.tolist()) for part in slow]


def test_a_mistyped_back_end_names_the_nearest(tokenizer_folder: Path) -> None:
    with pytest.raises(UserError, match="no back end is called 'fats'") as caught:
        make_encoder("fats", load_tokenizer(tokenizer_folder))
    assert (caught.value.fix, caught.value.allowed) == ("did you mean 'fast'?", "fast, hf")


def test_an_unknown_kind_of_tokenizer_is_sent_to_the_reference(tokenizer_folder: Path) -> None:
    vocabulary = load_tokenizer(tokenizer_folder)
    unknown = replace(vocabulary, definition=vocabulary.definition | {"pre_tokenizer": {"type": "BertPreTokenizer"}})
    with pytest.raises(UserError, match="does not know this kind of tokenizer") as caught:
        make_encoder(FAST, unknown)
    assert "--backend hf" in caught.value.fix
    assert caught.value.where == str(tokenizer_folder / "tokenizer.json")
    make_encoder(HF, unknown)
