"""The corpus stage: sources found, read and written with their provenance."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pdapt.core.errors import UserError
from pdapt.data_prep import corpus
from pdapt.data_prep.clean import clean
from pdapt.data_prep.corpus import Source, build_corpus, discover
from pdapt.data_prep.records import Record

COLUMNS = ["text", "source", "doc_id", "document_type", "licence", "commercial", "original_split"]


def write_lines(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def test_all_samples(shared: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shared("samples")
    manifest = build_corpus(discover([str(folder)]), tmp_path / "corpus")
    published = {"cnedimts": 2103, "e3c": 40, "ecdc_tm": 2560, "frasimed": 40, "mantra_gsc": 200}
    published |= {"mqc": 41, "pxcorpus": 1981, "quaero": 2536, "frenchmedmcqa": 2171 + 622}
    assert set(manifest.counts) == {*published, "bdpm"}
    assert {source: manifest.counts[source]["read"] for source in published} == published
    for source, counts in manifest.counts.items():
        table = pq.read_table(tmp_path / "corpus" / "documents" / f"{source}.parquet")
        assert table.column_names == COLUMNS
        assert table.num_rows == counts["kept"] == counts["read"] - counts["empty"] > 0
        assert len(set(table["doc_id"].to_pylist())) == table.num_rows
        assert sum(map(len, table["text"].to_pylist())) == counts["characters"]


def test_e3c_text_and_licence_are_the_publishers(shared: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shared("samples/e3c")
    build_corpus([Source("e3c", folder, document_type="clinical")], tmp_path / "corpus")
    values = [json.loads(file.read_text()) for file in sorted(folder.rglob("*.json"))]
    rows = pq.read_table(tmp_path / "corpus" / "documents" / "e3c.parquet").to_pylist()
    assert [(row["text"], row["licence"]) for row in rows] == [(clean(v["text"]), v["licence"]) for v in values]
    assert {row["document_type"] for row in rows} == {"clinical"}


def test_a_document_and_its_provenance(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "cas_test.jsonl", ["  Fièvre à\u00a039 °C \r\n", " ", "Rien."])
    source = Source("cas", path, licence="agreement", commercial=False)
    manifest = build_corpus([source], tmp_path / "corpus")
    changes = {"line_ends": 2, "trailing_blanks": 1, "at_the_ends": 4}
    assert manifest.counts == {
        "cas": {"read": 3, "empty": 1, "kept": 2, "characters": 19, "words": 5, "changes": changes}
    }
    first, second = pq.read_table(tmp_path / "corpus" / "documents" / "cas.parquet").to_pylist()
    assert first == {
        "text": "Fièvre à\u00a039 °C",
        "source": "cas",
        "doc_id": "cas/cas_test.jsonl#1",
        "document_type": "",
        "licence": "agreement",
        "commercial": False,
        "original_split": "test",
    }
    assert second["doc_id"] == "cas/cas_test.jsonl#3"


def test_row_groups_bound_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdapt.data_prep.documents.ROW_GROUP_BYTES", 1000)
    path = write_lines(tmp_path / "a.jsonl", ["123456"] * 7)
    build_corpus(discover([str(path)]), tmp_path / "corpus")
    file = pq.ParquetFile(tmp_path / "corpus" / "documents" / "a.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [2, 2, 2, 1]


def test_discover(tmp_path: Path) -> None:
    (tmp_path / "many" / "one").mkdir(parents=True)
    (tmp_path / "many" / "two").mkdir()
    (tmp_path / "many" / "README.md").write_text("about")
    write_lines(tmp_path / "notes.v2.jsonl", ["a"])
    found = discover(
        [
            str(tmp_path / "many"),
            str(tmp_path / "notes.v2.jsonl"),
            f"whole={tmp_path / 'many'}",
            "hub:Owner/Data:config",
            "Owner/Other",
            "named=hub:Owner/Data",
        ],
        text_column="input",
    )
    assert [(source.name, source.path) for source in found] == [
        ("one", tmp_path / "many" / "one"),
        ("two", tmp_path / "many" / "two"),
        ("notes", tmp_path / "notes.v2.jsonl"),
        ("whole", tmp_path / "many"),
        ("Data", "Owner/Data:config"),
        ("Other", "Owner/Other"),
        ("named", "Owner/Data"),
    ]
    assert {source.text_column for source in found} == {"input"}


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a.jsonl", "sub/a.jsonl"], "two sources are called 'a'"),
        (["no such file.txt"], "no such file or folder"),
        (["empty"], "no documents and no subfolder"),
        (["with space.txt"], "'with space' cannot name a source"),
    ],
)
def test_sources_that_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paths: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("sub", "empty"):
        (tmp_path / folder).mkdir()
    for file in ("a.jsonl", "sub/a.jsonl", "with space.txt"):
        (tmp_path / file).write_text("x")
    with pytest.raises(UserError, match=message):
        discover(paths)


@pytest.mark.parametrize(
    ("content", "message"), [("", "the file is empty"), ('{"text": " "}\n', "has no document with text")]
)
def test_nothing_to_read(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        build_corpus(discover([str(path)]), tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()
    with pytest.raises(UserError, match="no source is given"):
        build_corpus([], tmp_path / "corpus")


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_lines(tmp_path / f"{name}.jsonl", [f"{name} {n}" for n in range(50)]) for name in "ab"]
    sources = discover([str(path) for path in paths])
    whole = build_corpus(sources, tmp_path / "whole")
    started: list[str] = []
    read = corpus.read

    def interrupted(path: Path, format: str, text_column: str) -> Iterator[Record]:
        started.append(path.stem)
        for number, record in enumerate(read(path, format, text_column)):
            if started == ["a", "b"] and number == 25:
                raise KeyboardInterrupt
            yield record

    monkeypatch.setattr(corpus, "read", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_corpus(sources, tmp_path / "corpus")
    manifest = build_corpus(sources, tmp_path / "corpus")
    assert started == ["a", "b", "b"]
    assert (manifest.outputs, manifest.counts) == (whole.outputs, whole.counts)
