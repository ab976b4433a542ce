"""A corpus cleaned by profile: two passes over each source, what the manifest counts, and what stays as it came."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pdapt.core.errors import UserError
from pdapt.data_prep.clean import source_cleaning, source_facts
from pdapt.data_prep.clean.profiles import PROFILES
from pdapt.data_prep.clean.source_cleaning import Cleaned, CleaningCounts, clean_source
from pdapt.data_prep.corpus import build_corpus
from pdapt.data_prep.documents.discover import discover
from pdapt.data_prep.documents.record import Record, Rejected

FOOTER = "© La revue, tous droits réservés."
TEXTS = [
    f"Patient {n} : hyper-\ntension à {n}–{n + 5} mmHg, SpO2<9{n % 10}% sous air.\n{FOOTER}" for n in range(12)
] + ["L’hypertension, voir http://x.fr/1 et <i>plus</i>."]


def write(path: Path, texts: Iterable[str]) -> Path:
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts))
    return path


def built(folder: Path, texts: Iterable[str], **options: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Counts and rows of a corpus of one source."""
    path = write(folder / "notes.jsonl", texts)
    out = folder / f"corpus-{options.get('profile', 'default')}"
    counts = build_corpus(discover([str(path)]), out, **options).counts["notes"]
    assert not list(out.glob(".*"))
    return counts, pq.read_table(out / "documents" / "notes.parquet").to_pylist()


def test_the_default_needs_the_whole_source(tmp_path: Path) -> None:
    counts, rows = built(tmp_path, TEXTS)
    assert rows[3]["text"] == "Patient 3 : hypertension à 3–8 mmHg, SpO2<93% sous air."
    assert rows[12]["text"] == "L’hypertension, voir et plus."
    assert counts["changes"] == {"addresses": 1, "boilerplate_lines": 12, "hyphenation": 12, "tags": 2}
    assert counts["cleaning"] == {
        "profile": "clinical",
        "version": 1,
        "steps": ["characters", "tags", "addresses", "line_ends", "hyphenation", "boilerplate", "ends"],
        "altered": 13,
        "emptied": 0,
        "documents_with_changed_values": 0,
        "changed_values": {},
        "kept_as_they_came": 0,
        "cut_words_not_looked_for": 0,
        "boilerplate": {FOOTER: 12},
    }
    assert rows[3]["changes_made"].endswith("cleaned (clinical 1): boilerplate_lines 1, hyphenation 1")


def test_the_published_profile_is_named_and_its_losses_are_counted(tmp_path: Path) -> None:
    counts, rows = built(tmp_path, TEXTS, profile="paper")
    assert rows[3]["text"] == "Patient 3 : hyper-\ntension à 38 mmHg, SpO2 sous air.\n La revue, tous droits réservés."
    assert counts["cleaning"]["documents_with_changed_values"] == 13
    assert counts["cleaning"]["changed_values"]["numbers"] >= 24
    assert "cleaned (paper 1): " in rows[3]["changes_made"]
    with pytest.raises(UserError, match="profile"):
        build_corpus(discover([str(tmp_path / "notes.jsonl")]), tmp_path / "corpus-paper")


def test_a_document_that_cleaning_empties_is_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts, rows = built(tmp_path, ["Un mot.", "http://x.fr/a"])
    assert [row["text"] for row in rows] == ["Un mot."]
    assert (counts["read"], counts["kept"], counts["rejected"], counts["cleaning"]["emptied"]) == (2, 1, 0, 1)
    assert "documents of which cleaning left nothing: 1" in capsys.readouterr().err


def test_a_document_that_would_lose_a_value_stays_as_it_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = [Record(f"a#{n}", f"dose {n}  \nfin") for n in range(3)]
    monkeypatch.setattr(
        source_cleaning, "changed_values", lambda before, *_: Counter(numbers=1) if "1" in before else Counter()
    )
    counts = CleaningCounts.of(PROFILES["clinical"])
    items = clean_source(records, PROFILES["clinical"], tmp_path / "waiting", counts)
    out = [item for item in items if isinstance(item, Cleaned)]
    assert [item.text for item in out] == ["dose 0\nfin", "dose 1  \nfin", "dose 2\nfin"]
    assert [item.changes.total() for item in out] == [2, 0, 2]
    assert (counts.kept_as_they_came, counts.altered, counts.documents_with_changed_values) == (1, 2, 0)
    assert "a#1 is left unchanged: cleaning would change its numbers" in capsys.readouterr().err


def test_words_past_those_that_are_looked_for_stay_cut_and_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(source_facts, "MOST_WORDS", 2)
    later = "une anti-\nbiothérapie"
    texts = ["une hyper-\ntension, une ané-\nmie", f"{later}, une hyper-\ntension", later]
    whole = "hypertension, anémie, antibiothérapie"
    counts, rows = built(tmp_path, [*texts, whole])
    assert [row["text"] for row in rows] == [
        "une hypertension, une anémie",
        f"{later}, une hypertension",
        later,
        whole,
    ]
    assert counts["cleaning"]["cut_words_not_looked_for"] == 2
    assert "words that stay cut at line ends" in capsys.readouterr().err


def test_documents_come_back_as_they_were(tmp_path: Path) -> None:
    items = [
        Record("a#1", "l\u2028igne\n\r\né\x9c\u0000", {"commercial": True, "title": "T"}, "test"),
        Rejected("b.jsonl", 3, "empty"),
        Record("a#2", "\u200b"),
    ]
    waiting = tmp_path / "waiting" / "notes"
    out = list(clean_source(items, PROFILES["clinical"], waiting, CleaningCounts.of(PROFILES["clinical"])))
    assert isinstance(out[0], Cleaned)
    assert (out[0].record, out[0].text) == (items[0], "l\nigne\n\néœ")
    assert out[1] == items[1]
    assert out[2] == Rejected("a#2", 0, "no text is left after cleaning")
    assert not waiting.exists()
