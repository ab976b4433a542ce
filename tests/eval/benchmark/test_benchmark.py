"""Runs of tasks on models, with files in lm-eval's place: what is started, shared out, left, and not counted."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.manifest import Manifest
from pdapt.eval.benchmark import run as benchmark
from pdapt.eval.benchmark.results_folder import claimed, read_status
from pdapt.eval.benchmark.run import BenchmarkSettings, check_samples, run_benchmark
from pdapt.eval.harness.job import LmEvalJob
from pdapt.eval.harness.lm_eval_process import EvaluationFailed
from pdapt.eval.harness.result_files import Sample
from pdapt.eval.models import Model, Role
from pdapt.eval.tasks.all_tasks import choose_tasks

Maker = Callable[..., Path]


def test_lm_eval_gets_each_task_with_its_shots_and_the_models_limits(
    small_data: Path, tiny_qwen3: Maker, started: list[LmEvalJob], tmp_path: Path
) -> None:
    model = Model("a", Role.BASE, tiny_qwen3(dtype="bfloat16", max_position_embeddings=4096))
    tasks = choose_tasks(["mmlu_med_fr_anatomy", "mmlu_prox_en_law"])
    outcome = run_benchmark([model], tasks, small_data, tmp_path / "out")
    assert outcome.done == [f"a/{task.name}" for task in tasks]
    assert [len(job.evaluations) for job in started] == [1, 1], "a process for each task"
    assert [job.shots for job in started] == [3, 5]
    assert started[0].scratch == started[1].scratch, "what is asked is built once"
    told = started[0].models["a"].to_lm_eval()
    assert told == {
        "pretrained": str(model.path.resolve()),
        "dtype": "bfloat16",
        "max_length": 4096,
        "softmax_dtype": "float32",
    }
    manifest = Manifest.read(tmp_path / "out/a/mmlu_prox_en_law")
    assert manifest.counts["unparseable"] == 1
    assert manifest.counts["exact_match,custom-extract"] == 0.5


def test_finished_units_are_left_and_more_can_be_added(
    small_data: Path, tiny_qwen3: Maker, started: list[LmEvalJob], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first, second = (
        Model(name, Role.OTHER, tiny_qwen3(seed=seed, max_position_embeddings=4096))
        for seed, name in enumerate(("a", "b"))
    )
    run_benchmark([first], choose_tasks(["mmlu_anatomy"]), small_data, out)
    run_benchmark([second], choose_tasks(["mmlu_prox_en_*"]), small_data, out)
    run_benchmark([first], choose_tasks(["mmlu_anatomy"]), small_data, out, BenchmarkSettings(batch_size=2))
    assert len(started) == 1 + 8
    found = read_status(out).to_json()
    assert list(found["models"]) == ["a", "b"]
    assert found["models"]["a"]["done"] == ["mmlu_anatomy"]
    assert len(found["models"]["a"]["left"]) == 8
    assert found["models"]["b"]["left"] == ["mmlu_anatomy"]
    assert (found["done"], found["left"]) == (9, 9)


@pytest.mark.slow
def test_what_another_process_is_at_is_left_to_it(
    small_data: Path, tiny_qwen3: Maker, started: list[LmEvalJob], tmp_path: Path
) -> None:
    model, out = Model("a", Role.OTHER, tiny_qwen3()), tmp_path / "out"
    tasks = choose_tasks(["mmlu_anatomy", "mmlu_med_fr_anatomy"])
    holder = (
        "import sys, time; from pathlib import Path; from pdapt.eval.benchmark.results_folder import claimed\n"
        "with claimed(Path(sys.argv[1])) as mine: print(mine, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(out / "a" / "mmlu_anatomy")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        outcome = run_benchmark([model], tasks, small_data, out)
        assert outcome.elsewhere == ["a/mmlu_anatomy"]
        assert outcome.done == ["a/mmlu_med_fr_anatomy"]
        assert read_status(out).to_json()["models"]["a"]["running"] == ["mmlu_anatomy"]
        other.communicate()
    assert run_benchmark([model], tasks, small_data, out).elsewhere == []
    with claimed(out / "a" / "mmlu_anatomy") as mine:
        assert mine
    hidden = [path for path in tmp_path.rglob(".*") if path.is_relative_to(out) or path.parent == tmp_path]
    assert not hidden, "nothing is left of the claims"


def test_one_failure_does_not_hold_up_the_rest(
    small_data: Path, tiny_qwen3: Maker, started: list[LmEvalJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = benchmark.run_job

    def run_job(job: LmEvalJob) -> None:
        if job.evaluations[0].task == "mmlu_anatomy":
            raise EvaluationFailed("out of memory")
        works(job)

    monkeypatch.setattr(benchmark, "run_job", run_job)
    model, tasks = Model("a", Role.OTHER, tiny_qwen3()), choose_tasks(["mmlu_anatomy", "mmlu_college_*"])
    with pytest.raises(EvaluationFailed, match=r"(?s)1 of 3 evaluations failed.*a/mmlu_anatomy: out of memory"):
        run_benchmark([model], tasks, small_data, tmp_path / "out")
    assert read_status(tmp_path / "out").to_json()["done"] == 2
    assert not (tmp_path / "out/a/mmlu_anatomy").exists()


def _sample(question: int, log_probability: str) -> Sample:
    choices = [[log_probability, "False"]] * 4
    return Sample(question, "d", "p", filter="none", target="0", responses=choices, score=0.0)


@pytest.mark.parametrize(
    ("samples", "value", "message"),
    [
        ([0, 1, 2], 0.5, "3 samples of 3 questions"),
        ([0, 1, 2, 2], 0.5, "4 samples of 3 questions"),
        ([0, 1, 2, 3], math.nan, "not a finite number"),
        ([0, 1, 2, 3], "N/A", "not a finite number"),
    ],
)
def test_missing_or_doubled_samples_and_scores_that_are_no_numbers_are_refused(
    samples: list[int], value: Any, message: str
) -> None:
    (task,) = choose_tasks(["mmlu_anatomy"])
    rows = [_sample(n, "-1.0") for n in samples]
    with pytest.raises(EvaluationFailed, match=message):
        check_samples(task, rows, value, 4)


def test_log_probabilities_that_are_no_numbers_are_refused() -> None:
    """lm-eval calls A right then, without a word."""
    (task,) = choose_tasks(["mmlu_anatomy"])
    rows = [_sample(n, "nan" if n == 2 else "-1.0") for n in range(4)]
    with pytest.raises(EvaluationFailed, match="log-probability"):
        check_samples(task, rows, 0.25, 4)
