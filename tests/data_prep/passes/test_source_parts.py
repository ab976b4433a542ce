"""A source in parts: whatever it is divided into, its documents, its facts and its counts are those of the whole."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pdapt.core.errors import UserError
from pdapt.core.manifest import Manifest
from pdapt.data_prep.clean import boilerplate, source_facts
from pdapt.data_prep.clean.profiles import PROFILES
from pdapt.data_prep.corpus import build_corpus, discover
from pdapt.data_prep.documents import store
from pdapt.data_prep.documents.reading import find_documents
from pdapt.data_prep.passes.rows import Cleaning
from pdapt.data_prep.passes.source_parts import Pass, parts_of_source, run_pass

FOOTER = "© La revue, tous droits réservés."
HEADER = "Compte rendu de la consultation externe"
CUT = ["hyper-\ntension", "ané-\nmie", "anti-\nbiothérapie", "bron-\nchite"]
"""The first, the second and the fourth occur whole, in other files than they are cut in."""
WHOLE = {2: "hypertension", 3: "L'anémie", 11: "bronchite"}
TOLD = ["Voir http://x.fr/1, tél. 06 12 34 56 78.", "Take two tablets every morning.", "jean@chu.fr", "<b>5 mg</b>"]


def texts_of(number: int) -> list[str]:
    """Documents of a file: some with the source's lines, some equal to those of other files."""
    lines = [HEADER, f"Patient {number} : {CUT[number % 4]}, {number} mg.", *(f"ligne {number} {n}" for n in range(9))]
    lines += [WHOLE.get(number, "rien"), TOLD[number % 4], FOOTER]
    return ["\n".join(lines), f"Note {number % 5}.", f"{TOLD[number % 4]} {number}"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sources, of 16 files of different sizes and of one; some documents are spoilt."""
    for number in range(16):
        texts = texts_of(number) * (1 + number % 3)
        lines = [json.dumps({"text": text, "commercial": number % 4 != 1}) for text in texts]
        path = tmp_path / "in" / "many" / f"{number:02d}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join(lines + ['{"text": " "}'] * (number % 2)) + "\n")
    (tmp_path / "in" / "one").mkdir()
    (tmp_path / "in" / "one" / "a.txt").write_text("Un seul texte.")
    return tmp_path / "in"


def built(folder: Path, out: Path, **options: Any) -> Manifest:
    manifest = build_corpus(discover([str(folder)]), out, max_rejected=0.5, **options)
    assert not list(out.glob(".*"))
    return manifest


OPTIONS: list[dict[str, Any]] = [
    {},
    {"masked": ["all"], "duplicates": "near"},
    {"profile": "paper", "edition": "commercial", "whole": ["one"]},
    {"edition": "commercial", "whole": ["one"], "duplicates": "exact"},
]


@pytest.mark.slow
@pytest.mark.usefixtures("tasks_in_this_process")
@pytest.mark.parametrize(
    ("options", "tight"), [(OPTIONS[0], False), *((options, True) for options in OPTIONS)], ids=str
)
def test_parts_give_the_bytes_and_the_counts_of_the_whole(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], tight: bool
) -> None:
    """Also where lines are forgotten, words are not looked for, and a row group is cut anywhere."""
    if tight:
        monkeypatch.setattr(boilerplate, "LINES", 40)
        monkeypatch.setattr(source_facts, "MOST_WORDS", 2)
        monkeypatch.setattr(store, "ROW_GROUP_BYTES", 3000)
    whole = built(folder, tmp_path / "whole", **options)
    counts = whole.counts["many"]
    if "profile" not in options:
        assert set(counts["cleaning"]["boilerplate"]) == {FOOTER, HEADER}
        assert (counts["cleaning"]["cut_words_not_looked_for"] > 0) == tight
        assert counts["changes"]["hyphenation"] > 0
    if tight:
        assert pq.read_metadata(tmp_path / "whole" / "documents" / "many.parquet").num_row_groups > 2
    for tasks in (2, 40):
        parts = built(folder, tmp_path / str(tasks), **options, tasks=tasks)
        assert (parts.outputs, parts.config) == (whole.outputs, whole.config)
        assert json.dumps(parts.counts) == json.dumps(whole.counts)


def test_files_are_divided_in_their_order_and_by_size(tmp_path: Path) -> None:
    sizes = [5, 1, 1, 1, 1, 1, 8, 2]
    (tmp_path / "in").mkdir()
    for number, size in enumerate(sizes):
        (tmp_path / "in" / f"{number}.txt").write_text("a" * size * 1000)
    (survey,) = find_documents(discover([f"a={tmp_path / 'in'}"]))
    cleaning = Cleaning(PROFILES["clinical"], ())
    for most, expected in ((1, [8]), (2, [6, 2]), (4, [1, 5, 1, 1]), (100, [1] * 8)):
        parts = parts_of_source(survey, tmp_path, edition=None, cleaning=cleaning, most=most)
        assert [len(part.survey.files) for part in parts] == expected
        assert [file for part in parts for file in part.survey.files] == survey.files
        assert [part.number for part in parts] == list(range(len(parts)))


@pytest.mark.usefixtures("tasks_in_this_process")
def test_a_pass_that_is_ended_half_way_is_run_again(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = built(folder, tmp_path / "whole")
    write = pq.ParquetWriter.write_table
    written: list[int] = []

    def interrupted(writer: Any, table: Any, **options: Any) -> None:
        written.append(len(table))
        if len(written) == 3:
            raise KeyboardInterrupt
        write(writer, table, **options)

    monkeypatch.setattr(pq.ParquetWriter, "write_table", interrupted)
    with pytest.raises(KeyboardInterrupt):
        built(folder, tmp_path / "parts", tasks=4)
    assert not (tmp_path / "parts").exists()
    parts = built(folder, tmp_path / "parts", tasks=4)
    assert (parts.outputs, parts.counts) == (whole.outputs, whole.counts)


def test_faults_are_kept_with_their_places(tmp_path: Path) -> None:
    good, bad = tmp_path / "in" / "a.jsonl", tmp_path / "in" / "b.jsonl"
    good.parent.mkdir()
    good.write_text('{"text": "a"}\n')
    bad.write_text('{"text": "b"}\n')
    (survey,) = find_documents(discover([f"a={good.parent}"]))
    bad.unlink()
    cleaning = Cleaning(PROFILES["clinical"], ())
    parts = parts_of_source(survey, tmp_path / "parts", edition=None, cleaning=cleaning, most=2)
    for part in parts:
        run_pass(Pass.LOOK, part)
    assert parts[0].faults() == []
    (fault,) = parts[1].faults()
    assert isinstance(fault, UserError)
    assert str(bad) in fault.where


def test_workers_without_tasks_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there are no tasks to work on"):
        built(folder, tmp_path / "out", workers=2)
    assert not (tmp_path / "out").exists()
