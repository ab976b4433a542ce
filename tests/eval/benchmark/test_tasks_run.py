"""The 28 tasks run by lm-eval on tiny models: all of them, killed and resumed."""

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from own_tasks import write_how_to
from reading_helpers import json_rows
from transformers import AutoTokenizer

from pdapt.core.files import read_json
from pdapt.core.manifest import Manifest
from pdapt.eval.benchmark.results_folder import TaskState, read_status
from pdapt.eval.benchmark.task_files import write_task_file
from pdapt.eval.clinical.numbers.number_tasks import NUMBER_TASKS
from pdapt.eval.harness.answer_notes import UNPARSEABLE
from pdapt.eval.harness.backends import Limits, model_arguments
from pdapt.eval.harness.job import Evaluation, LmEvalJob
from pdapt.eval.harness.lm_eval_process import run_job
from pdapt.eval.tasks.data_index import read_data_index
from pdapt.eval.tasks.fetch import fetch_tasks
from pdapt.eval.tasks.own.own_task import OwnTask
from pdapt.eval.tasks.select_tasks import select_tasks

WINDOW = 4096
OWN = "recht_bgb"
Maker = Callable[..., Path]


@pytest.fixture
def two(tiny_qwen3: Maker) -> list[str]:
    return [str(tiny_qwen3(seed=seed, max_position_embeddings=WINDOW)) for seed in (0, 1)]


HAND_WRITTEN = """\
task: recht_bgb
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/test.jsonl, dev: FOLDER/dev.jsonl}}
test_split: test
fewshot_split: dev
fewshot_config: {sampler: first_n}
num_fewshot: 3
output_type: multiple_choice
doc_to_text: "Frage zum deutschen Recht: {{q}}\\n{% for o in os %}{{'ABCD'[loop.index0]}}. {{o}}\\n{% endfor %}Antwort:"
doc_to_choice: "{{['A', 'B', 'C', 'D'][:(os | length)]}}"
doc_to_target: a
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


def _assert_scored_as_lm_eval_scores_it(table: Path, out: Path, model: Path, folder: Path) -> None:
    """The table of the how-to, of which `out` has results, written by hand as a task file and run by lm-eval itself."""
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    folder.mkdir()
    for split, name in (("test", f"{OWN}.csv"), ("dev", f"{OWN}.examples.csv")):
        with (table / name).open(encoding="utf-8") as file, (folder / f"{split}.jsonl").open("w") as written:
            for row in csv.DictReader(file, delimiter=";"):
                options = [row[letter] for letter in "ABCD" if row.get(letter)]
                place = options.index(row["answer"]) if row["answer"] in options else "ABCD".index(row["answer"])
                written.write(json.dumps({"q": row["question"], "os": options, "a": place}) + "\n")
    (folder / f"{OWN}.yaml").write_text(HAND_WRITTEN.replace("FOLDER", str(folder)))
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    arguments = {"pretrained": str(model), "dtype": "float32", "softmax_dtype": "float32", "max_length": WINDOW}
    results: Any = simple_evaluate(model="hf", model_args=arguments, device="cpu", tasks=[OWN], task_manager=manager)
    theirs, ours = results["samples"][OWN], json_rows(out / "samples.jsonl")
    assert read_json(out / "results.json")["results"][OWN]["acc,none"] == pytest.approx(
        results["results"][OWN]["acc,none"]
    )
    for mine, sample in zip(ours, theirs, strict=True):
        assert (mine["prompt_hash"], mine["acc"]) == (sample["prompt_hash"], sample["acc"])
        pairs = zip(mine["filtered_resps"], sample["filtered_resps"], strict=True)
        assert all(float(a[0]) == pytest.approx(b[0], abs=1e-4) for a, b in pairs)


@pytest.mark.slow
def test_all_28_tasks_run(
    small, small_data: Path, tiny_qwen3: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one process, to save time; of all that is asked, only the answers' length differs from the paper's runs.

    And those on numbers, and a table of questions of the user's own, in the same process.
    """
    folder = tiny_qwen3(max_position_embeddings=WINDOW)
    numbers = [replace(task, questions=6) for task in NUMBER_TASKS]
    every = (*small.suite, *numbers)
    fetch_tasks(tmp_path / "numbers", tasks=numbers)
    for data, tasks in ((small_data, list(small.suite)), (tmp_path / "numbers", numbers)):
        index = read_data_index(data, tasks)
        for task in tasks:
            write_task_file(task, index[task.name], data, tmp_path / "tasks")
    page = write_how_to(tmp_path / "page")
    with (page / f"tasks/{OWN}.examples.csv").open("a") as file:
        file.writelines(f"Wie viele sind {n}?;{n};{n + 1};{n}\n" for n in range(2))
    (own,) = select_tasks([f"{page}/tasks/{OWN}.csv"])
    assert isinstance(own, OwnTask)
    own.write(tmp_path / "tasks")
    limits = Limits(max_gen_toks=6)
    told = {"tiny": model_arguments("hf", folder, limits)}
    for shots in (3, 5):
        asked = [task.name for task in (*every, own) if task.shots == shots]
        units = [Evaluation("tiny", name, str(tmp_path / "out" / name)) for name in asked]
        run_job(LmEvalJob(told, units, tmp_path / "tasks", tmp_path / "scratch", limits=limits, shots=shots))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    _assert_scored_as_lm_eval_scores_it(page / "tasks", tmp_path / "out" / OWN, folder, tmp_path / "hand")
    for task in every:
        found = read_json(tmp_path / "out" / task.name / "results.json")
        value = found["results"][task.name][task.score_key]
        samples = json_rows(tmp_path / "out" / task.name / "samples.jsonl")
        assert value == pytest.approx(sum(sample[task.metric] for sample in samples) / task.questions)
        assert found["n-shot"][task.name] == task.shots
        assert found["n-samples"][task.name] == {"original": task.questions, "effective": task.questions}
        assert {"doc_id", "doc_hash", "prompt_hash", "target", "resps", "filtered_resps"} <= set(samples[0])
        answers = json_rows(tmp_path / "out" / task.name / "answers.jsonl")
        assert [row["doc_hash"] for row in answers] == [sample["doc_hash"] for sample in samples]
        for row, sample in zip(answers, samples, strict=True):
            assert row["unparseable"] == (sample["filtered_resps"] == [UNPARSEABLE] if task.generates else None)
            assert isinstance(row["truncated"], bool) == task.generates
            assert row["prompt_cut"] is False
        for measure in task.measures:
            value = found["results"][task.name][f"{measure},{task.filter}"]
            assert value == pytest.approx(sum(sample[measure] for sample in samples) / task.questions)
        if task.generates:
            given = samples[0]["arguments"]["gen_args_0"]["arg_1"]
            assert given["max_gen_toks"] == 6
            assert given["do_sample"] is False
    _assert_built_once(tmp_path, tiny_qwen3(seed=1, max_position_embeddings=WINDOW), limits)


def _assert_built_once(place: Path, second: Path, limits: Limits) -> None:
    """A second model is asked what the first one was: read, not built again."""
    requests = {path: path.stat().st_mtime_ns for path in (place / "scratch" / "requests").iterdir()}
    assert len(requests) == 28 + len(NUMBER_TASKS) + 1
    task = "mmlu_med_fr_anatomy"
    told = {"second": model_arguments("hf", second, limits)}
    units = [Evaluation("second", task, str(place / "out" / "second"))]
    run_job(LmEvalJob(told, units, place / "tasks", place / "scratch", limits=limits, shots=3))
    assert {path: path.stat().st_mtime_ns for path in (place / "scratch" / "requests").iterdir()} == requests
    prompts = [[row["prompt_hash"] for row in json_rows(place / "out" / n / "samples.jsonl")] for n in ("second", task)]
    assert prompts[0] == prompts[1]


def _written(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.glob("m*/[!.]*/*")}


@pytest.mark.slow
def test_a_run_killed_half_way_repeats_no_task(small_data: Path, two: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "pdapt.cli.main", "eval", "run", *(f"m{n}={path}" for n, path in enumerate(two))]
    command += ["--data", str(small_data), "--out", str(out), "--tasks", "mmlu_anatomy", "--tasks", "mmlu_prox_fr_law"]
    command += ["--limit", "4", "--max-gen-toks", "4", "--json"]
    with subprocess.Popen(command) as run:
        workers: list[psutil.Process] = []
        while not workers:
            assert run.poll() is None
            time.sleep(0.02)
            third = (out / "m1/.mmlu_prox_fr_law.partial").exists()
            workers = psutil.Process(run.pid).children() if third else []
        run.send_signal(signal.SIGKILL)
    gone, alive = psutil.wait_procs(workers, timeout=10)
    assert gone
    assert not alive, "the worker does not outlive the run"
    before = _written(out)
    found = read_status(out).to_json()
    assert found["models"]["m0"]["done"] == ["mmlu_prox_fr_law", "mmlu_anatomy"]
    assert found["models"]["m1"]["left"] == ["mmlu_prox_fr_law", "mmlu_anatomy"]
    assert (found["done"], found["running"], found["left"]) == (2, 0, 2)
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "m0: mmlu" not in again.stderr, "no unit of the first model is run again"
    assert {name: when for name, when in _written(out).items() if name in before} == before
    assert json.loads(again.stdout) == read_status(out).to_json()
    assert tuple(map(read_status(out).count, (TaskState.DONE, TaskState.LEFT))) == (4, 0)
    manifest = Manifest.read(out / "m1/mmlu_anatomy")
    assert set(manifest.outputs) == {"results.json", "samples.jsonl", "answers.jsonl", "settings.json", "log.txt"}
    assert manifest.counts["questions"] == 4
    assert manifest.config["shots"] == 3
    assert manifest.config["max_length"] == WINDOW
    _assert_told(out / "m1", two[1])
    prompts = [[s["prompt_hash"] for s in json_rows(out / m / "mmlu_anatomy/samples.jsonl")] for m in ("m0", "m1")]
    assert prompts[0] == prompts[1]
    assert json_rows(out / "m0/mmlu_anatomy/samples.jsonl") != json_rows(out / "m1/mmlu_anatomy/samples.jsonl")


def _assert_told(out: Path, model: str) -> None:
    """The record of a run: batch sizes, once for each kind, how text was written, and the libraries' warnings."""
    chosen = read_json(out / "batch_sizes.json")
    assert {kind: its["tasks"] for kind, its in chosen.items()} == {
        "loglikelihood": ["mmlu_anatomy"],
        "generate_until": ["mmlu_prox_fr_law"],
    }
    written = Manifest.read(out / "mmlu_prox_fr_law").counts
    tokens, tokenizer = chosen["generate_until"]["tokens"], AutoTokenizer.from_pretrained(model)
    prompts = [row["arguments"]["gen_args_0"]["arg_0"] for row in json_rows(out / "mmlu_prox_fr_law/samples.jsonl")]
    assert tokens == max(len(tokenizer.encode(prompt)) for prompt in prompts) + 4
    assert written["batch_size"] == {"size": 8192 // tokens, "longest": tokens, "device": "cpu"}
    results = read_json(out / "mmlu_prox_fr_law" / "results.json")
    assert results["config"]["batch_size"] == written["batch_size"]["size"]
    assert written["generation"]["max_gen_toks"] == 4
    assert written["generation"]["do_sample"] is False
    assert any("generation_kwargs" in row["message"] for row in written["warnings"]), "lm-eval's own is not silenced"
    assert "generation_kwargs" in (out / "mmlu_prox_fr_law/log.txt").read_text()
