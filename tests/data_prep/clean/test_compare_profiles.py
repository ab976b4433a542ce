"""`pdapt corpus diff`: a document under two profiles, side by side."""

import json
from pathlib import Path

import pytest
from commands import pdapt, pdapt_json

from pdapt.core.errors import UserError
from pdapt.data_prep.clean.compare_profiles import compare_profiles

NOTE = "SpO2<90% & 5–10 mg\nune hyper-\ntension\n© Revue"


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    path = tmp_path / "notes.jsonl"
    texts = [f"{NOTE} {n}\n© Revue" for n in range(6)] + ["L’hypertension <b>revient</b>"]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def test_a_document_under_two_profiles(notes: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    found = pdapt_json("corpus", "diff", f"{notes}#2", "--html", page)
    assert [side["profile"] for side in found["sides"]] == ["paper", "clinical"]
    assert found["sides"][1]["text"] == "SpO2<90% & 5–10 mg\nune hypertension\n© Revue 1"
    assert found["sides"][1]["changes"] == {"hyphenation": 1, "boilerplate_lines": 1}
    assert not found["sides"][1]["changed_values"]
    assert found["sides"][0]["changed_values"]["numbers"] == 4
    html = page.read_text()
    assert "5–10" in html
    assert "&lt;90%" in html
    assert "<90%" not in html
    shown = pdapt("corpus", "diff", f"{notes}#2")
    assert "⟦510⟧" in shown
    assert "numbers" in shown


def test_lines_are_aligned_and_differences_marked(notes: Path) -> None:
    lines = list(compare_profiles(f"{notes}#7", ["clinical", "paper"]).lines())
    assert [(part.text, part.same) for part in lines[0].left] == [
        ("L", True),
        ("’", False),
        ("hypertension ", True),
        ("revient", False),
    ]
    alike = list(compare_profiles(f"{notes}#7", ["clinical", "clinical"]).lines())
    assert all(line.same for line in alike)


@pytest.mark.parametrize(
    ("document", "profiles", "message"),
    [
        ("notes.jsonl", ["paper", "clinical"], "notes.jsonl has 7 documents, of which one is to be chosen"),
        ("notes.jsonl#9", ["paper", "clinical"], "notes.jsonl has no document '9'"),
        ("no.txt", ["paper", "clinical"], "no such file or folder"),
        ("notes.jsonl#1", ["paper"], "1 profiles are given"),
        ("notes.jsonl#1", ["paper", "x"], "no cleaning profile is called 'x'"),
    ],
)
def test_what_cannot_be_compared(
    notes: Path, monkeypatch: pytest.MonkeyPatch, document: str, profiles: list[str], message: str
) -> None:
    monkeypatch.chdir(notes.parent)
    with pytest.raises(UserError, match=message):
        compare_profiles(document, profiles)


def test_the_source_of_a_note_says_what_repeats(tmp_path: Path) -> None:
    for number in range(6):
        (tmp_path / f"{number}.txt").write_text(f"Note {number}\nMentions légales")
    alone, among = (compare_profiles(f"{tmp_path}/1.txt", ["paper", "clinical"], place) for place in (None, tmp_path))
    assert (alone.right.text, among.right.text) == ("Note 1\nMentions légales", "Note 1")
