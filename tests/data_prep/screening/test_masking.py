"""Masking: what is found goes, whatever stands around it, and nothing else changes; examples show what it would be."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pdapt.cli.main import app
from pdapt.core.errors import UserError
from pdapt.data_prep.corpus import build_corpus
from pdapt.data_prep.documents.discover import discover
from pdapt.data_prep.screening.masking import MASKS, findings_in, kinds_to_mask, mask
from pdapt.data_prep.screening.personal import KINDS
from pdapt.data_prep.screening.samples import personal_data

NOTE = (
    "Mme D., née le 12/05/1985 (2 85 05 78 006 084 41), 12 bis rue de la République, 69003 Lyon ; Tél. 06 12 34 56 78, "
    "courriel : « a.dupont@chu.fr ». Dr M., RPPS 10101234567. Virement : FR14 2004 1010 0505 0001 3M02 606. "
    "Amoxicilline 500 mg × 3/j, CIP 34009 300 001 2 0, à revoir le 23/03/2022 à 14:30."
)
MASKED = (
    "Mme D., née le 12/05/1985 ([NIR]), [ADRESSE] ; Tél. [TELEPHONE], courriel : « [EMAIL] ». Dr M., RPPS [RPPS]. "
    "Virement : [IBAN]. Amoxicilline 500 mg × 3/j, CIP 34009 300 001 2 0, à revoir le 23/03/2022 à 14:30."
)


def masked(text: str, kinds: Sequence[str] = KINDS) -> str:
    return mask(text, kinds, Counter())


def test_each_kind_is_replaced_by_its_name_and_counted() -> None:
    changes = Counter(addresses=3)
    assert mask(NOTE, KINDS, changes) == MASKED
    assert changes == {"addresses": 3} | {f"masked_{kind}": 1 for kind in KINDS}
    assert set(MASKS) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_asked_for_is_masked(kind: str) -> None:
    once = masked(NOTE, [kind])
    assert MASKS[kind] in once
    assert sum(mark in once for mark in MASKS.values()) == 1
    assert masked(once) == MASKED
    assert masked(NOTE, []) == NOTE


PIECES = st.sampled_from([NOTE, *NOTE.split(", "), "é@", " ", "\n", "5 mg", "\u00a0", "🙂", "06 12 34 56 78", "x@y.fr"])


@given(st.lists(PIECES, max_size=5).map("".join), st.sets(st.sampled_from(KINDS)))
def test_nothing_but_what_is_found_is_changed(text: str, kinds: set[str]) -> None:
    rest, changes = text, Counter[str]()
    changed = mask(text, kinds, changes)
    for part in changed.split("["):  # the pieces hold none
        kept = part.rpartition("]")[2]
        place = rest.find(kept)
        assert place >= 0
        rest = rest[place + len(kept) :]
    assert sum(changed.count(MASKS[kind]) for kind in kinds) == changes.total()
    if changes.total() == 0:
        assert changed == text


@given(st.lists(PIECES, max_size=5).map("".join))
def test_what_is_masked_is_found_no_more(text: str) -> None:
    assert findings_in(masked(text).encode()) == []


def test_kinds_are_named_once_and_all_stands_for_each() -> None:
    assert kinds_to_mask(["nir", "email", "nir"]) == ("email", "nir")
    assert kinds_to_mask(["rpps", "all"]) == KINDS
    assert kinds_to_mask([]) == ()
    with pytest.raises(UserError, match="no kind of personal data is called 'phone'"):
        kinds_to_mask(["email", "phone"])


def corpus_of(folder: Path, texts: list[str], **options: Any) -> Path:
    path = folder / "notes.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    build_corpus(discover([str(path)]), folder / "corpus", **options)
    return folder / "corpus"


def test_a_corpus_is_masked_by_choice_and_says_so(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, [NOTE, "Rien."], masked=["all"])
    first, second = pq.read_table(corpus / "documents" / "notes.parquet").to_pylist()
    assert (first["text"], second["text"]) == (MASKED, "Rien.")
    assert "masked_address 1, masked_email 1" in first["changes_made"]
    assert first["words"] == len(MASKED.split())
    counts = json.loads((corpus / "manifest.json").read_text())["counts"]["notes"]
    assert counts["changes"] == {f"masked_{kind}": 1 for kind in KINDS}
    assert [counts["screened"][kind] for kind in KINDS] == [{}] * len(KINDS)
    with pytest.raises(UserError, match="masked"):
        build_corpus(discover([str(tmp_path / "notes.jsonl")]), tmp_path / "corpus")


def test_examples_show_what_was_found_and_the_words_around_it(tmp_path: Path) -> None:
    corpus = corpus_of(tmp_path, [NOTE, "Rien.", *(f"Appeler le 06 12 34 56 {n}." for n in range(10, 60))])
    data = personal_data(corpus, 3)
    assert data.counts == {kind: {"notes": 51 if kind == "telephone" else 1} for kind in KINDS}
    shown = {kind: [sample for sample in data.samples if sample.kind == kind] for kind in KINDS}
    assert [len(samples) for samples in shown.values()] == [1, 3, 1, 1, 1, 1]
    assert (shown["email"][0].text, shown["email"][0].doc_id) == ("a.dupont@chu.fr", "notes/notes.jsonl#1")
    assert shown["email"][0].before.endswith("courriel : « ")
    assert shown["email"][0].after.startswith(" ». Dr M.")
    assert len({sample.doc_id for sample in shown["telephone"]}) == 3
    assert any(sample.doc_id not in [f"notes/notes.jsonl#{n}" for n in (1, 3, 4)] for sample in shown["telephone"])
    assert personal_data(corpus, 3) == data
    assert personal_data(corpus, 0).samples == []


def test_the_commands_mask_count_and_show(tmp_path: Path) -> None:
    runner, notes, corpus = CliRunner(), tmp_path / "notes.jsonl", str(tmp_path / "corpus")
    notes.write_text(json.dumps({"text": NOTE}) + "\n")
    build = ["corpus", "build", str(notes), "--out", corpus, "--json"]
    assert runner.invoke(app, [*build, "--mask", "nir", "--mask", "email"]).exit_code == 0
    shown = runner.invoke(app, ["corpus", "personal", corpus, "--json"])
    found = json.loads(shown.stdout)
    assert found["counts"] == {kind: {} if kind in ("nir", "email") else {"notes": 1} for kind in KINDS}
    assert [sample["text"] for sample in found["samples"] if sample["kind"] == "telephone"] == ["06 12 34 56 78"]
    table = runner.invoke(app, ["corpus", "personal", corpus, "--samples", "1"]).stdout
    assert ">>10101234567<<" in "".join(table.split())
    refused = runner.invoke(app, [*build[:-2], str(tmp_path / "other"), "--mask", "phone"])
    assert isinstance(refused.exception, UserError)
    assert not (tmp_path / "other").exists()
