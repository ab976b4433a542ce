"""`pdapt bench clean`: the ways it compares clean the same documents."""

import json
from pathlib import Path

from commands import pdapt_json


def test_ways_are_compared_with_the_paper_s(tmp_path: Path) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_text("".join(json.dumps({"text": f"Note {number} : 5 mg, SpO2<90 %."}) + "\n" for number in range(50)))
    ways = pdapt_json("bench", "clean", path, "--turns", 1)["ways"]
    assert [way["way"] for way in ways][:2] == ["paper", "clinical"]
    assert ways[0]["ratio"] == 1
    assert all(way["mb_per_second"] > 0 for way in ways)
