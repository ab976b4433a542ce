"""Tokens built by topic: each source divided by its documents' topics, and nothing else changed."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest
from commands import pdapt_json
from reading_helpers import json_rows

from pdapt.core.errors import UserError
from pdapt.core.files import read_json
from pdapt.core.manifest import Manifest
from pdapt.data_prep.tokens import build as build_module
from pdapt.data_prep.tokens.build import Options, build_tokens
from pdapt.data_prep.tokens.tokens_record import read_record
from pdapt.data_prep.topics.assignments import write_assignments

TOPICS = {"coeur": "cardiology", "oeil": "ophthalmology", "gare": "none", "inconnu": ""}
OPTIONS = Options(valid_fraction=0.1)


def topic_of(text: str) -> str:
    return TOPICS[text.split()[0]]


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """Two sources of 40 documents of each topic, 5 of them with a type, and 20 that the file does not list."""
    paths = []
    for source in ("alpha", "beta"):
        rows = [
            {"text": f"{word} {source} {n} : le patient {n} reçoit {n * 5} mg.", "document_type": "Clinical" * (n < 5)}
            for word in TOPICS
            for n in range(20 if word == "inconnu" else 40)
        ]
        path = tmp_path / f"{source}.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        paths.append(str(path))
    return paths


@pytest.fixture
def topics(tmp_path: Path, inputs: list[str]) -> Path:
    texts = [row["text"] for path in inputs for row in json_rows(Path(path))]
    rows = [(hashlib.sha256(text.encode()).digest(), topic_of(text)) for text in texts if topic_of(text)]
    write_assignments(tmp_path / "topics.tsv", rows)
    return tmp_path / "topics.tsv"


def test_a_data_set_holds_the_documents_of_a_source_and_a_topic(
    tmp_path: Path, inputs: list[str], topics: Path, tokenizer_folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    manifest = build_tokens(inputs, tokenizer_folder, tmp_path / "tokens", OPTIONS, topics=topics)
    splits = read_record(tmp_path / "tokens").splits
    counts: Counter[tuple[str, str, str]] = Counter()
    for entries in splits.values():
        for name, entry in entries.items():
            assert name == ".".join(filter(None, (entry.source, entry.document_type or "untyped", entry.topic)))
            counts[entry.source, entry.document_type, entry.topic] += entry.documents
    sizes = {topic: 20 if not topic else 40 for topic in TOPICS.values()}
    assert counts == {
        (source, kind, topic): 5 if kind else size - 5
        for source in ("alpha", "beta")
        for kind in ("Clinical", "")
        for topic, size in sizes.items()
    }
    for path in (tmp_path / "tokens" / "heldout").iterdir():
        for row in json_rows(path):
            assert path.stem.endswith(topic_of(row["text"]) or "untyped") or row["document_type"]
    assert sum(entry.documents for entry in splits["valid"].values()) == 28
    assert manifest.counts["without_topic"] == 40
    assert "does not list 40 documents" in capfd.readouterr().err


def test_without_topics_nothing_is_written_otherwise(
    tmp_path: Path, inputs: list[str], topics: Path, tokenizer_folder: Path
) -> None:
    """Neither the record nor the manifest knows the word; with them all documents are there still."""
    plain = build_tokens(inputs, tokenizer_folder, tmp_path / "plain", OPTIONS)
    divided = build_tokens(inputs, tokenizer_folder, tmp_path / "divided", OPTIONS, topics=topics)
    for name in ("tokens.json", "manifest.json"):
        written = (tmp_path / "plain" / name).read_text()
        assert not [word for word in ('"topic"', '"without_topic"', '"--topics"') if word in written]
    totals = [read_json(tmp_path / name / "tokens.json")["totals"] for name in ("plain", "divided")]
    assert sum(total["documents"] for total in totals[0].values()) == 280
    assert {what: sum(total[what] for total in totals[0].values()) for what in ("documents", "tokens", "words")} == {
        what: sum(total[what] for total in totals[1].values()) for what in ("documents", "tokens", "words")
    }
    assert plain.config == divided.config
    assert divided.inputs.keys() - plain.inputs.keys() == {"--topics"}


def test_other_topics_are_other_tokens_and_the_same_ones_are_finished_work(
    tmp_path: Path, inputs: list[str], topics: Path, tokenizer_folder: Path
) -> None:
    made = build_tokens(inputs, tokenizer_folder, tmp_path / "tokens", OPTIONS, topics=topics)
    assert build_tokens(inputs, tokenizer_folder, tmp_path / "tokens", OPTIONS, topics=topics) == made
    with pytest.raises(UserError, match="--topics"):
        build_tokens(inputs, tokenizer_folder, tmp_path / "tokens", OPTIONS)
    topics.write_text(topics.read_text().replace("ophthalmology", "neurology"))
    with pytest.raises(UserError, match="--topics"):
        build_tokens(inputs, tokenizer_folder, tmp_path / "tokens", OPTIONS, topics=topics)


@pytest.mark.slow
def test_an_interruption_changes_nothing(
    tmp_path: Path, inputs: list[str], topics: Path, tokenizer_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def build(name: str) -> Manifest:
        out = tmp_path / name
        return build_tokens(inputs, tokenizer_folder, out, OPTIONS, workers=1, shard_bytes=1000, topics=topics)

    whole, tokenize, done = build("whole"), build_module.tokenize_shard, []

    class Interruption(Exception):
        pass

    def fail(*arguments: object) -> int:
        if len(done) == 3:
            raise Interruption
        done.append(arguments)
        return tokenize(*arguments)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(build_module, "tokenize_shard", fail)
    with pytest.raises(Interruption):
        build("tokens")
    monkeypatch.setattr(build_module, "tokenize_shard", tokenize)
    resumed = build("tokens")
    assert (resumed.outputs, resumed.counts) == (whole.outputs, whole.counts)


def test_a_file_of_other_texts_is_refused_and_nothing_is_made(
    tmp_path: Path, inputs: list[str], tokenizer_folder: Path
) -> None:
    write_assignments(tmp_path / "other.tsv", [(bytes(32), "cardiology")])
    with pytest.raises(UserError, match=r"(?s)none of the texts is in the file of topics.*pdapt corpus topics CORPUS"):
        build_tokens(inputs, tokenizer_folder, tmp_path / "tokens", OPTIONS, topics=tmp_path / "other.tsv")
    (tmp_path / "other.tsv").write_text("text\ttopic\n")
    with pytest.raises(UserError, match="no column is called 'text_sha256'"):
        build_tokens(inputs, tokenizer_folder, tmp_path / "tokens", OPTIONS, topics=tmp_path / "other.tsv")
    with pytest.raises(UserError, match=r"gone\.tsv is missing"):
        build_tokens(inputs, tokenizer_folder, tmp_path / "tokens", OPTIONS, topics=tmp_path / "gone.tsv")
    assert not (tmp_path / "tokens").exists()


def test_the_command_divides_a_corpus_by_the_file_that_counting_it_writes(
    tmp_path: Path, tokenizer_folder: Path
) -> None:
    rows = [f"Infarctus du myocarde {n}." for n in range(30)] + [f"La gare {n}." for n in range(30)]
    (tmp_path / "notes.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    pdapt_json("corpus", "build", tmp_path / "notes.jsonl", "--out", tmp_path / "corpus")
    pdapt_json("corpus", "topics", tmp_path / "corpus", "--out", tmp_path / "topics.tsv")
    options = ["--tokenizer", tokenizer_folder, "--out", tmp_path / "tokens", "--topics", tmp_path / "topics.tsv"]
    said = pdapt_json("tokens", "build", tmp_path / "corpus", *options)
    assert {row["name"] for row in said["datasets"]} == {"notes.cardiology", "notes.none"}
    assert said["manifest"]["counts"]["without_topic"] == 0
