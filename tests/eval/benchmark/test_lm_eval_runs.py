"""Runs that lm-eval itself has written: they are read as they are, and our numbers are its own."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from pdapt.core.files import write_json
from pdapt.eval.benchmark.read_results import read_runs
from pdapt.eval.statistics.compare import average_score

CHOICE, OTHER, TEXT = "mmlu_anatomy", "mmlu_clinical_knowledge", "mmlu_prox_en_health"
SIZES = {CHOICE: 30, OTHER: 50, TEXT: 20}


def _write_tasks(folder: Path) -> None:
    """Two tasks of choices and one of text, of the right schema, and the group of the first two."""
    for name, size in SIZES.items():
        rows = [{"question": f"Question {i} of {name}?", "answer": i % 4} for i in range(size)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        task: dict[str, Any] = {
            "task": name,
            "dataset_path": "json",
            "dataset_kwargs": {"data_files": {"test": str(folder / f"{name}.jsonl")}},
            "test_split": "test",
            "doc_to_text": "{{question}}\nAnswer:",
            "num_fewshot": 0,
            "metadata": {"version": 1.0},
        }
        if name == TEXT:
            pattern = {"function": "regex", "regex_pattern": r"answer is \(?([ABCD])\)?"}
            task |= {
                "output_type": "generate_until",
                "doc_to_target": "{{'ABCD'[answer]}}",
                "filter_list": [{"name": "custom-extract", "filter": [pattern, {"function": "take_first"}]}],
                "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
            }
        else:
            task |= {
                "output_type": "multiple_choice",
                "doc_to_choice": ["A", "B", "C", "D"],
                "doc_to_target": "answer",
                "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
            }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))
    metric = {"metric": "acc", "aggregation": "mean", "weight_by_size": True}
    group = {"group": "both", "task": [CHOICE, OTHER], "aggregate_metric_list": [metric]}
    (folder / "both.yaml").write_text(yaml.safe_dump(group))


@pytest.mark.slow
def test_scores_errors_and_group_averages_are_lm_eval_s(tmp_path, monkeypatch):
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    _write_tasks(tmp_path)
    runs = tmp_path / "runs"
    tracker = EvaluationTracker(output_path=str(tmp_path / "out" / "results.json"))
    results: Any = simple_evaluate(
        model="dummy",
        tasks=["both", TEXT],
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        evaluation_tracker=tracker,
        bootstrap_iters=100,
    )
    samples = results.pop("samples")
    tracker.save_results_aggregated(results, samples)
    (stated,) = (tmp_path / "out").glob("results_*.json")
    for task, rows in samples.items():
        tracker.save_results_samples(task, rows)
        folder = runs / "dummy" / task
        folder.mkdir(parents=True)
        (written,) = (tmp_path / "out").glob(f"samples_{task}_*.jsonl")
        written.rename(folder / "samples.jsonl")
        (folder / "results.json").write_text(stated.read_text())
    members = [{"name": "dummy", "role": "other", "step": None}]
    write_json(runs / "runs.json", {"models": members, "tasks": list(SIZES), "config": {}})

    found = read_runs(runs)
    assert found.problems == []
    theirs = json.loads(stated.read_text())["results"]
    for task, metric in ((CHOICE, "acc"), (OTHER, "acc"), (TEXT, "exact_match")):
        answers, filters = found.answers["dummy", task], "none" if metric == "acc" else "custom-extract"
        assert len(answers.right) == SIZES[task]
        assert answers.score == pytest.approx(theirs[task][f"{metric},{filters}"])
        assert answers.stderr == pytest.approx(theirs[task][f"{metric}_stderr,{filters}"])
    value, stderr = average_score([found.answers["dummy", task] for task in (CHOICE, OTHER)])
    assert value == pytest.approx(theirs["both"]["acc,none"])
    assert stderr == pytest.approx(theirs["both"]["acc_stderr,none"])
    assert found.answers["dummy", TEXT].unparseable.all(), "the dummy writes no answer"
    assert found.answers["dummy", CHOICE].margin is not None
    assert found.answers["dummy", CHOICE].seconds > 0
