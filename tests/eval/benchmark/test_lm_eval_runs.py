"""Runs that lm-eval itself has written: they are read as they are, and our numbers are its own."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from own_tasks import GENERATED, write_how_to

from pdapt.core.files import write_json
from pdapt.eval.benchmark.read_lm_eval import LmEvalFolders, read_lm_eval
from pdapt.eval.benchmark.read_results import read_runs
from pdapt.eval.statistics.compare import average_score
from pdapt.eval.statistics.unpaired import average
from pdapt.eval.tasks.own.own_task import OwnTask
from pdapt.eval.tasks.select_tasks import select_tasks

OWN = "recht_bgb"
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


def _write_own_tasks(folder: Path) -> None:
    """Two tasks of the how-to, one of questions and one of a task file, as `pdapt eval run` hands them to lm-eval."""
    page = write_how_to(folder / "page")
    for task in select_tasks([f"{page}/tasks/{OWN}.csv", f"{page}/{GENERATED}.yaml"]):
        assert isinstance(task, OwnTask)
        task.write(folder / "own")


def _check_native(native: Path, samples: dict[str, Any]) -> None:
    """lm-eval's own folder, read as it is: its groups, scores, errors and averages, and the task of the how-to."""
    (path,) = native.glob("results_*.json")
    theirs = json.loads(path.read_text())["results"]
    runs = read_lm_eval(LmEvalFolders({"base": native, "tuned": native}))
    assert runs.problems == []
    assert {task.name: task.group for task in runs.suite.tasks.values()} == {
        CHOICE: "both",
        OTHER: "both",
        TEXT: TEXT,
        OWN: OWN,
        GENERATED: GENERATED,
    }
    for task in runs.suite.tasks.values():
        stated, answers = runs.stated["base", task.name], runs.answers["tuned", task.name]
        assert stated.score == answers.score == pytest.approx(theirs[task.name][task.score_key])
        assert stated.stderr == pytest.approx(theirs[task.name][f"{task.metric}_stderr,{task.filter}"])
    assert average([runs.stated["base", task] for task in (CHOICE, OTHER)]) == pytest.approx(
        (theirs["both"]["acc,none"], theirs["both"]["acc_stderr,none"])
    )
    asked = samples[OWN][2]["arguments"]["gen_args_1"]
    shown = (
        "Frage zum deutschen Recht: Wofür steht die Abkürzung BGB?\nA. Bürgerliches Gesetzbuch\nB. Bundesgesetzblatt"
    )
    question = "Wer haftet bei einer Leihe für die gewöhnliche Abnutzung der Sache?\nA. der Verleiher\nB. der Entleiher"
    prompt = f"{shown}\nAntwort: A\n\nFrage zum deutschen Recht: {question}\nAntwort:"
    assert asked == {"arg_0": prompt, "arg_1": " B"}
    assert len(runs.answers["base", OWN].right) == 3
    (text,) = {sample["arguments"]["gen_args_0"]["arg_1"]["max_gen_toks"] for sample in samples[GENERATED]}
    assert text == 8


@pytest.mark.slow
def test_scores_errors_and_group_averages_are_lm_eval_s(tmp_path, monkeypatch):
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.loggers import EvaluationTracker
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    _write_tasks(tmp_path)
    _write_own_tasks(tmp_path)
    runs = tmp_path / "runs"
    tracker = EvaluationTracker(output_path=str(tmp_path / "out" / "results.json"))
    results: Any = simple_evaluate(
        model="dummy",
        tasks=["both", TEXT, OWN, GENERATED],
        task_manager=TaskManager(include_path=str(tmp_path), include_defaults=False),
        evaluation_tracker=tracker,
        bootstrap_iters=100,
    )
    samples = results.pop("samples")
    tracker.save_results_aggregated(results, samples)
    (stated,) = (tmp_path / "out").glob("results_*.json")
    native = tmp_path / "native"
    native.mkdir()
    shutil.copy(stated, native)
    for task, rows in samples.items():
        tracker.save_results_samples(task, rows)
        folder = runs / "dummy" / task
        folder.mkdir(parents=True)
        (written,) = (tmp_path / "out").glob(f"samples_{task}_*.jsonl")
        shutil.copy(written, native)
        written.rename(folder / "samples.jsonl")
        (folder / "results.json").write_text(stated.read_text())
    members = [{"name": "dummy", "role": "other", "step": None}]
    write_json(runs / "runs.json", {"models": members, "tasks": list(SIZES), "config": {}})

    _check_native(native, samples)
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
