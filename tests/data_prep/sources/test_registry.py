"""The registered sources against the paper's Table 1; and a source that a file defines."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reading_helpers import records_of
from typer.testing import CliRunner

from pdapt.cli.main import app
from pdapt.core.errors import UserError
from pdapt.data_prep.corpus import build_corpus, discover
from pdapt.data_prep.documents.description import BY_USER, describe
from pdapt.data_prep.documents.record import Record
from pdapt.data_prep.documents.store import FOLDER, REJECTED
from pdapt.data_prep.sources.listing import list_sources
from pdapt.data_prep.sources.registry import definitions, find_source, read_definition

Shared = Callable[[str], Path]
LETTER = """\
key: LETTERS
name: Letters of a hospital
document_type: Clinical
edition: research
endpoints: [https://hospital.example/letters]
native_format: a word a line
text: a sentence's words
licence: {name: agreement, commercial: false, evidence: [the agreement]}
citation: "A. Un. Letters. 2024."
files:
  - {names: ["*.ann"], holds: annotations}
  - {names: ["*.tab"], format: conll, options: {sentence: 1, word: 0, columns: 2}}
"""


def test_the_sources_are_those_of_table_1_in_its_order(shared: Shared) -> None:
    rows = json.loads(shared("paper/paper_tables.json").read_text())["table1"]["rows"]
    expected = [
        (row["source"].upper().replace(" ", "_"), row["doc_type"], row["commercial"], row["n_docs"], row["n_words"])
        for row in rows
    ]
    found = [(s.key, s.document_type, s.edition == "commercial", s.documents, s.words) for s in definitions().values()]
    assert len(found) == 23
    assert found == expected


def test_every_source_says_what_a_reader_needs_and_where_that_is_stated() -> None:
    for source in definitions().values():
        assert source.licence.evidence, source.key
        assert all(address.startswith(("http://", "https://")) for address in source.endpoints), source.key
        assert any(rule.format for rule in source.files), source.key
        assert source.licence.spdx or source.licence.commercial is not True or source.licence.url, source.key
    disputed = {key for key, source in definitions().items() if source.licence.conflict}
    assert {"HAL", "ISTEX", "DEFT2021", "MQC", "E3C", "WMT16", "CERIMES"} == disputed


def test_sources_are_listed_with_what_is_at_hand(tmp_path: Path) -> None:
    (tmp_path / "Quaero").mkdir()
    (tmp_path / "Quaero" / "1.txt").write_text("Dose : 5 mg")
    (tmp_path / "Quaero" / "1.ann").write_text("T1\tX 0 4\tDose")
    result = CliRunner().invoke(app, ["corpus", "sources", str(tmp_path), "--json"])
    found = {source["key"]: source for source in json.loads(result.stdout)["sources"]}
    assert len(found) == 23
    at_hand = found["QUAERO"]["at_hand"]
    assert (at_hand["files"], at_hand["bytes"], at_hand["unread"]) == (1, 11, 1)
    assert at_hand["formats"] == {"brat": 1}
    assert found["HAL"]["at_hand"] is None
    text = CliRunner().invoke(app, ["corpus", "sources"]).stdout
    assert all(key in text for key in found)


def test_one_file_defines_a_new_source(tmp_path: Path) -> None:
    """A new source, defined outside of the project, is listed and read like the others."""
    definition, raw, out = tmp_path / "letters.yaml", tmp_path / "raw", tmp_path / "corpus"
    definition.write_text(LETTER)
    raw.mkdir()
    (raw / "1.tab").write_text("Dose\ts1\n5–10\ts1\n\nFin\ts2\n")
    (raw / "1.ann").write_text("T1\tX 0 4\tDose")
    assert [listed.definition.key for listed in list_sources(further=[definition])][-1] == "LETTERS"
    manifest = build_corpus(discover([str(raw)], format=str(definition)), out)
    assert manifest.counts["raw"]["unread"] == {"annotations": ["1.ann"]}
    rows = records_of(out / FOLDER / "raw.parquet")
    assert [row.text for row in rows] == ["Dose 5–10", "Fin"]
    assert {(row.stated["document_type"], row.stated["licence"], row.stated["commercial"]) for row in rows} == {
        ("Clinical", "agreement", False)
    }
    definition.write_text(LETTER.replace("A. Un.", "B. Deux."))
    with pytest.raises(UserError, match="another"):  # the folder was made by the definition as it was
        build_corpus(discover([str(raw)], format=str(definition)), out)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("citation:", "citatoin:", "did you mean 'citation'"),
        ("edition: research", "edition: reserch", "did you mean 'research'"),
        ("format: conll", "format: conl", "did you mean 'conll'"),
        ("word: 0", "wrod: 0", "did you mean 'word'"),
        ("word: 0", "word: first", "options.word is 'first'"),
        ("key: LETTERS", "key: letters/1", "cannot be a source's key"),
        ("evidence: [the agreement]", "evidence: agreement", "licence.evidence is 'agreement'"),
        ("citation", "# citation", "'citation' is missing"),
        ("holds: annotations", "format: brat, holds: annotations", "need a format, or what they hold"),
        ("key: LETTERS", "key: &a LETTERS\nnotes: [*a]", "aliases"),
    ],
)
def test_a_definition_that_does_not_state_what_it_must_is_refused(
    tmp_path: Path, before: str, after: str, message: str
) -> None:
    path = tmp_path / "letters.yaml"
    assert before in LETTER
    path.write_text(LETTER.replace(before, after))
    with pytest.raises(UserError) as raised:
        read_definition(path)
    assert message in str(raised.value)
    assert str(path) in str(raised.value)


def test_a_name_of_no_source_is_refused_with_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")
    with pytest.raises(UserError, match="QUAERO"):
        discover([str(tmp_path)], format="QUAERRO")
    assert find_source("emea-v3") is find_source("EMEA V3") is definitions()["EMEA_V3"]


def test_what_holds_for_a_source_is_filled_in_and_what_depends_on_the_document_is_not(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a")

    def facts(format: str, **options: Any) -> tuple[Any, ...]:
        (source,) = discover([str(tmp_path)], format=format, **options)
        known = describe(Record("a.txt", "a"), source)
        return known["licence"], known["commercial"], known["document_type"], known["licence_evidence"]

    assert facts("frasimed") == ("CC-BY-4.0", True, "Clinical", "https://zenodo.org/records/8355629")
    own = {"licence": "mine", "commercial": False, "document_type": "x"}
    assert facts("frasimed", **own) == ("mine", False, "x", BY_USER)
    hal = find_source("hal").licence
    assert facts("hal") == ("", None, "Scientific", "; ".join(hal.evidence))


@pytest.mark.parametrize(("spoilt", "share", "passes"), [(1, None, True), (2, None, False), (2, 0.01, True)])
def test_one_document_in_a_thousand_of_a_source_may_be_spoilt(
    tmp_path: Path, spoilt: int, share: float | None, passes: bool
) -> None:
    raw, out = tmp_path / "cas", tmp_path / "corpus"
    raw.mkdir()
    rows: list[Any] = [{"translation": {"fr": f"Grippe {n}"}} for n in range(1000 - spoilt)]
    lines = [json.dumps(row) for row in rows] + [json.dumps({"translation": {"fr": ""}})] * spoilt
    (raw / "train.jsonl").write_text("\n".join(lines))
    sources = discover([str(raw)], format="wmt16")
    if not passes:
        with pytest.raises(UserError, match=r"a share of 0\.001"):
            build_corpus(sources, out, max_rejected=share)
        return
    counts = build_corpus(sources, out, max_rejected=share).counts["cas"]
    assert (counts["kept"], counts["rejected"]) == (1000 - spoilt, spoilt)
    assert (out / REJECTED).is_file()
