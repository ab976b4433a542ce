"""Real files of ten sources, in the publisher's format or as the one-line-a-document export."""

import csv
import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from reading_helpers import records_of

from pdapt.data_prep.documents.discover import discover
from pdapt.data_prep.documents.reading import find_documents, read_source
from pdapt.data_prep.documents.record import Record

Shared = Callable[[str], Path]


def lines_of(path: Path) -> list[str]:
    """The lines of a text file that hold any text."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [line for line in content.decode().split("\n") if line.strip()]


@pytest.mark.parametrize(
    ("key", "file", "documents"),
    [
        ("cnedimts", "merged_full_text.txt.gz", 2103),
        ("ecdc_tm", "merged_full_text.txt.gz", 2556),
        ("quaero", "merged_full_text.txt.gz", 2536),
        ("pxcorpus", "data.txt", 1981),
    ],
)
def test_each_line_of_an_export_is_a_document(shared: Shared, key: str, file: str, documents: int) -> None:
    records = records_of(shared(f"samples/{key}"), format=key)
    assert [record.text for record in records] == lines_of(shared(f"samples/{key}/{file}"))
    assert len(records) == documents


@pytest.mark.parametrize(("key", "documents"), [("frasimed", 40), ("mantra_gsc", 200)])
def test_brat_texts_are_read_without_their_annotations(shared: Shared, key: str, documents: int) -> None:
    folder = shared(f"samples/{key}")
    records = records_of(folder, format=key)
    texts = {path.name.removesuffix(".txt"): path.read_bytes().decode() for path in folder.rglob("*.txt")}
    assert {record.stated["doc_id"]: record.text for record in records} == texts
    assert len(records) == documents
    (survey,) = find_documents(discover([str(folder)], format=key))
    assert survey.unread_by_reason() == {"annotations": sorted(survey.unread_by_reason()["annotations"])}
    assert len(survey.unread) == documents


def test_annotations_lie_in_the_texts_at_their_offsets(shared: Shared) -> None:
    """The text is as it was annotated, character by character: CR, blanks and all."""
    folder = shared("samples/frasimed")
    texts = {record.stated["doc_id"]: record.text for record in records_of(folder, format="frasimed")}
    spans = 0
    for path in folder.rglob("*.ann"):
        for line in path.read_text().splitlines():
            if line.startswith("T") and ";" not in line:
                _, place, words = line.split("\t")
                start, end = map(int, place.split(" ")[1:])
                assert texts[path.stem][start:end] == words
                spans += 1
    assert spans > 100


def test_e3c_documents_keep_their_own_licences(shared: Shared) -> None:
    folder = shared("samples/e3c")
    records = records_of(folder, format="e3c")
    expected = {}
    for path in folder.rglob("*.json"):
        stated = json.loads(path.read_text())
        expected[stated["id"]] = (stated["text"], stated["licence"], stated["url"])
    assert len(records) == 40
    assert {r.stated["doc_id"]: (r.text, r.stated["licence"], r.stated["url"]) for r in records} == expected


def test_questions_are_read_with_their_options(shared: Shared) -> None:
    folder = shared("samples/frenchmedmcqa")
    records = records_of(folder, format="frenchmedmcqa")
    questions = [
        (name, each) for name in ("test", "train") for each in json.loads((folder / f"{name}.json").read_text())
    ]
    assert len(records) == len(questions) == 2171 + 622
    for record, (split, question) in zip(records, questions, strict=True):
        lines = record.text.split("\n" + "A. ")
        assert lines[0] == question["question"]
        assert (record.stated["doc_id"], record.split) == (question["id"], split)
        assert all(f"{letter.upper()}. {text}" in record.text for letter, text in question["answers"].items())


def test_consultations_keep_who_speaks(shared: Shared) -> None:
    records = records_of(shared("samples/mqc"), format="mqc")
    turns = {
        f"dialogues/{path.parent.name}/dialogues": sum(1 for line in path.read_text().splitlines() if line.strip())
        for path in shared("samples/mqc").rglob("dialogues")
        if path.is_file()
    }
    assert {record.key: len(record.text.split("\n")) for record in records} == turns
    assert len(turns) == 41
    assert all(line.startswith(("Médecin : ", "Patient : ")) for record in records for line in record.text.split("\n"))


def test_drug_tables_in_either_encoding_say_the_same(shared: Shared, tmp_path: Path) -> None:
    """The sample is UTF-8 with a mark; the publisher's files are Windows-1252."""
    folder = shared("samples/bdpm")
    drugs = {}
    with (folder / "CIS_bdpm.head300.txt").open(encoding="utf-8-sig", newline="") as stream:
        for row in csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE):
            drugs[row[0]] = row[1].strip()
    records = {record.key: record.text for record in records_of(folder, format="bdpm")}
    assert len(drugs) == 300
    assert all(records[cis].startswith(f"{name}\nForme : ") for cis, name in drugs.items())
    for path in folder.iterdir():
        text = path.read_text(encoding="utf-8-sig")
        (tmp_path / path.name).write_bytes(text.encode("cp1252"))
    assert {record.key: record.text for record in records_of(tmp_path, format="bdpm")} == records


def test_a_source_is_read_alike_unasked(shared: Shared) -> None:
    """Where content tells the format, `--format SOURCE` reads the same texts."""
    for key in ("e3c", "frenchmedmcqa", "bdpm", "mqc"):
        folder = shared(f"samples/{key}")
        (unasked,) = find_documents(discover([f"{key}={folder}"]))
        texts = [item.text for item in read_source(unasked, []) if isinstance(item, Record)]
        assert sorted(texts) == sorted(record.text for record in records_of(folder, format=key))
