"""Editions by what each document's licence allows, the report on licences, and the credits."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pdapt.cli.main import app
from pdapt.core.errors import UserError
from pdapt.data_prep.corpus import build_corpus, discover
from pdapt.data_prep.documents.sources import Source
from pdapt.data_prep.licences.attribution import write_attribution
from pdapt.data_prep.licences.report import report_licences
from pdapt.data_prep.tokens.build import Options, build_tokens

Shared = Callable[[str], Path]
LEAFLET = {"authors": [], "publication_date": "2020", "source_url": "", "language": "fr", "type": "leaflet"}
E3C = [
    {"id": "FR1", "text": "Un cas clinique de grippe.", "licence": "CC BY 4.0", "source": "A Journal"},
    {"id": "FR2", "text": "Une notice de médicament.", "licence": "CC-BY-NC"},
]
HAL = [
    {"halId_s": "hal-1", "licence_s": "http://creativecommons.org/licenses/by/", "language_s": ["fr"]},
    {"halId_s": "hal-2", "language_s": ["fr"]},
    {"halId_s": "hal-3", "licence_s": "http://hal.archives-ouvertes.fr/licences/copyright/", "language_s": ["fr"]},
]


@pytest.fixture
def sources(tmp_path: Path) -> list[Source]:
    """A case and a leaflet of E3C; an open, an unlicensed and a reserved record of HAL; MQC, DEFT2021, own files."""
    raw = tmp_path / "raw"
    for name in ("e3c", "hal", "mqc", "deft", "own"):
        (raw / name).mkdir(parents=True)
    for document in E3C:
        (raw / "e3c" / f"{document['id']}.json").write_text(json.dumps(LEAFLET | document))
    records = [record | {"title_s": [f"Titre {n}"], "abstract_s": ["Un résumé."]} for n, record in enumerate(HAL)]
    (raw / "hal" / "page.json").write_text(json.dumps({"response": {"numFound": 3, "docs": records}}))
    (raw / "mqc" / "dialogues").write_text("d00000001 Bonjour docteur\n")
    (raw / "deft" / "1.txt").write_text("Un cas de DEFT.")
    (raw / "own" / "a.jsonl").write_text(
        '{"text": "Une note libre.", "licence": "CC BY 4.0"}\n{"text": "Une autre note."}\n'
        '{"text": "Une note payante.", "commercial": true}\n'
    )
    formats = {"e3c": "e3c", "hal": "hal", "mqc": "mqc", "deft": "deft2021", "own": None}
    return [source for name, key in formats.items() for source in discover([f"{name}={raw / name}"], format=key)]


def documents_of(corpus: Path) -> dict[str, dict[str, Any]]:
    rows = [row for path in sorted((corpus / "documents").iterdir()) for row in pq.read_table(path).to_pylist()]
    return {row["text"]: row for row in rows}


@pytest.mark.parametrize(
    ("edition", "texts"),
    [
        ("commercial", {"cas clinique", "Titre 0", "Bonjour", "libre", "payante"}),
        ("strict", {"cas clinique", "Titre 0", "libre"}),
        (
            "research",
            {"clinique", "notice", "Titre 0", "Titre 1", "Titre 2", "Bonjour", "DEFT", "libre", "autre", "pay"},
        ),
        ("paper", {"clinique", "notice", "Titre 0", "Titre 1", "Titre 2", "Bonjour", "DEFT"}),
    ],
)
def test_an_edition_holds_what_its_use_allows(
    sources: list[Source], tmp_path: Path, edition: str, texts: set[str]
) -> None:
    manifest = build_corpus(sources, tmp_path / "corpus", edition=edition)
    found = documents_of(tmp_path / "corpus")
    assert len(found) == len(texts)
    assert all(any(text in each for each in found) for text in texts), found
    left_out = [each for counts in manifest.counts.values() for each in counts["left_out_of_edition"].values()]
    assert sum(each["documents"] for each in left_out) == 10 - len(texts)
    assert sum(each["words"] for each in left_out) + sum(row["words"] for row in found.values()) == 38
    if edition == "commercial":
        assert all(row["commercial"] for row in found.values())
    if edition == "paper":  # HAL and DEFT2021 are of the commercial edition there, E3C and MQC are not
        assert {row["source"]: row["commercial"] for row in found.values()} == {
            "hal": True,
            "deft": True,
            "e3c": False,
            "mqc": False,
        }


def test_sources_may_be_whole_beside_an_edition(sources: list[Source], tmp_path: Path) -> None:
    build_corpus(sources, tmp_path / "corpus", edition="strict", whole=["own"])
    own = [row["text"] for row in documents_of(tmp_path / "corpus").values() if row["source"] == "own"]
    assert own == ["Une note libre.", "Une autre note.", "Une note payante."]
    chosen = [source for source in sources if source.name in ("deft", "own")]
    with pytest.raises(UserError, match="no document is of the edition strict"):
        build_corpus(chosen, tmp_path / "empty", edition="strict", whole=["own"])


def test_conflicts_are_listed_with_their_documents_and_words(sources: list[Source], tmp_path: Path) -> None:
    build_corpus(sources, tmp_path / "corpus")
    reported = report_licences(tmp_path / "corpus")
    found = documents_of(tmp_path / "corpus").values()
    expected = {
        "e3c": [row for row in found if "notice" in row["text"]],
        "hal": [row for row in found if "Titre 1" in row["text"]],
        "mqc": [row for row in found if "Bonjour" in row["text"]],
        "deft": [row for row in found if "DEFT" in row["text"]],
    }
    assert {each.source: (each.documents, each.words) for each in reported.conflicts} == {
        source: (len(rows), sum(len(row["text"].split()) for row in rows)) for source, rows in expected.items()
    }
    assert sum(each.documents for each in reported.licences) == len(found)
    printed = CliRunner().invoke(app, ["corpus", "licences", str(tmp_path / "corpus"), "--json"])
    assert json.loads(printed.stdout) == asdict(reported)


def test_the_registry_lists_its_conflicts_as_the_paper_counts_them(shared: Shared) -> None:
    rows = json.loads(shared("paper/paper_tables.json").read_text())["table1"]["rows"]
    counts = {row["source"].upper().replace(" ", "_"): (row["n_docs"], row["n_words"]) for row in rows}
    found = {each.source: (each.documents, each.words) for each in report_licences().conflicts}
    assert {"DEFT2021", "HAL", "MQC", "E3C"} < set(found)
    assert found == {source: counts[source] for source in found}


def test_a_document_carries_its_licence_and_where_that_is_stated(sources: list[Source], tmp_path: Path) -> None:
    build_corpus(sources, tmp_path / "corpus")
    by_id = {row["doc_id"]: row for row in documents_of(tmp_path / "corpus").values()}
    case, hal = by_id["FR1"], by_id["hal-2"]
    assert (case["licence"], case["spdx"], case["commercial"]) == ("CC BY 4.0", "CC-BY-4.0", True)
    assert (case["licence_evidence"], case["subset"]) == ("stated by the document", "A Journal")
    assert (hal["licence"], hal["spdx"], hal["commercial"], hal["language"]) == ("", "", None, "fr")
    assert "licence_s" in hal["licence_evidence"]
    for row in by_id.values():
        assert row["text_sha256"] == hashlib.sha256(row["text"].encode()).hexdigest()
        assert row["words"] == len(row["text"].split())


def test_what_a_document_carries_reaches_the_held_out_files(
    sources: list[Source], tmp_path: Path, tokenizer_folder: Path
) -> None:
    build_corpus(sources, tmp_path / "corpus")
    build_tokens([str(tmp_path / "corpus")], tokenizer_folder, tmp_path / "tokens", Options(valid_fraction=0.5))
    rows = documents_of(tmp_path / "corpus")
    held_out = [
        json.loads(line)
        for path in (tmp_path / "tokens" / "heldout").glob("*.jsonl")
        for line in path.read_text().splitlines()
    ]
    assert held_out
    for document in held_out:
        row = rows[document["text"]]
        for name in ("spdx", "licence", "licence_evidence", "licence_conflict", "text_sha256", "changes_made", "url"):
            assert document.get(name, "") == row[name], name


def test_an_edition_without_documents_is_refused(sources: list[Source], tmp_path: Path) -> None:
    own = [Source("own", tmp_path / "raw" / "own")]
    with pytest.raises(UserError, match="no document is of the edition paper"):
        build_corpus(own, tmp_path / "corpus", edition="paper")
    with pytest.raises(UserError, match="did you mean 'commercial'"):
        build_corpus(sources, tmp_path / "corpus", edition="comercial")
    assert not (tmp_path / "corpus").exists()


def test_credits_name_title_authors_source_licence_and_changes(shared: Shared, tmp_path: Path) -> None:
    build_corpus(discover([str(shared("samples/e3c"))], format="e3c"), tmp_path / "corpus")
    (tmp_path / "own.jsonl").write_text(
        '{"text": "Un\\u00adetexte d\\u0092un", "title": "T\\nitre", "authors": ["A. Un"], "url": "https://x.fr/1", '
        '"licence": "CC BY 4.0"}\n'
        '{"text": "Sans licence."}\n'
    )
    build_corpus(discover([str(tmp_path / "own.jsonl")]), tmp_path / "own")
    counts = write_attribution(tmp_path / "corpus", tmp_path / "credits.txt")
    text = (tmp_path / "credits.txt").read_text()
    for path in shared("samples/e3c").rglob("*.json"):
        stated = json.loads(path.read_text())
        (line,) = [line for line in text.splitlines() if stated["url"] in line]
        assert all(" ".join(author["author"].split()) in line for author in stated["authors"])
        assert "CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/)" in line
        assert stated["source"] in line
    assert (counts["documents"], counts["credits"], counts["without_licence"]) == (40, 40, 0)
    write_attribution(tmp_path / "corpus", tmp_path / "credits.txt")  # the same again
    with pytest.raises(UserError, match="something else"):
        write_attribution(tmp_path / "own", tmp_path / "credits.txt")
    counts = write_attribution(tmp_path / "own", tmp_path / "own.txt")
    assert counts["without_licence"] == 1
    own = (tmp_path / "own.txt").read_text()
    assert (
        '- "T itre", A. Un, https://x.fr/1. Licence: CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/).' in own
    )
    assert "characters cleaned (soft hyphens removed, windows 1252) by pdapt" in own
    assert "1 document. Licence: no licence is known" in own
