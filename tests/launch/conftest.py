"""Tasks' data, for the tests of runs."""

import json
from pathlib import Path

import pytest

from pdapt.core.files import write_json
from pdapt.eval.tasks.data_index import DATA_INDEX_FILE


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """A folder as `pdapt eval fetch` makes it, with one question of one task."""
    folder = tmp_path / "questions"
    folder.mkdir()
    asked = "Lequel de ces douze nerfs crâniens innerve les muscles de la mimique du visage chez la personne adulte ?"
    (folder / "anatomy.jsonl").write_text(json.dumps({"question": asked, "choices": ["a", "b"]}) + "\n")
    entry = {"test": "anatomy.jsonl", "shots": "anatomy.jsonl", "questions": 1}
    write_json(folder / DATA_INDEX_FILE, {"mmlu_med_fr_anatomy": entry})
    return folder
