"""The 28 tasks run by lm-eval on tiny models: all of them, killed and resumed."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from reading_helpers import json_rows
from transformers import AutoTokenizer

from pdapt.core.files import read_json
from pdapt.core.manifest import Manifest
from pdapt.eval.benchmark.results_folder import TaskState, read_status
from pdapt.eval.benchmark.task_files import write_task_file
from pdapt.eval.harness.answer_notes import UNPARSEABLE
from pdapt.eval.harness.backends import Limits, model_arguments
from pdapt.eval.harness.job import Evaluation, LmEvalJob
from pdapt.eval.harness.lm_eval_process import run_job
from pdapt.eval.tasks.data_index import read_data_index

WINDOW = 4096
Maker = Callable[..., Path]


@pytest.fixture
def two(tiny_qwen3: Maker) -> list[str]:
    return [str(tiny_qwen3(seed=seed, max_position_embeddings=WINDOW)) for seed in (0, 1)]


@pytest.mark.slow
def test_all_28_tasks_run(small, small_data: Path, tiny_qwen3: Maker, tmp_path: Path) -> None:
    """In one process, to save time; of all that is asked, only the answers' length differs from the paper's runs."""
    folder = tiny_qwen3(max_position_embeddings=WINDOW)
    index = read_data_index(small_data, list(small.suite))
    for task in small.suite:
        write_task_file(task, index[task.name], small_data, tmp_path / "tasks")
    limits = Limits(max_gen_toks=6)
    told = {"tiny": model_arguments("hf", folder, limits)}
    for shots in (3, 5):
        units = [Evaluation("tiny", t.name, str(tmp_path / "out" / t.name)) for t in small.suite if t.shots == shots]
        run_job(LmEvalJob(told, units, tmp_path / "tasks", tmp_path / "scratch", limits=limits, shots=shots))
    for task in small.suite:
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
        if task.generates:
            given = samples[0]["arguments"]["gen_args_0"]["arg_1"]
            assert given["max_gen_toks"] == 6
            assert given["do_sample"] is False
    _assert_built_once(tmp_path, tiny_qwen3(seed=1, max_position_embeddings=WINDOW), limits)


def _assert_built_once(place: Path, second: Path, limits: Limits) -> None:
    """A second model is asked what the first one was: read, not built again."""
    requests = {path: path.stat().st_mtime_ns for path in (place / "scratch" / "requests").iterdir()}
    assert len(requests) == 28
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
