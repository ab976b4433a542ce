"""A corpus's documents and words by topic."""

import json
from pathlib import Path

import pytest
from commands import pdapt, pdapt_json

from pdapt.core.errors import UserError
from pdapt.data_prep.corpus import build_corpus
from pdapt.data_prep.documents.discover import discover
from pdapt.data_prep.documents.store import write_documents
from pdapt.data_prep.topics import shares as shares_module
from pdapt.data_prep.topics.shares import Share, topic_shares

TEXTS = {
    "notes": ["Infarctus du myocarde hier", "Le cœur : infarctus", "Épilepsie ancienne", "La gare ferme"],
    "avis": ["Cataracte et glaucome", "Infarctus", "La gare ferme"],
}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    paths = []
    for name, texts in TEXTS.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
        paths.append(str(path))
    build_corpus(discover(paths), tmp_path / "corpus")
    return tmp_path / "corpus"


def test_documents_and_words_are_counted_by_topic_and_source(corpus: Path) -> None:
    assert topic_shares(corpus) == [
        Share("ophthalmology", "avis", 1, 3),
        Share("neurology", "notes", 1, 2),
        Share("cardiology", "avis", 1, 1),
        Share("cardiology", "notes", 2, 8),
        Share("none", "avis", 1, 3),
        Share("none", "notes", 1, 3),
    ]


@pytest.mark.slow
def test_processes_count_as_one_does_and_write_the_same_file(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shares_module, "FEW", 1)
    one, several = tmp_path / "one.tsv", tmp_path / "several.tsv"
    assert topic_shares(corpus, out=one, workers=1) == topic_shares(corpus, out=several, workers=2)
    assert one.read_bytes() == several.read_bytes()
    assert len(one.read_text().splitlines()) == 1 + len({text for texts in TEXTS.values() for text in texts})


def test_the_file_that_is_written_labels_the_corpus_alike(corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "topics.tsv"
    by_terms = topic_shares(corpus, out=path)
    by_labels = topic_shares(corpus, labels=path)
    assert sorted(map(repr, by_labels)) == sorted(map(repr, by_terms))
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    (*_, first, second) = topic_shares(corpus, labels=path)
    assert {first.topic, second.topic} == {""}
    assert sum(share.documents for share in (first, second)) == 6


def test_terms_of_ones_own_give_topics_of_ones_own(corpus: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("travel: {terms: [gare]}\n")
    said = pdapt_json("corpus", "topics", corpus, "--terms", tmp_path / "mine.yaml")
    assert [(row["topic"], row["source"], row["documents"]) for row in said["topics"]] == [
        ("travel", "avis", 1),
        ("travel", "notes", 1),
        ("none", "avis", 2),
        ("none", "notes", 3),
    ]


def test_the_table_shows_the_share_of_all_words_and_of_each_source(corpus: Path) -> None:
    table = pdapt("corpus", "topics", corpus)
    overall, _, by_source = table.partition("topics by source")
    assert [line for line in overall.splitlines() if "cardiology" in line and "45.0%" in line]
    assert [line for line in by_source.splitlines() if "cardiology" in line and "61.5%" in line]


def test_a_corpus_without_documents_has_no_topics(tmp_path: Path) -> None:
    write_documents(tmp_path / "documents" / "empty.parquet", iter([]), {})
    assert topic_shares(tmp_path) == []


def test_what_cannot_be_counted_is_refused(corpus: Path, tmp_path: Path) -> None:
    labels = tmp_path / "labels.tsv"
    labels.write_text("text_sha256\ttopic\n" + "a" * 64 + "\tx\n")
    with pytest.raises(UserError, match="lists none of the corpus's texts"):
        topic_shares(corpus, labels=labels)
    with pytest.raises(UserError, match="labels are given together with terms or a file to write"):
        topic_shares(corpus, labels=labels, out=tmp_path / "out.tsv")
    with pytest.raises(UserError, match="no documents in"):
        topic_shares(tmp_path / "gone", out=tmp_path / "out.tsv")
    assert not (tmp_path / "out.tsv").exists()
