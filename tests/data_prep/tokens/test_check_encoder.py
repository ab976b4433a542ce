"""Verification: a wrong id is found and said, and nothing that holds one is kept."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from reading_helpers import shards_of

from pdapt.core.errors import UserError
from pdapt.data_prep.tokens import build as tokens
from pdapt.data_prep.tokens import check_encoder, encoders
from pdapt.data_prep.tokens.build import Options, build_tokens
from pdapt.data_prep.tokens.check_encoder import ALL, SAMPLE, SAMPLE_BYTES, VerificationError, Verifier
from pdapt.data_prep.tokens.encoders import FAST, HF, Encoder, Ids, make_encoder
from pdapt.data_prep.tokens.pieces import encode_pieces
from pdapt.data_prep.tokens.selection.shards import read_shard
from pdapt.data_prep.tokens.tokenizer import Vocabulary, load_tokenizer

TEXTS = [f"Le patient {n} reçoit {n * 5} mg, puis {n + 3} comprimés « par jour »." for n in range(30)]

Fault = Callable[[list[int]], list[int]]
FAULTS: dict[str, Fault] = {
    "another first id": lambda ids: [ids[0] + 1, *ids[1:]],
    "another id in the middle": lambda ids: [*ids[:5], ids[5] - 1, *ids[6:]],
    "another end": lambda ids: [*ids[:-1], ids[-1] - 1],
    "an id too few": lambda ids: [*ids[:3], *ids[4:]],
    "no end": lambda ids: ids[:-1],
    "an id too many": lambda ids: [*ids, ids[-1]],
    "no id": lambda _: [],
}


@dataclass(frozen=True)
class Faulty:
    """A back end that is wrong in one text."""

    encoder: Encoder
    text: str
    fault: Fault

    def encode(self, text: pa.StringArray) -> tuple[Ids, Ids]:
        ids, lengths = self.encoder.encode(text)
        documents = [piece.tolist() for piece in np.split(ids, np.cumsum(lengths)[:-1])]
        documents = [
            self.fault(found) if given == self.text else found
            for given, found in zip(text.to_pylist(), documents, strict=True)
        ]
        flat = [each for document in documents for each in document]
        return np.array(flat, np.int32), np.array([len(document) for document in documents], np.int32)


@pytest.fixture(scope="module")
def vocabulary(tokenizer_folder: Path) -> Vocabulary:
    return load_tokenizer(tokenizer_folder)


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let `build_tokens` have a back end that is wrong in a text."""

    def make(text: str) -> None:
        def faulty(backend: str, vocabulary: Vocabulary) -> Faulty:
            return Faulty(make_encoder(backend, vocabulary), text, FAULTS["another id in the middle"])

        monkeypatch.setattr(tokens, "make_encoder", faulty)

    return make


def write(path: Path, texts: list[str]) -> str:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return str(path)


def draws(texts: list[str]) -> np.ndarray:
    """The texts' places in the draw of seed 0, as `split` says they are."""
    return np.array([int(hashlib.sha256(f"0\n{text}".encode()).hexdigest()[:16], 16) for text in texts], np.uint64)


def lowest(texts: list[str]) -> str:
    return texts[int(np.argmin(draws(texts)))]


def verify(verifier: Verifier, texts: list[str], number: int = 0) -> int:
    return verifier.encode(pa.array(texts, pa.string()), draws(texts), number, "here")[2]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_all_finds_a_fault_wherever_it_is(vocabulary: Vocabulary, fault: Fault) -> None:
    encoder = make_encoder(FAST, vocabulary)
    assert verify(Verifier(encoder, vocabulary, ALL), TEXTS) == len(TEXTS)
    for text in TEXTS:
        with pytest.raises(VerificationError):
            verify(Verifier(Faulty(encoder, text, fault), vocabulary, ALL), TEXTS)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_of_a_text_that_is_encoded_in_pieces_is_found(
    vocabulary: Vocabulary, fault: Fault, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (check_encoder, encoders):
        monkeypatch.setattr(module, "PIECE_BYTES", 40)
    monkeypatch.setattr(encoders, "encode_pieces", lambda text, encoder: encode_pieces(text, encoder, size=40))
    encoder = make_encoder(FAST, vocabulary)
    texts = [TEXTS[0], "Court.", TEXTS[1]]
    assert verify(Verifier(encoder, vocabulary, ALL), texts) == len(texts)
    for text in texts:
        with pytest.raises(VerificationError):
            verify(Verifier(Faulty(encoder, text, fault), vocabulary, ALL), texts)


@pytest.mark.parametrize("size", [40, 4000])
def test_the_reference_gives_a_texts_ids_in_parts_without_the_end(
    vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """A text that need not be cut is one part."""
    monkeypatch.setattr(encoders, "PIECE_BYTES", size)
    monkeypatch.setattr(encoders, "encode_pieces", lambda text, encoder: encode_pieces(text, encoder, size=size))
    parts = list(encoders.Reference(vocabulary).parts(pa.array(TEXTS[:1])))
    assert (len(parts) == 1) == (size > len(TEXTS[0].encode()))
    assert np.concatenate(parts).tolist() == vocabulary.tokenizer.encode(TEXTS[0], add_special_tokens=False).ids


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_a_sample_finds_a_fault_in_its_document_alone(vocabulary: Vocabulary, fault: Fault) -> None:
    encoder = make_encoder(FAST, vocabulary)
    found = []
    for text in TEXTS:
        try:
            assert verify(Verifier(Faulty(encoder, text, fault), vocabulary, SAMPLE), TEXTS) == 1
        except VerificationError:
            found.append(text)
    assert found == [lowest(TEXTS)]


def test_a_sample_is_of_every_eighth_batch(vocabulary: Vocabulary) -> None:
    verifier = Verifier(make_encoder(FAST, vocabulary), vocabulary, SAMPLE)
    assert [verify(verifier, TEXTS, number) for number in range(17)] == [1, *[0] * 7, 1, *[0] * 7, 1]
    assert verify(verifier, []) == 0


def test_a_sample_takes_no_long_document_where_there_is_a_shorter(vocabulary: Vocabulary) -> None:
    long = [f"{text} {'long ' * (SAMPLE_BYTES // 5)}" for text in TEXTS[:6]]
    longer = f"{'encore plus long ' * (SAMPLE_BYTES // 10)}"
    encoder = make_encoder(FAST, vocabulary)

    def sampled(text: str, texts: list[str]) -> bool:
        try:
            verify(Verifier(Faulty(encoder, text, FAULTS["another first id"]), vocabulary, SAMPLE), texts)
        except VerificationError:
            return True
        return False

    mixed = [*long, TEXTS[7], longer]
    assert [text for text in mixed if sampled(text, mixed)] == [TEXTS[7]]
    assert sampled(long[3], [longer, long[3]])


def test_the_error_says_what_and_where(vocabulary: Vocabulary) -> None:
    before, after = "Avant. " * 40, " Après." * 40
    text = f"{before}L'ordonnance du patient{after}"
    right, _ = make_encoder(HF, vocabulary).encode(pa.array([text]))
    at = next(place for place in range(len(right)) if right[place] != right[place % 4]) + 3
    wrong = right.tolist()
    wrong[at] += 1
    faulty = Faulty(make_encoder(FAST, vocabulary), text, lambda _: wrong)
    with pytest.raises(VerificationError) as caught:
        verify(Verifier(faulty, vocabulary, ALL), ["Rien.", text])
    message = str(caught.value)
    character = vocabulary.tokenizer.encode(text).offsets[at][0]
    assert f"where: here, character {character + 1}\n" in message
    assert f"text: {text[max(0, character - 60) : character + 60]!r}\n" in message
    assert f"ids: {wrong[at : at + 8]}\n" in message
    assert f"reference: {right[at : at + 8].tolist()}\n" in message
    assert "--backend hf" in message


@pytest.mark.parametrize("place", [0, 14, 29])
def test_a_fault_ends_the_stage_and_leaves_no_output(
    tmp_path: Path, tokenizer_folder: Path, plant: Callable[[str], None], place: int
) -> None:
    given, out = write(tmp_path / "leaflets.jsonl", TEXTS), tmp_path / "tokens"
    plant(TEXTS[place])
    with pytest.raises(VerificationError) as caught:
        build_tokens([given], tokenizer_folder, out, Options(verify=ALL), shard_bytes=500)
    message = str(caught.value)
    assert str(tmp_path / "leaflets.jsonl") in message
    assert TEXTS[place][:20] in message
    reference = load_tokenizer(tokenizer_folder).tokenizer.encode(TEXTS[place]).ids[5:13]
    assert f"ids: {[reference[0] - 1, *reference[1:]]}"[:-1] in message
    assert f"reference: {reference}"[:-1] in message
    assert not out.exists()


def test_a_build_goes_on_after_a_fault_is_mended(
    tmp_path: Path, tokenizer_folder: Path, plant: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    given, options = write(tmp_path / "a.jsonl", TEXTS), Options(verify=ALL)
    plant(TEXTS[29])
    with pytest.raises(VerificationError):
        build_tokens([given], tokenizer_folder, tmp_path / "tokens", options, shard_bytes=500, workers=1)
    monkeypatch.undo()
    mended = build_tokens([given], tokenizer_folder, tmp_path / "tokens", options, shard_bytes=500)
    whole = build_tokens([given], tokenizer_folder, tmp_path / "whole", options, shard_bytes=500)
    assert (mended.outputs, mended.counts) == (whole.outputs, whole.counts)


def test_a_build_with_a_sample_finds_a_fault_there(
    tmp_path: Path, tokenizer_folder: Path, plant: Callable[[str], None]
) -> None:
    given = write(tmp_path / "a.jsonl", TEXTS)
    plant(lowest(TEXTS))
    with pytest.raises(VerificationError):
        build_tokens([given], tokenizer_folder, tmp_path / "tokens", Options(verify=SAMPLE))
    plant(next(text for text in TEXTS if text != lowest(TEXTS)))
    build_tokens([given], tokenizer_folder, tmp_path / "unlucky", Options(verify=SAMPLE))


@pytest.mark.parametrize("shard_bytes", [300, 1000, 10**9])
def test_a_sample_compares_some_documents_and_all_compares_each(
    tmp_path: Path, tokenizer_folder: Path, shard_bytes: int
) -> None:
    given = write(tmp_path / "a.jsonl", TEXTS)
    cut = shards_of("a", Path(given), "text", shard_bytes)
    shards = sum(any(map(len, read_shard(shard))) for shard in cut)  # the last may begin in the last line

    def compared(name: str, options: Options) -> int:
        counts = build_tokens([given], tokenizer_folder, tmp_path / name, options, shard_bytes=shard_bytes).counts
        assert sum(side["documents"] for side in counts["totals"].values()) == len(TEXTS)
        return counts["verified_documents"]

    assert shards <= compared("sample", Options(verify=SAMPLE)) < len(TEXTS)
    assert compared("all", Options(verify=ALL)) == len(TEXTS)
    assert compared("hf", Options(verify=ALL, backend=HF)) == 0


def test_an_unknown_verification_is_refused() -> None:
    with pytest.raises(UserError, match="'some' is not a way to verify") as caught:
        Options(verify="some")
    assert caught.value.allowed == "sample, all"
