"""The folder of `pdapt eval run` goes into `pdapt report build` as it is, and the page has lm-eval's own numbers."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lm_eval.api.metrics import aggregate_subtask_metrics, pooled_sample_stderr
from reading_helpers import json_rows

from pdapt.core.files import read_json, write_json
from pdapt.eval.benchmark.read_results import read_runs
from pdapt.eval.benchmark.results_folder import PLAN_FILE
from pdapt.eval.tasks.suite import TASKS

MODELS = {"base": "base", "cpt-00010": "checkpoint", "merged": "merged"}
CHOICE, TEXT = "mmlu_anatomy", "mmlu_prox_en_health"
SEEDS = (0, 6, 4)
"""Scores of models that choose always C, D and A."""


def _pdapt(*words: str) -> Any:
    command = [sys.executable, "-m", "pdapt.cli.main", *words, "--json"]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


@pytest.mark.slow
def test_the_pages_numbers_are_lm_evals(small_data: Path, tiny_qwen3: Callable[..., Path], tmp_path: Path) -> None:
    run, scores, page = (tmp_path / name for name in ("run", "scores", "page"))
    (run / "hf").mkdir(parents=True)
    for seed, name in zip(SEEDS, MODELS, strict=True):
        tiny_qwen3(seed=seed, max_position_embeddings=4096).rename(run / "hf" / name)
    write_json(run / "request.json", {"base": None})
    words = ["--data", str(small_data), "--tasks", CHOICE, "--tasks", TEXT, "--max-gen-toks", "4", "--batch-size", "8"]
    assert _pdapt("eval", "run", str(run), *words, "--out", str(scores))["done"] == 6
    assert {m["name"]: m["role"] for m in read_json(scores / PLAN_FILE)["models"]} == MODELS
    # A checkpoint that is named leaves all questions to tell with.
    _pdapt("report", "build", str(scores), "--checkpoint", "cpt-00010", "--out", str(page))

    stated = {name: {task: _stated(scores / name / task, task) for task in (CHOICE, TEXT)} for name in MODELS}
    assert len({stated[name][CHOICE] for name in MODELS}) > 1, "the models differ"
    numbers = read_json(page / "numbers.json")
    assert numbers["left_out"] == []
    cells = {(cell["model"], cell["task"]): cell for cell in numbers["cells"]}
    assert set(cells) == {(name, task) for name in ("cpt-00010", "merged") for task in (CHOICE, TEXT)}
    for (name, task), cell in cells.items():
        assert (cell["before"], cell["after"]) == pytest.approx((stated["base"][task][0], stated[name][task][0]))
        assert cell["gained"] - cell["lost"] == pytest.approx(cell["questions"] * (cell["after"] - cell["before"]))
    for group in numbers["groups"]:
        assert (group["group"], group["tasks"], group["half"]) == ("EN-MEDICAL", [CHOICE, TEXT], False)
        assert group["before"] == pytest.approx(_average(stated["base"]))
        assert group["after"] == pytest.approx(_average(stated[group["model"]]))
    assert [group["role"] for group in numbers["groups"]] == ["adapted", "merged"]
    with (page / "tables/results-EN-MEDICAL.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row, name in zip(rows, MODELS, strict=True):
        for task, (score, stderr) in stated[name].items():
            column = TASKS[task].abbreviation
            found = (float(row[column]), float(row[f"{column} stderr"]))
            assert found == pytest.approx((100 * score, 100 * stderr))
    _assert_flags(scores)


def _stated(folder: Path, task: str) -> tuple[float, float]:
    """lm-eval's score and its error."""
    results, its = read_json(folder / "results.json")["results"][task], TASKS[task]
    return results[its.score_key], results[f"{its.metric}_stderr,{its.filter}"]


def _average(stated: dict[str, tuple[float, float]]) -> tuple[float, float]:
    """By lm-eval's own functions, weighted by the 7 and 6 questions."""
    scores, errors = ([stated[task][part] for task in (CHOICE, TEXT)] for part in (0, 1))
    return aggregate_subtask_metrics(scores, [7, 6]), pooled_sample_stderr(errors, [7, 6])


def _assert_flags(scores: Path) -> None:
    """The run's note of each answer is read by the report out of the samples."""
    for (model, task), answers in read_runs(scores).answers.items():
        noted = json_rows(scores / model / task / "answers.jsonl")
        if task == TEXT:
            assert answers.unparseable.tolist() == [row["unparseable"] for row in noted]
            assert answers.truncated is not None
            assert answers.truncated.tolist() == [row["truncated"] for row in noted]
            assert answers.truncated.any()
        else:
            assert answers.margin is not None
            assert answers.truncated is None
