"""What evaluation reads, damaged."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pdapt.eval.cells import read_runs
from pdapt.eval.contamination import read_contaminated
from pdapt.eval.figures import read_curve
from pdapt.eval.scores import SCORES, Comparison, Score, Scores
from pdapt.eval.scoring import read_rows

Fuzz = Callable[[Path, Callable[[], Any]], None]
TASK = "mmlu_anatomy"


def test_fuzz_curve(fuzz: Fuzz, tmp_path: Path) -> None:
    rows = [{"iteration": n, "slots": n * 64, "loss": 9.1 - n, "sources": {}} for n in range(4)]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"iteration": 3, "valid_loss": 8.0}]))
    fuzz(path, lambda: read_curve(path))


def test_fuzz_scores(fuzz: Fuzz, tmp_path: Path) -> None:
    score = Score("base", "medical", "medical", "", "byte_perplexity", 2.5, 0.1, 10, 1000)
    compared = Comparison("a", "base", "medical", "medical", "byte_perplexity", -0.1, 0.01, -0.2, 0.0, 0.01, 0.02, 10)
    found = Scores([("base", "base")], [score], [compared])
    (tmp_path / SCORES).write_text(json.dumps(found.to_json()))
    assert Scores.read(tmp_path) == found
    assert asdict(found.scores[0])["stderr"] == 0.1

    def read() -> None:
        for row in Scores.read(tmp_path).comparisons:
            assert row.clear in (True, False)

    fuzz(tmp_path / SCORES, read)


def test_fuzz_contaminated(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "seen.jsonl"
    path.write_text(f'{{"task": "{TASK}", "doc_id": 3}}\n{{"task": "{TASK}", "doc_hash": "ab"}}\n')
    assert read_contaminated(path) == {TASK: {"3", "ab"}}
    fuzz(path, lambda: read_contaminated(path))


def test_fuzz_rows(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text('{"doc_id": 1, "acc": 1.0, "filtered_resps": [["-1.5", "True"]]}\n' * 3)
    fuzz(path, lambda: read_rows(path))


def make_runs(folder: Path) -> Path:
    """A finished task of one model, as lm-eval writes it."""
    task = folder / "base" / TASK
    task.mkdir(parents=True)
    plan = {"models": [{"name": "base", "role": "base", "step": None}], "tasks": [TASK], "config": {}}
    (folder / "runs.json").write_text(json.dumps(plan))
    rows = [
        {
            "doc_id": n,
            "doc_hash": f"{n}" * 8,
            "prompt_hash": f"{n}" * 8,
            "target": n % 4,
            "filtered_resps": [[str(-1.0 - k), "False"] for k in range(4)],
            "acc": float(n % 4 == 0),
            "filter": "none",
        }
        for n in range(8)
    ]
    (task / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (task / "answers.jsonl").write_text(
        "".join(json.dumps({"doc_id": n, "prompt_cut": False}) + "\n" for n in range(8))
    )
    results = {
        "results": {TASK: {"acc,none": 0.25}},
        "n-samples": {TASK: {"original": 8, "effective": 8}},
        "n-shot": {TASK: 5},
        "versions": {TASK: 1.0},
        "total_evaluation_time_seconds": "12.5",
    }
    (task / "results.json").write_text(json.dumps(results))
    return folder


def test_fuzz_runs(fuzz: Fuzz, tmp_path: Path) -> None:
    folder = make_runs(tmp_path / "runs")
    answers = read_runs(folder).answers["base", TASK]
    assert (len(answers.keys), answers.seconds, float(answers.right.mean())) == (8, 12.5, 0.25)
    for name in ("runs.json", f"base/{TASK}/results.json", f"base/{TASK}/samples.jsonl", f"base/{TASK}/answers.jsonl"):
        if name.endswith("answers.jsonl"):
            continue  # damaged, it makes the only task unusable, or takes its flags away: both are read
        fuzz(folder / name, lambda: read_runs(folder))
