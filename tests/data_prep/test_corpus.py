"""The corpus stage: sources found, read and written with their provenance."""

import hashlib
import json
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pdapt.core.errors import UserError
from pdapt.data_prep import corpus
from pdapt.data_prep.clean.profiles import PROFILES, clean_alone
from pdapt.data_prep.corpus import Source, build_corpus, discover
from pdapt.data_prep.documents.description import BY_USER
from pdapt.data_prep.documents.faults import check_rejected
from pdapt.data_prep.documents.reading import Item
from pdapt.data_prep.documents.record import Rejected
from pdapt.data_prep.documents.survey import Survey
from pdapt.data_prep.passes import rows
from pdapt.data_prep.screening.personal import KINDS
from pdapt.data_prep.tokens.build import Options, build_tokens

COLUMNS = [
    *("text", "source", "subset", "doc_id", "document_type", "licence", "spdx", "licence_url", "licence_evidence"),
    *("licence_conflict", "original_split", "language", "url", "authors", "title", "date", "doi", "origin"),
    *("text_sha256", "changes_made", "commercial", "words"),
]


def rows_of(corpus_folder: Path, source: str) -> list[dict[str, Any]]:
    return pq.read_table(corpus_folder / "documents" / f"{source}.parquet").to_pylist()


def write_lines(path: Path, texts: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.mark.slow
def test_a_corpus_of_all_samples_holds_every_published_document(shared: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shared("samples")
    manifest = build_corpus(discover([str(folder)]), tmp_path / "corpus")
    published = {"cnedimts": 2103, "e3c": 40, "ecdc_tm": 2560 - 4, "frasimed": 40, "mantra_gsc": 200}
    # Four lines of ecdc_tm are blank.
    published |= {"mqc": 41, "pxcorpus": 1981, "quaero": 2536, "frenchmedmcqa": 2171 + 622}
    assert set(manifest.counts) == {*published, "bdpm"}
    assert {source: manifest.counts[source]["read"] for source in published} == published
    for source, counts in manifest.counts.items():
        table = pq.read_table(tmp_path / "corpus" / "documents" / f"{source}.parquet")
        assert table.column_names == COLUMNS
        assert table.num_rows == counts["kept"] == counts["read"] > 0
        assert len(set(table["origin"].to_pylist())) == table.num_rows
        assert sum(map(len, table["text"].to_pylist())) == counts["characters"]


def test_what_e3c_states_is_kept_and_a_flag_overrides_none_of_it(shared: Callable[[str], Path], tmp_path: Path) -> None:
    folder = shared("samples/e3c")
    source = Source("e3c", folder, format="E3C", document_type="clinical", licence="CC0", commercial=True)
    build_corpus([source], tmp_path / "corpus")
    values = [json.loads(file.read_text()) for file in sorted(folder.rglob("*.json"))]
    for row, value in zip(rows_of(tmp_path / "corpus", "e3c"), values, strict=True):
        stated = {"doc_id": "id", "date": "publication_date", "subset": "source"}
        stated |= {name: name for name in ("licence", "url", "doi", "language")}
        assert {name: row[name] for name in stated} == {name: value[theirs] for name, theirs in stated.items()}
        assert row["text"] == clean_alone(PROFILES["clinical"], value["text"])
        assert row["authors"] == "; ".join(author["author"].strip() for author in value["authors"])
        assert (row["source"], row["commercial"]) == ("e3c", True)


def test_no_record_that_says_no_is_of_the_commercial_edition(tmp_path: Path) -> None:
    stated: list[tuple[dict[str, Any], bool]] = [
        ({}, True),
        ({"commercial": None, "licence": "CC BY-SA 4.0"}, True),
        ({"commercial": False}, False),
        ({"commercial": "non"}, False),
        ({"Commercial": "0"}, False),
        ({"License": "CC-BY-NC-4.0"}, False),
        ({"license": "cc by nc sa"}, False),
        ({"LICENCE": "Attribution-NonCommercial"}, False),
        ({"licence": "CC BY-NC", "commercial": True}, True),
        ({"licence": "Licence francaise, INCa"}, True),
    ]
    rows = [{"text": f"Document {n}.", **row} for n, (row, _) in enumerate(stated)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = discover([str(tmp_path / "d.jsonl")], commercial=True, licence="Etalab")
    build_corpus(sources, tmp_path / "corpus")
    found = rows_of(tmp_path / "corpus", "d")
    assert [row["commercial"] for row in found] == [expected for _, expected in stated]
    assert [row["licence"] for row in found[:3]] == ["Etalab", "CC BY-SA 4.0", "Etalab"]


def test_a_document_keeps_its_provenance(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "cas_test.jsonl", ["  Fièvre à\u00a039 °C \r\n", " ", "Rien."])
    source = Source("cas", path, licence="agreement", commercial=False)
    with pytest.raises(UserError, match="1 of 3 documents cannot be read") as caught:
        build_corpus([source], tmp_path / "corpus", max_rejected=0.3)
    assert f"{path}:2: the text 'text' is empty" in caught.value.where
    assert not (tmp_path / "corpus").exists()
    manifest = build_corpus([source], tmp_path / "corpus", max_rejected=0.34)
    changes = {"line_ends": 2, "trailing_blanks": 1, "at_the_ends": 3}
    about = {"path": str(path), "files": {"jsonl": 1}, "unread": {}}
    counts = {"read": 3, "rejected": 1, "kept": 2, "characters": 19, "words": 5, "changes": changes, "left_out": {}}
    counts |= {"left_out_of_edition": {}}
    nothing = {kind: {} for kind in (*KINDS, "other_language", "languages")}
    counts |= {"screened": nothing | {"languages": {"not told": 2}}}
    steps = [step.name for step in PROFILES["clinical"].steps]
    counts["cleaning"] = {"profile": "clinical", "version": 1, "steps": steps, "altered": 1, "emptied": 0}
    counts["cleaning"] |= {"documents_with_changed_values": 0, "changed_values": {}, "kept_as_they_came": 0}
    counts["cleaning"] |= {"cut_words_not_looked_for": 0, "boilerplate": {}}
    assert manifest.counts == {"cas": about | counts}
    assert pq.read_table(tmp_path / "corpus" / "rejected.parquet").to_pylist() == [
        {"file": str(path), "line": 2, "reason": "the text 'text' is empty"}
    ]
    first, second = rows_of(tmp_path / "corpus", "cas")
    assert {name: value for name, value in first.items() if value != ""} == {
        "text": "Fièvre à\u00a039 °C",
        "source": "cas",
        "doc_id": "cas/cas_test.jsonl#1",
        "licence": "agreement",
        "commercial": False,
        "original_split": "test",
        "origin": "cas_test.jsonl#1",
        "licence_evidence": BY_USER,
        "text_sha256": hashlib.sha256("Fièvre à\u00a039 °C".encode()).hexdigest(),
        "changes_made": f"pdapt {version('pdapt')}: cleaned (clinical 1): "
        "at_the_ends 3, line_ends 2, trailing_blanks 1",
        "words": 4,
    }
    assert second["doc_id"] == "cas/cas_test.jsonl#3"


def test_few_spoilt_documents_of_many_are_a_share_without_an_exponent() -> None:
    spoilt = [Rejected("a.jsonl", 7, "the text is empty")]
    with pytest.raises(UserError, match=r"^1 of 2,000,000 documents .* a share of 0\.0000005\n") as caught:
        check_rejected(spoilt, 2_000_000, None)
    assert caught.value.allowed == "none"
    with pytest.raises(UserError, match=r"a share of 0\.3333\n") as caught:
        check_rejected(spoilt, 3, 1e-5)
    assert caught.value.allowed == "a share of 0.00001 (--max-rejected)"


def test_the_version_is_not_asked_for_with_each_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking parses the package's metadata, which took half of the time of a corpus of short documents."""
    asked: list[str] = []

    def counted(name: str) -> str:
        asked.append(name)
        return version(name)

    monkeypatch.setattr(rows.metadata, "version", counted)
    path = write_lines(tmp_path / "a.jsonl", [" Texte."] * 20)
    build_corpus([Source("a", path)], tmp_path / "corpus")
    assert asked.count("pdapt") < 5


def test_row_groups_bound_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdapt.data_prep.documents.store.ROW_GROUP_BYTES", 1000)
    path = write_lines(tmp_path / "a.jsonl", ["123456"] * 7)
    build_corpus(discover([str(path)]), tmp_path / "corpus")
    file = pq.ParquetFile(tmp_path / "corpus" / "documents" / "a.parquet")
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [2, 2, 2, 1]


def test_discover(tmp_path: Path) -> None:
    (tmp_path / "many" / "one").mkdir(parents=True)
    (tmp_path / "many" / "two").mkdir()
    (tmp_path / "many" / "empty").mkdir()
    for name in ("README.md", "one/a.txt", "two/a.txt"):
        (tmp_path / "many" / name).write_text("about")
    write_lines(tmp_path / "notes.v2.jsonl", ["a"])
    found = discover(
        [
            str(tmp_path / "many"),
            str(tmp_path / "notes.v2.jsonl"),
            f"whole={tmp_path / 'many'}",
            "hub:Owner/Data:config",
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
        ("named", "Owner/Data"),
    ]
    assert {source.text_column for source in found} == {"input"}


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (["a.jsonl", "sub/a.jsonl"], "two sources are called 'a'"),
        (["no such file.txt"], "no such file or folder"),
        (["Owner/Name"], "no such file or folder: Owner/Name"),
        (["a=Owner/Name"], "no such file or folder: Owner/Name"),
        (["x" * 5000], "no such file or folder"),
        (["a\0b"], "no such file or folder"),
        ([""], "no such file or folder"),
        (["with space=a.jsonl"], "'with space' cannot name a source"),
    ],
)
def test_sources_that_cannot_be_are_refused(
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
    ("content", "message"),
    [
        ("", "an empty file"),
        ("\n", "no document has text"),
        ('{"text": "\u200b"}\n', "1 of 1 document cannot be read"),
    ],
)
def test_sources_without_text_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(content)
    with pytest.raises(UserError, match=message):
        build_corpus(discover([str(path)]), tmp_path / "corpus")
    assert not (tmp_path / "corpus").exists()
    with pytest.raises(UserError, match="no source is given"):
        build_corpus([], tmp_path / "corpus")


def test_an_interrupted_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [write_lines(tmp_path / f"{name}.jsonl", [f"{name} {n}" for n in range(50)] + [" "]) for name in "ab"]
    sources = discover([str(path) for path in paths])
    whole = build_corpus(sources, tmp_path / "whole", max_rejected=0.5)
    started: list[str] = []
    read = corpus.read_source

    def interrupted(found: Survey, faults: list[UserError]) -> Iterator[Item]:
        started.append(found.source.name)
        for number, record in enumerate(read(found, faults)):
            if started == ["a", "b"] and number == 25:
                raise KeyboardInterrupt
            yield record

    monkeypatch.setattr(corpus, "read_source", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_corpus(sources, tmp_path / "corpus", max_rejected=0.5)
    manifest = build_corpus(sources, tmp_path / "corpus", max_rejected=0.5)
    assert started == ["a", "b", "b"]
    assert (manifest.outputs, manifest.counts) == (whole.outputs, whole.counts)
    assert pq.read_table(tmp_path / "corpus" / "rejected.parquet").num_rows == 2


def test_folders_of_any_name_are_sources_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = ["Comptes rendus", "Economie", "urgences", "Économie", "日本"]
    for name in names:
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "a.txt").write_text(name)
    found = {source.name: source.path for source in discover([str(tmp_path / "data")])}
    made = ["Comptes-rendus", "Economie", "urgences", "Economie-2", "日本"]
    assert found == {name: tmp_path / "data" / folder for name, folder in zip(made, names, strict=True)}
    said = capsys.readouterr().err
    assert "the folder Comptes rendus is the source Comptes-rendus" in said
    assert "the folder Économie is the source Economie-2" in said
    assert "urgences" not in said
    assert discover([f"Mes_notes.2=\t{tmp_path}".replace("\t", "")])[0].name == "Mes_notes.2"
    assert discover([f"Économie={tmp_path / 'data'}"])[0].name == "Économie"


def test_folders_of_splits_are_one_source(tmp_path: Path) -> None:
    for name in ("train", "test", "dev"):
        (tmp_path / "cas" / name).mkdir(parents=True)
        (tmp_path / "cas" / name / "a.txt").write_text(name)
    build_corpus(discover([str(tmp_path / "cas")]), tmp_path / "corpus")
    assert {row["text"]: row["original_split"] for row in rows_of(tmp_path / "corpus", "cas")} == {
        name: name for name in ("train", "test", "dev")
    }


def test_the_output_in_the_input_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "note.txt").write_text(name)
    for out in ("one", "two", "one"):  # the first is inside what the second reads; the third finds it done
        manifest = build_corpus(discover(["."], out=Path(out)), Path(out))
        assert set(manifest.counts) == {"a", "b"}
    (tmp_path / "top.txt").write_text("c")
    manifest = build_corpus(discover(["all=."], out=Path("three")), Path("three"))
    assert manifest.counts["all"]["read"] == 3
    assert manifest.counts["all"]["unread"] == {"made by pdapt": ["one", "two"]}


def test_a_corpus_of_the_last_version_is_read(tmp_path: Path, tokenizer_folder: Path) -> None:
    """As it was written before records kept what they state: seven columns, and another manifest."""
    old = ["text", "source", "doc_id", "document_type", "licence", "commercial", "original_split"]
    texts = [f"Le patient {n} va bien." for n in range(20)]
    columns = {name: [f"{name} {n}" for n in range(20)] for name in old}
    columns |= {"text": texts, "source": ["notes"] * 20, "commercial": [None] * 20, "document_type": [""] * 20}
    (tmp_path / "old" / "documents").mkdir(parents=True)
    schema = pa.schema([(name, pa.bool_() if name == "commercial" else pa.string()) for name in old])
    pq.write_table(pa.table(columns, schema), tmp_path / "old" / "documents" / "notes.parquet")
    manifest = {
        "stage": "corpus",
        "inputs": {},
        "config": {},
        "counts": {},
        "outputs": {},
        "versions": {},
        "seconds": 1.0,
    }
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest))
    build_tokens([str(tmp_path / "old")], tokenizer_folder, tmp_path / "tokens", Options(0.1))
    rows = [json.loads(line) for line in (tmp_path / "tokens" / "heldout" / "notes.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    for row in rows:
        number = texts.index(row["text"])
        assert (row["doc_id"], row["licence"]) == (f"doc_id {number}", f"licence {number}")


def test_what_looks_personal_is_counted_by_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rows, "SCREENED", 100)
    (tmp_path / "notes").mkdir()
    for number in range(5):
        (tmp_path / "notes" / f"{number}.txt").write_text(f"Patient {number}, tél. 06 12 34 56 7{number}.")
    write_lines(tmp_path / "lines.jsonl", ["Rien.", "jean@chu.fr", "1 85 05 78 006 084 91, jean@chu.fr", "fin"])
    paths = [str(tmp_path / "notes"), str(tmp_path / "lines.jsonl")]
    counts = build_corpus(discover(paths), tmp_path / "corpus").counts
    assert counts["notes"]["screened"]["telephone"] == {f"notes/{number}.txt": 1 for number in range(5)}
    assert counts["lines"]["screened"]["email"] == {"lines/lines.jsonl": 2}
    assert counts["lines"]["screened"]["nir"] == {"lines/lines.jsonl": 1}
    assert "corpus: what looks like a French telephone number, 5 times: notes/0.txt 1" in capsys.readouterr().err
