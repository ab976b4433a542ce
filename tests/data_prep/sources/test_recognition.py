"""Folders of raw files, recognised as registered sources by what is in them, and built into one corpus."""

import csv
import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import source_files as files
from typer.testing import CliRunner

from pdapt.cli.main import app
from pdapt.core.errors import UserError
from pdapt.core.manifest import Manifest
from pdapt.data_prep import corpus
from pdapt.data_prep.corpus import build_corpus, discover
from pdapt.data_prep.documents.folders import JOURNAL_FILE
from pdapt.data_prep.documents.store import FOLDER
from pdapt.data_prep.sources.registry import find_source

Shared = Callable[[str], Path]
SAMPLES = ("bdpm", "cnedimts", "e3c", "ecdc_tm", "frasimed", "frenchmedmcqa", "mantra_gsc", "mqc", "pxcorpus", "quaero")
NATIVE: dict[str, dict[str, bytes]] = {
    "HAL": {"page.json": files.solr(files.HAL_RECORD), "hal-01.xml": files.TEI},
    "ISTEX": {"page.json": files.ISTEX_PAGE},
    "BDPM": {"CIS_CPD_bdpm.txt": "60002283\tliste I, délivrée\n".encode("cp1252")},
    "WIKIPEDIA": {"answer.json": files.WIKIPEDIA_ANSWER},
    "WMT16": {"a.jsonl": b'{"workshop": "WMT\'16 PubMed", "translation": {"en": "Flu", "fr": "Grippe"}}\n'},
    "EMEA_V3": {"EMEA.en-fr.fr": files.TEXT.encode(), "EMEA.en-fr.en": b"Dose\n" * len(files.TEXT.splitlines())},
    "CERIMES": {"index.json": files.RESOURCES, "foie.txt": files.TEXT.encode()},
    "FRASIMED": {"CANTEMIST/cc_onco1.txt": files.TEXT.encode(), "CANTEMIST/cc_onco1.ann": b"T1\tX 0 4\tDose"},
    "DEFT2021": {
        "DEFT-cas-cliniques/1.txt": b"Un cas.",
        "DEFT-cas-cliniques/1.ann": b"",
        "distribution-corpus.txt": b"1",
    },
    "QUAERO": {"corpus/train/EMEA/1.txt": b"Dose.", "corpus/train/EMEA/1.ann": b""},
    "FRENCHMEDMCQA": {"train.json": json.dumps([files.QUESTION]).encode()},
    "ECDC_TM": {"ECDC.tmx": files.TMX},
    "PXCORPUS": {"seq.in": b"5 mg matin\n", "seq.label": b"prescription\n"},
    "MANTRA_GSC": {"EMEA_GSC_fr_man.xml": files.GSC},
    "E3C": {"layer1/FR100001.xml": files.XMI},
    "CAS": {"CAS_neg.txt": files.CONLL},
    "ESSAI": {"ESSAI_neg.txt": files.CONLL},
    "MQC": {"dialogues": b"d01 Bonjour\np01 Bonjour\n"},
    "WMT18_MEDLINE": {"medline_fr2en_fr.txt": b"doc1\t1\tUn\ndoc1\t2\tDeux\n"},
}
"""Files in the native format of the sources that their files tell."""


def write(folder: Path, contents: dict[str, bytes]) -> Path:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def formats(*paths: Path, **options: Any) -> dict[str, str | None]:
    return {source.name: source.format for source in discover([str(path) for path in paths], **options)}


def stderr_of(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().err.split())


@pytest.fixture
def raw(shared: Shared, tmp_path: Path) -> Path:
    """The samples under names that say nothing."""
    folder = tmp_path / "raw"
    folder.mkdir()
    for number, name in enumerate(SAMPLES):
        (folder / f"folder-{number}").symlink_to(shared(f"samples/{name}"))
    return folder


def counted(folder: Path) -> dict[str, int]:
    """The documents of the samples, counted without the code that reads them."""

    def lines(name: str) -> int:
        content = gzip.decompress((folder / name / "merged_full_text.txt.gz").read_bytes()).decode()
        return sum(1 for line in content.split("\n") if line.strip())

    drugs: set[str] = set()
    for table, column in (("bdpm", 0), ("COMPO_bdpm", 0), ("CPD_bdpm", 0), ("GENER_bdpm", 2)):
        with (folder / f"bdpm/CIS_{table}.head300.txt").open(encoding="utf-8-sig", newline="") as stream:
            rows = csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE)
            drugs |= {row[column].strip() for row in rows if "".join(row).strip()}
    questions = sum(len(json.loads(path.read_text())) for path in (folder / "frenchmedmcqa").glob("*.json"))
    return {
        "bdpm": len(drugs),
        "frenchmedmcqa": questions,
        "e3c": sum(1 for _ in (folder / "e3c").rglob("*.json")),
        "mqc": sum(1 for path in (folder / "mqc").rglob("dialogues") if path.is_file()),
        "pxcorpus": sum(1 for line in (folder / "pxcorpus/data.txt").read_text().split("\n") if line.strip()),
        **{name: sum(1 for _ in (folder / name).rglob("*.txt")) for name in ("frasimed", "mantra_gsc")},
        **{name: lines(name) for name in ("cnedimts", "ecdc_tm", "quaero")},
    }


@pytest.mark.slow
def test_the_samples_are_recognised_whatever_their_folders_are_called(
    raw: Path, shared: Shared, tmp_path: Path
) -> None:
    manifest = build_corpus(discover([str(raw)]), tmp_path / "corpus")
    expected = counted(shared("samples"))
    for number, name in enumerate(SAMPLES):
        counts = manifest.counts[f"folder-{number}"]
        table = pq.read_table(tmp_path / "corpus" / FOLDER / f"folder-{number}.parquet")
        definition = find_source(name)
        assert counts["read"] == counts["kept"] == table.num_rows == expected[name], name
        assert set(table["spdx"].to_pylist()) <= {definition.licence.spdx, "CC-BY-4.0"}, name
        assert set(table["language"].to_pylist()) == {"fr"}, name
        assert all(table["licence_evidence"].to_pylist()), name
    assert (expected["ecdc_tm"], expected["quaero"], expected["cnedimts"]) == (2560 - 4, 2536, 2103)
    assert {each["format"] for each in manifest.config["sources"]} == {name.upper() for name in SAMPLES}


@pytest.mark.slow
def test_the_same_raw_folder_gives_the_same_bytes(raw: Path, tmp_path: Path) -> None:
    for name in ("pxcorpus", "quaero", "frenchmedmcqa", "cnedimts"):  # which take long to screen
        (raw / f"folder-{SAMPLES.index(name)}").unlink()
    one = build_corpus(discover([str(raw)]), tmp_path / "one", edition="strict")
    two = build_corpus(discover([str(raw)]), tmp_path / "two", edition="strict")
    assert one.outputs == two.outputs
    assert (one.inputs, one.config, one.counts) == (two.inputs, two.config, two.counts)
    assert "folder-7" not in {path.stem for path in (tmp_path / "one" / FOLDER).iterdir()}  # MQC's licence is disputed
    assert one.counts["folder-7"]["left_out_of_edition"]["the licence is disputed"]["documents"] == 41


@pytest.mark.parametrize("key", NATIVE)
def test_native_files_are_recognised_in_a_folder_of_any_name(tmp_path: Path, key: str) -> None:
    folder = write(tmp_path / "x" / "download", NATIVE[key])
    assert formats(folder.parent) == {"download": key}
    assert build_corpus(discover([f"a={folder}"]), tmp_path / "corpus").counts["a"]["kept"] >= 1


def test_a_folder_of_a_sources_folders_is_one_source(tmp_path: Path) -> None:
    folder = write(
        tmp_path / "Frasimed", NATIVE["FRASIMED"] | {"DISTEMIST/es-S1.txt": b"b", "DISTEMIST/es-S1.ann": b""}
    )
    assert formats(folder) == {"Frasimed": "FRASIMED"}
    assert formats(write(tmp_path / "essai" / "files", NATIVE["ESSAI"]).parent) == {"essai": "ESSAI"}


def test_a_collected_folder_is_what_its_journal_says(tmp_path: Path) -> None:
    journal = {JOURNAL_FILE: b'{"source": "HAS", "collection": "x", "limit": null}\n'}
    folder = write(tmp_path / "raw" / "x", journal | {"texts/1.txt": b"Un avis.", "more/2.txt": b"Un autre."})
    assert formats(folder.parent) == {"x": "HAS"}
    assert formats(folder) == {"x": "HAS"}
    counts = build_corpus(discover([str(folder)]), tmp_path / "corpus").counts["x"]
    assert (counts["kept"], counts["unread"]) == (2, {"made by pdapt": [JOURNAL_FILE]})
    pairs = {"DEFT-cas-cliniques/1.txt": b"Un cas.", "DEFT-cas-cliniques/1.ann": b""}
    assert formats(write(tmp_path / "agreed", pairs | {JOURNAL_FILE: b'{"source": "CAS"}\n'})) == {"agreed": "CAS"}
    with pytest.raises(UserError, match="MQC or HAS"):
        formats(write(tmp_path / "mixed", journal | NATIVE["MQC"]))
    write(folder, {JOURNAL_FILE: b'{"source": "LETTERS"}\n'})
    with pytest.raises(UserError, match=r"--format FILE\.yaml"):
        formats(folder)


OWN: dict[str, dict[str, bytes]] = {
    "notes called quaero": {"quaero/1.txt": b"Une note.", "quaero/2.txt": b"Une autre."},
    "annotated notes": {"cas/1.txt": b"Une note.", "cas/1.ann": b"T1\tX 0 3\tUne"},
    "records called hal": {"hal/a.jsonl": b'{"text": "Un", "halId_s": "hal-1"}\n'},
    "objects": {"e3c/a.json": b'{"text": "Un", "licence": "CC BY", "type": "x"}'},
    "dictations": {"pxcorpus/data.txt": b"euh qui 5 milligrammes\n" * 40 + b"2 comprim\xc3\xa9s le matin\n"},
    "a table": {"cnedimts/a.csv": b"id;text\n1;Un avis de la CNEDiMTS\n"},
    "a dialogue": {"mqc/dialogues.txt": b"d1 Bonjour\n"},
}


@pytest.mark.parametrize("name", OWN)
def test_files_of_ones_own_are_no_source_whatever_their_folder_is_called(tmp_path: Path, name: str) -> None:
    write(tmp_path / "raw", OWN[name])
    (source,) = discover([str(tmp_path / "raw")])
    assert source.format is None
    build_corpus([source], tmp_path / "corpus")
    rows = pq.read_table(tmp_path / "corpus" / FOLDER / f"{source.name}.parquet").to_pylist()
    assert all(row["licence_evidence"] in ("", "stated by the document") for row in rows)


def test_a_folder_that_is_only_called_like_a_source_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path / "CLEAR", {"a.txt": b"Un texte.", "b.txt": b"Deux."})
    assert formats(tmp_path / "CLEAR") == {"CLEAR": None}
    assert "nothing in it shows that it is CLEAR; if it is, give --format CLEAR" in stderr_of(capsys)
    assert formats(tmp_path / "CLEAR", format="clear") == {"CLEAR": "CLEAR"}


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (NATIVE["MQC"] | NATIVE["ECDC_TM"], "it may be ECDC_TM or MQC"),
        ({"DEFT-cas-cliniques/1.txt": b"Un cas.", "DEFT-cas-cliniques/1.ann": b""}, "may be DEFT2021 or CAS"),
        (NATIVE["BDPM"] | {"notes.txt": b"Une note."}, "BDPM does not publish .*notes.txt"),
        (NATIVE["FRASIMED"] | {"CANTEMIST/note.txt": b"Une note."}, "FRASIMED does not publish .*note.txt"),
        ({"merged_full_text.txt.gz": gzip.compress(b"Un\nDeux\n")}, "nothing tells of which"),
    ],
)
def test_a_doubt_is_an_error_that_names_format(tmp_path: Path, contents: dict[str, bytes], message: str) -> None:
    write(tmp_path / "raw" / "x", contents)
    write(tmp_path / "raw" / "y", {"a.txt": b"Une note."})
    with pytest.raises(UserError, match=message) as raised:
        formats(tmp_path / "raw")
    assert "--format NAME=SOURCE" in raised.value.fix
    assert formats(tmp_path / "raw", formats={"x": "mqc"}) == {"x": "MQC", "y": None}
    assert formats(tmp_path / "raw" / "x", format="text") != {}


def test_the_format_of_one_source_of_several_can_be_given(tmp_path: Path) -> None:
    write(tmp_path / "raw", {"x/merged_full_text.txt": b"Un\nDeux\n", "y/a.txt": b"Trois"})
    command = ["corpus", "build", str(tmp_path / "raw"), "--out", str(tmp_path / "corpus"), "--json"]
    done = CliRunner().invoke(app, [*command, "--format", "x=clear"])
    assert {each["name"]: each["format"] for each in json.loads(done.stdout)["config"]["sources"]} == {
        "x": "CLEAR",
        "y": None,
    }
    for given, message in (
        (["x=clear", "z=clear"], "'z'"),
        (["x=CLAER"], "did you mean 'CLEAR'"),
        (["x=clear", "x=cas"], "two formats are given for x"),
    ):
        options = [word for each in given for word in ("--format", each)]
        failed = CliRunner().invoke(app, [*command[:4], str(tmp_path / "other"), *options])
        assert isinstance(failed.exception, UserError)
        assert message.lower() in str(failed.exception).lower()


def test_an_export_is_the_source_its_folder_is_called_after(tmp_path: Path) -> None:
    content = gzip.compress(b"Un avis.\nDeux.\n")
    folder = write(tmp_path / "HAS", {"merged_full_text_1.txt.gz": content})
    assert formats(folder) == formats(folder, format="has") == {"HAS": "HAS"}
    assert formats(folder / "merged_full_text_1.txt.gz") == {"merged_full_text_1": "HAS"}


def test_an_export_beside_native_files_is_left_unread(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", NATIVE["MQC"] | {"merged_full_text.txt.gz": gzip.compress(b"Bonjour Bonjour\n")})
    counts = build_corpus(discover([str(folder)]), tmp_path / "corpus").counts["x"]
    assert (counts["read"], counts["files"]) == (1, {"mqc": 1})
    reason = "an export of documents that are here in their native format"
    assert counts["unread"] == {reason: ["merged_full_text.txt.gz"]}


def test_a_source_in_two_folders_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / "raw" / name, NATIVE["MQC"])
    with pytest.raises(UserError, match="both a and b are MQC"):
        formats(tmp_path / "raw")
    assert len(discover([f"a={tmp_path / 'raw' / 'a'}", f"b={tmp_path / 'raw' / 'b'}"])) == 2


def test_links_are_said_and_nothing_is_written_beside_the_source(tmp_path: Path) -> None:
    folder = write(tmp_path / "raw" / "x", NATIVE["MQC"])
    (folder / "loop").symlink_to(folder)
    (folder / "nowhere").symlink_to(tmp_path / "missing")
    before = sorted(path.name for path in (tmp_path / "raw").rglob("*"))
    folder.chmod(0o500)
    try:
        counts = build_corpus(discover([str(tmp_path / "raw")]), tmp_path / "corpus").counts["x"]
    finally:
        folder.chmod(0o700)
    assert counts["kept"] == 1
    assert set(counts["unread"]) == {"a link that leads nowhere", "the same folder as x (a link)"}
    assert sorted(path.name for path in (tmp_path / "raw").rglob("*")) == before


def test_a_build_that_was_interrupted_goes_on_to_the_same_corpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("MQC", "ECDC_TM", "QUAERO"):
        write(tmp_path / "raw" / key.lower(), NATIVE[key])
    sources = discover([str(tmp_path / "raw")])
    whole = build_corpus(sources, tmp_path / "whole", edition="commercial")
    read, seen = corpus.read_source, []

    def interrupted(survey: Any, faults: list[UserError]) -> Iterator[Any]:
        seen.append(survey.source.name)
        if len(seen) == 2:
            raise KeyboardInterrupt
        return read(survey, faults)

    monkeypatch.setattr(corpus, "read_source", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_corpus(sources, tmp_path / "corpus", edition="commercial")
    assert not (tmp_path / "corpus").exists()
    resumed = build_corpus(sources, tmp_path / "corpus", edition="commercial")
    assert seen == ["ecdc_tm", "mqc", "mqc", "quaero"]
    assert (resumed.outputs, resumed.counts) == (whole.outputs, whole.counts)
    assert Manifest.read(tmp_path / "corpus").outputs == whole.outputs


def test_one_document_in_a_thousand_may_be_spoilt_in_a_registered_source_and_none_in_files_of_ones_own(
    tmp_path: Path,
) -> None:
    rows = [{"workshop": "WMT'16", "translation": {"fr": f"Grippe {n}"}} for n in range(999)]
    lines = [json.dumps(row) for row in rows]
    lines.insert(500, '{"workshop": "WMT\'16", "translation": {"fr"')
    write(tmp_path / "raw", {"x/a.jsonl": "\n".join(lines).encode(), "own/a.jsonl": b'{"text": "Un"}\n'})
    counts = build_corpus(discover([str(tmp_path / "raw")]), tmp_path / "corpus").counts
    assert {name: (each["kept"], each["rejected"]) for name, each in counts.items()} == {"x": (999, 1), "own": (1, 0)}
    write(tmp_path / "raw", {"own/a.jsonl": b'{"text": "Un"}\n' * 999 + b'{"text"'})
    with pytest.raises(UserError, match="1 of 1,000 documents cannot be read") as raised:
        build_corpus(discover([str(tmp_path / "raw")]), tmp_path / "other")
    assert os.fspath(tmp_path / "raw" / "own") in str(raised.value)
    assert not (tmp_path / "other").exists()
