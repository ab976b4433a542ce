"""Tasks of the user's own from their files to a report, as the how-to has it, with files in lm-eval's place."""

import csv
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from commands import pdapt, pdapt_json
from own_tasks import GENERATED, write_how_to

from pdapt.core.errors import UserError
from pdapt.core.manifest import Manifest
from pdapt.eval.benchmark import run as benchmark
from pdapt.eval.benchmark.results_folder import Plan
from pdapt.eval.benchmark.run import run_benchmark
from pdapt.eval.harness.job import Evaluation, LmEvalJob
from pdapt.eval.harness.lm_eval_process import EvaluationFailed
from pdapt.eval.models import Model, Role
from pdapt.eval.report import page
from pdapt.eval.tasks.all_tasks import choose_tasks
from pdapt.eval.tasks.select_tasks import select_tasks

Maker = Callable[..., Path]
BGB, STGB = "recht_bgb", "recht_stgb"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """`MODEL/TASK` of each evaluation; in the place of lm-eval, `base` answers wrong, every other model right."""
    done: list[str] = []

    def run_job(job: LmEvalJob) -> None:
        for evaluation in job.evaluations:
            done.append(f"{evaluation.model}/{evaluation.task}")
            _answer(evaluation, yaml.safe_load((job.tasks / f"{evaluation.task}.yaml").read_text()))

    monkeypatch.setattr(benchmark, "run_job", run_job)
    monkeypatch.setattr(page, "draw_twice", lambda _, folder, *__: dict.fromkeys(("light", "dark"), folder))
    monkeypatch.setattr(page, "data_uris", lambda images: dict.fromkeys(images, "data:"))
    return done


def _answer(evaluation: Evaluation, task: dict[str, Any]) -> None:
    out, right = Path(evaluation.out), float(evaluation.model != "base")
    (data,) = task["dataset_kwargs"]["data_files"]["test"]
    samples = []
    for number, line in enumerate(Path(data).read_text().splitlines()):
        row, digest = json.loads(line), hashlib.sha256(line.encode()).hexdigest()
        chosen = row["answer"] if right else (row["answer"] + 1) % len(row["letters"])
        responses = [[str(-1.0 if place == chosen else -2.0), "False"] for place in range(len(row["letters"]))]
        samples.append({"doc_id": number, "doc_hash": digest, "prompt_hash": digest, "filter": "none"})
        samples[-1] |= {"target": str(row["answer"]), "filtered_resps": responses, "acc": right}
    notes = [{"doc_id": row["doc_id"], "prompt_cut": False} for row in samples]
    sizes = {"original": len(samples), "effective": len(samples)}
    results = {"results": {evaluation.task: {"acc,none": right}}, "n-samples": {evaluation.task: sizes}}
    results |= {"n-shot": {evaluation.task: task["num_fewshot"]}, "versions": {evaluation.task: 1.0}}
    out.mkdir()
    (out / "results.json").write_text(json.dumps(results))
    (out / "settings.json").write_text(json.dumps({"batch_size": {"size": 3}, "chat_template": False, "warnings": []}))
    for name, rows in (("samples", samples), ("answers", notes)):
        (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(path: Path) -> dict[str, dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return {next(iter(row.values())): row for row in csv.DictReader(file)}


def test_the_how_to_leads_from_a_table_to_a_report(asked: list[str], tiny_qwen3: Maker, tmp_path: Path) -> None:
    folder = write_how_to(tmp_path / "page")
    models = [f"{name}={tiny_qwen3(seed)}" for seed, name in enumerate(("base", "tuned"))]
    status = pdapt_json("eval", "run", *models, "--tasks", f"{folder}/tasks/", "--out", tmp_path / "scores")
    assert (status["done"], status["left"]) == (4, 0)
    assert asked == [f"{model}/{task}" for model in ("base", "tuned") for task in (BGB, STGB)]
    manifest = Manifest.read(tmp_path / "scores/tuned" / BGB)
    assert set(manifest.inputs) == {"model", "task", "examples", "prompt"}
    assert (manifest.counts["questions"], manifest.config["shots"]) == (3, 1)
    (tmp_path / "contaminated.jsonl").write_text(json.dumps({"task": BGB, "doc_id": 0}))
    options = [
        "--groups",
        folder / "groups.yaml",
        "--target",
        "recht",
        "--contaminated",
        tmp_path / "contaminated.jsonl",
    ]
    pdapt("report", "build", tmp_path / "scores", *options, "--out", tmp_path / "report")
    groups = rows_of(tmp_path / "report/tables/groups.csv")
    assert [(float(row["before"]), float(row["after"])) for row in groups.values()] == [(0, 100)]
    numbers = json.loads((tmp_path / "report/numbers.json").read_text())
    assert [(cell["task"], cell["group"], cell["gained"], cell["lost"]) for cell in numbers["cells"]] == [
        (BGB, "recht", 3, 0),
        (STGB, "recht", 2, 0),
    ]
    # Five answers of five gained are no clear change: p is 0.0625.
    assert "shows no clear change on recht" in (tmp_path / "report/index.html").read_text(encoding="utf-8")
    pdapt("report", "build", tmp_path / "scores", "--out", tmp_path / "alone")
    assert {path.name for path in (tmp_path / "alone/tables").glob("results-*.csv")} == {
        f"results-{BGB}.csv",
        f"results-{STGB}.csv",
    }
    (task,) = select_tasks([f"{folder}/{GENERATED}.yaml"])
    assert (task.score_key, task.answer_tokens) == ("exact_match,zahl", 8)


def test_a_changed_file_is_not_mixed_with_results_of_before(
    asked: list[str], tiny_qwen3: Maker, tmp_path: Path
) -> None:
    """Whatever file it is: questions, examples, or a prompt that was not there."""
    folder, out = write_how_to(tmp_path / "page") / "tasks", tmp_path / "out"
    models = [Model("base", Role.BASE, tiny_qwen3())]
    run_benchmark(models, select_tasks([f"{folder}/{BGB}.csv"]), None, out)
    (folder / "unrelated.txt").write_text("Notiz")
    run_benchmark(models, select_tasks([f"{folder}/{BGB}.csv"]), None, out)
    assert len(asked) == 1, "done once"
    for name in (f"{BGB}.csv", f"{BGB}.examples.csv", "prompt.txt"):
        before = (folder / name).read_bytes()
        (folder / name).write_bytes(
            before.replace(b"BGB", b"Gesetz").replace(b"Wie", b"Wie nun").replace(b"Frage", b"F")
        )
        with pytest.raises(UserError, match=f"(?s){BGB} has changed.*runs.json"):
            run_benchmark(models, select_tasks([f"{folder}/{BGB}.csv"]), None, out)
        (folder / name).write_bytes(before)
    run_benchmark(models, select_tasks([f"{folder}/{BGB}.csv"]), None, out)
    assert len(asked) == 1
    assert Plan.read(out).own[BGB].sha256 == select_tasks([f"{folder}/{BGB}.csv"])[0].sha256


def test_a_cut_run_goes_on_and_ends_as_a_whole_one(
    asked: list[str], tiny_qwen3: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, models = write_how_to(tmp_path / "page") / "tasks", [Model("base", Role.BASE, tiny_qwen3())]
    tasks = select_tasks([f"{folder}/"])
    run_benchmark(models, tasks, None, tmp_path / "whole")
    works = benchmark.run_job

    def cut(job: LmEvalJob) -> None:
        if job.evaluations[0].task == STGB:
            raise EvaluationFailed("killed")
        works(job)

    monkeypatch.setattr(benchmark, "run_job", cut)
    with pytest.raises(EvaluationFailed, match="1 of 2 evaluations failed"):
        run_benchmark(models, tasks, None, tmp_path / "cut")
    monkeypatch.setattr(benchmark, "run_job", works)
    run_benchmark(models, select_tasks([f"{folder}/"]), None, tmp_path / "cut")
    assert asked.count(f"base/{BGB}") == 2, "once for each folder"
    for task in (BGB, STGB):
        first, second = (Manifest.read(tmp_path / name / "base" / task) for name in ("whole", "cut"))
        assert (first.inputs, first.outputs) == (second.inputs, second.outputs)


def test_tasks_of_the_suite_need_data_and_own_ones_do_not(
    asked: list[str], tiny_qwen3: Maker, tmp_path: Path, small_data: Path
) -> None:
    folder, out = write_how_to(tmp_path / "page") / "tasks", tmp_path / "out"
    models = [Model("base", Role.BASE, tiny_qwen3())]
    with pytest.raises(UserError, match=r"(?s)mmlu_anatomy needs the tasks' data.*--data"):
        run_benchmark(models, [*choose_tasks(["mmlu_anatomy"]), *select_tasks([f"{folder}/"])], None, out)
    assert not out.exists()
    run_benchmark(models, select_tasks([f"{folder}/"]), small_data, out)
    assert Plan.read(out).tasks == [BGB, STGB]


def test_groups_are_refused_where_no_task_is_the_users_own(benchmark: Any, tmp_path: Path) -> None:
    benchmark.add("base", "base", lambda *_: True)
    benchmark.add("tuned", "checkpoint", lambda *_: False)
    with pytest.raises(UserError, match="holds no tasks of your own"):
        pdapt("report", "build", benchmark.folder, "--target", "FR-OTHER", "--out", tmp_path / "report")
