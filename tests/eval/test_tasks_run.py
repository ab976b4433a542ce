"""The 28 tasks run by lm-eval on tiny models: all of them, killed and resumed, shared out, and refused."""

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.utils import hash_string
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pdapt.core.errors import UserError
from pdapt.core.files import read_json
from pdapt.core.manifest import Manifest
from pdapt.eval import benchmark, process
from pdapt.eval.answers import UNPARSEABLE, Notes, write_answers
from pdapt.eval.backends import Limits, arguments
from pdapt.eval.benchmark import Settings, check_samples, run_benchmark, write_task_file
from pdapt.eval.fetch import INDEX
from pdapt.eval.plan import claimed, status
from pdapt.eval.process import EvaluationFailed, Job, Unit, run_job
from pdapt.eval.scores import Model
from pdapt.eval.suite import PROX, SUITE, choose

WINDOW = 4096
Maker = Callable[..., Path]


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.slow
def test_all_28_run(small, small_data: Path, tiny_qwen3: Maker, tmp_path: Path) -> None:
    """In one process, to save time; of all that is asked, only the answers' length differs from the paper's runs."""
    folder = tiny_qwen3(max_position_embeddings=WINDOW)
    index = read_json(small_data / INDEX)
    for task in small.suite:
        write_task_file(task, index[task.name], small_data, tmp_path / "tasks")
    limits = Limits(max_gen_toks=6)
    told = {"tiny": arguments("hf", folder, limits)}
    for shots in (3, 5):
        units = [Unit("tiny", t.name, str(tmp_path / "out" / t.name)) for t in small.suite if t.shots == shots]
        run_job(Job(told, units, tmp_path / "tasks", tmp_path / "scratch", limits=limits, shots=shots))
    for task in small.suite:
        found = read_json(tmp_path / "out" / task.name / "results.json")
        value = found["results"][task.name][task.score_key]
        samples = _rows(tmp_path / "out" / task.name / "samples.jsonl")
        assert value == pytest.approx(sum(sample[task.metric] for sample in samples) / task.questions)
        assert found["n-shot"][task.name] == task.shots
        assert found["n-samples"][task.name] == {"original": task.questions, "effective": task.questions}
        assert {"doc_id", "doc_hash", "prompt_hash", "target", "resps", "filtered_resps"} <= set(samples[0])
        answers = _rows(tmp_path / "out" / task.name / "answers.jsonl")
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
    told = {"second": arguments("hf", second, limits)}
    units = [Unit("second", task, str(place / "out" / "second"))]
    run_job(Job(told, units, place / "tasks", place / "scratch", limits=limits, shots=3))
    assert {path: path.stat().st_mtime_ns for path in (place / "scratch" / "requests").iterdir()} == requests
    prompts = [[row["prompt_hash"] for row in _rows(place / "out" / n / "samples.jsonl")] for n in ("second", task)]
    assert prompts[0] == prompts[1]


def _ends_often(folder: Path) -> None:
    """Have a random model end about half of its answers: the end token's logit is the largest, or the smallest."""
    weights = load_file(folder / "model.safetensors")
    end = AutoTokenizer.from_pretrained(folder).eos_token_id
    weights["model.embed_tokens.weight"][end] *= 3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_notes_on_answers_against_transformers(tiny_qwen3: Maker, tmp_path: Path) -> None:
    """Answers that the limit ended, in batches with others that end by themselves or at a stop string."""
    folder = tiny_qwen3(initializer_range=0.3, vocab_size=344)  # ids that the tokenizer has a text for
    _ends_often(folder)
    lm: Any = get_model("hf").create_from_arg_obj({"pretrained": str(folder), "max_length": 96}, {"device": "cpu"})
    lm.batch_size_per_gpu = 5
    notes = Notes(lm)
    model: Any = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokenizer = lm.tokenizer
    texts = [f"{word}{n} combien, {n} ?" + f" {word} mot" * (6 * n) for word in "abcd" for n in range(6)]
    alone = []
    for text in texts:
        ids = tokenizer(text, return_tensors="pt")
        written = model.generate(**ids, max_new_tokens=6, do_sample=False)[0, ids["input_ids"].shape[1] :]
        alone.append((len(ids["input_ids"][0]), tokenizer.decode(written)))
    stop = next(text[3:5] for _, text in alone if "<|endoftext|>" not in text)
    settings = {"until": [stop], "max_gen_toks": 6, "do_sample": False}
    lm.generate_until([Instance("generate_until", {}, (text, settings), 0) for text in texts], disable_tqdm=True)
    taken = notes.take()
    fits = [length + 6 <= 96 for length, _ in alone]
    expected = [stop not in text and "<|endoftext|>" not in text for _, text in alone]
    hashes = [hash_string(text) for text in texts]
    assert [taken["cut"][name] for name in hashes] == [not fit for fit in fits]
    assert set(fits) == {True, False}
    found = [taken["truncated"][name] for name in hashes]
    assert [f for f, fit in zip(found, fits, strict=True) if fit] == [
        e for e, fit in zip(expected, fits, strict=True) if fit
    ]
    assert {f for f, fit in zip(found, fits, strict=True) if fit} == {True, False}, "answers of both kinds are met"


@pytest.fixture
def two(tiny_qwen3: Maker) -> list[str]:
    return [str(tiny_qwen3(seed=seed, max_position_embeddings=WINDOW)) for seed in (0, 1)]


def _written(out: Path) -> dict[str, int]:
    return {str(path.relative_to(out)): path.stat().st_mtime_ns for path in out.glob("m*/[!.]*/*")}


@pytest.mark.slow
def test_a_run_killed_half_way_repeats_no_task(small_data: Path, two: list[str], tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = [sys.executable, "-m", "pdapt.cli.main", "eval", "run", *(f"m{n}={path}" for n, path in enumerate(two))]
    command += ["--data", str(small_data), "--out", str(out), "--tasks", "mmlu_anatomy", "--tasks", "mmlu_prox_fr_law"]
    command += ["--limit", "4", "--max-gen-toks", "4", "--batch-size", "8", "--json"]
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
    found = status(out)
    assert found["models"]["m0"]["done"] == ["mmlu_prox_fr_law", "mmlu_anatomy"]
    assert found["models"]["m1"]["left"] == ["mmlu_prox_fr_law", "mmlu_anatomy"]
    assert (found["done"], found["running"], found["left"]) == (2, 0, 2)
    again = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "m0: mmlu" not in again.stderr, "no unit of the first model is run again"
    assert {name: when for name, when in _written(out).items() if name in before} == before
    assert json.loads(again.stdout) == status(out)
    assert (status(out)["done"], status(out)["left"]) == (4, 0)
    manifest = Manifest.read(out / "m1/mmlu_anatomy")
    assert set(manifest.outputs) == {"results.json", "samples.jsonl", "answers.jsonl"}
    assert manifest.counts["questions"] == 4
    assert manifest.config["shots"] == 3
    assert manifest.config["max_length"] == WINDOW
    prompts = [[s["prompt_hash"] for s in _rows(out / m / "mmlu_anatomy/samples.jsonl")] for m in ("m0", "m1")]
    assert prompts[0] == prompts[1]
    assert _rows(out / "m0/mmlu_anatomy/samples.jsonl") != _rows(out / "m1/mmlu_anatomy/samples.jsonl")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, small_data: Path) -> list[Job]:
    """Jobs that `run_benchmark` starts; in the place of lm-eval, files as it writes them appear."""
    jobs: list[Job] = []

    def run_job(job: Job) -> None:
        jobs.append(job)
        for unit in job.units:
            (task,) = (task for task in SUITE if task.name == unit.task)
            count = read_json(small_data / INDEX)[task.name]["questions"]
            _fake(Path(unit.out), task.name, task.score_key, job.limits.questions or count, task.generates)

    monkeypatch.setattr(benchmark, "run_job", run_job)
    return jobs


def _fake(out: Path, task: str, metric: str, count: int, generates: bool) -> None:
    out.mkdir()
    samples = [{"doc_id": n, "filtered_resps": ["A"] if generates else [["-1.0", "False"]] * 4} for n in range(count)]
    answers = [{"truncated": None, "unparseable": n == 0, "prompt_cut": False} for n in range(count)]
    (out / "results.json").write_text(json.dumps({"results": {task: {metric: 0.5}}}))
    for name, rows in (("samples", samples), ("answers", answers)):
        (out / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_what_lm_eval_is_told(small_data: Path, tiny_qwen3: Maker, started: list[Job], tmp_path: Path) -> None:
    model = Model("a", "base", tiny_qwen3(dtype="bfloat16"))
    tasks = choose(["mmlu_med_fr_anatomy", "mmlu_prox_en_law"])
    outcome = run_benchmark([model], tasks, small_data, tmp_path / "out")
    assert outcome.done == [f"a/{task.name}" for task in tasks]
    assert [len(job.units) for job in started] == [1, 1], "a process for each task"
    assert [job.shots for job in started] == [3, 5]
    assert started[0].scratch == started[1].scratch, "what is asked is built once"
    told = started[0].models["a"]
    assert told == {
        "pretrained": str(model.path.resolve()),
        "dtype": "bfloat16",
        "max_length": 512,
        "softmax_dtype": "float32",
    }
    manifest = Manifest.read(tmp_path / "out/a/mmlu_prox_en_law")
    assert manifest.counts["unparseable"] == 1
    assert manifest.counts["exact_match,custom-extract"] == 0.5


def test_both_backends_get_the_same_limits(
    small_data: Path, tiny_qwen3: Maker, started: list[Job], tmp_path: Path
) -> None:
    """vLLM is not run here: what it would be told is compared with what `hf` is."""
    folder = tiny_qwen3()
    limits = Limits(questions=5, max_length=256, max_gen_toks=99)
    hf, vllm = (arguments(backend, folder, limits, gpus=2) for backend in ("hf", "vllm"))
    assert hf["max_length"] == vllm["max_model_len"] == 256
    assert hf["dtype"] == vllm["dtype"] == "float32"
    assert vllm["tensor_parallel_size"] == 2
    commands = {
        backend: process._command(Job({}, [], tmp_path, tmp_path, backend=backend, gpus=4), Path("job.json"))
        for backend in ("hf", "vllm")
    }
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"]
    worker = ["-m", "pdapt.eval.worker", "job.json"]
    assert commands == {"hf": [sys.executable, *launcher, *worker], "vllm": [sys.executable, *worker]}


def test_vllms_arguments_are_lm_evals(tiny_qwen3: Maker) -> None:
    """By the source of lm-eval's class, which cannot be imported without vLLM."""
    import ast
    from importlib.util import find_spec

    spec = find_spec("lm_eval")
    assert spec is not None
    assert spec.origin is not None
    tree = ast.parse((Path(spec.origin).parent / "models" / "vllm_causallms.py").read_text())
    (init,) = (
        item
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and node.name == "VLLM"
        for item in node.body
        if isinstance(item, ast.FunctionDef) and item.name == "__init__"
    )
    known = {argument.arg for argument in init.args.args}
    assert {*arguments("vllm", tiny_qwen3(), Limits()), "batch_size"} <= known


def test_finished_units_are_left_and_more_can_be_added(
    small_data: Path, tiny_qwen3: Maker, started: list[Job], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first, second = (Model(name, "other", tiny_qwen3(seed=seed)) for seed, name in enumerate(("a", "b")))
    run_benchmark([first], choose(["mmlu_anatomy"]), small_data, out)
    run_benchmark([second], choose(["mmlu_prox_en_*"]), small_data, out)
    run_benchmark([first], choose(["mmlu_anatomy"]), small_data, out, Settings(batch_size=2))
    assert len(started) == 1 + 8
    found = status(out)
    assert list(found["models"]) == ["a", "b"]
    assert found["models"]["a"]["done"] == ["mmlu_anatomy"]
    assert len(found["models"]["a"]["left"]) == 8
    assert found["models"]["b"]["left"] == ["mmlu_anatomy"]
    assert (found["done"], found["left"]) == (9, 9)


def test_what_another_process_is_at_is_left_to_it(
    small_data: Path, tiny_qwen3: Maker, started: list[Job], tmp_path: Path
) -> None:
    model, out = Model("a", "other", tiny_qwen3()), tmp_path / "out"
    tasks = choose(["mmlu_anatomy", "mmlu_med_fr_anatomy"])
    holder = (
        "import sys, time; from pathlib import Path; from pdapt.eval.plan import claimed\n"
        "with claimed(Path(sys.argv[1])) as mine: print(mine, flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(out / "a" / "mmlu_anatomy")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "True\n"
        outcome = run_benchmark([model], tasks, small_data, out)
        assert outcome.elsewhere == ["a/mmlu_anatomy"]
        assert outcome.done == ["a/mmlu_med_fr_anatomy"]
        assert status(out)["models"]["a"]["running"] == ["mmlu_anatomy"]
        other.communicate()
    assert run_benchmark([model], tasks, small_data, out).elsewhere == []
    with claimed(out / "a" / "mmlu_anatomy") as mine:
        assert mine


def test_one_failure_does_not_hold_up_the_rest(
    small_data: Path, tiny_qwen3: Maker, started: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    works = benchmark.run_job

    def run_job(job: Job) -> None:
        if job.units[0].task == "mmlu_anatomy":
            raise EvaluationFailed("out of memory")
        works(job)

    monkeypatch.setattr(benchmark, "run_job", run_job)
    model, tasks = Model("a", "other", tiny_qwen3()), choose(["mmlu_anatomy", "mmlu_college_*"])
    with pytest.raises(EvaluationFailed, match=r"(?s)1 of 3 units failed.*a/mmlu_anatomy: out of memory"):
        run_benchmark([model], tasks, small_data, tmp_path / "out")
    assert status(tmp_path / "out")["done"] == 2
    assert not (tmp_path / "out/a/mmlu_anatomy").exists()


def test_bad_input_is_refused(small_data: Path, tiny_qwen3: Maker, started: list[Job], tmp_path: Path) -> None:
    folder, other, out = tiny_qwen3(), tiny_qwen3(seed=1), tmp_path / "out"
    tasks = choose(["mmlu_anatomy"])
    run_benchmark([Model("a", "other", folder)], tasks, small_data, out)
    for model, settings, message in (
        (Model("a", "other", folder), Settings(limits=Limits(questions=3)), "another questions"),
        (Model("a", "other", folder), Settings(limits=Limits(max_gen_toks=3)), "another max_gen_toks"),
        (Model("a", "other", other), None, "holds results of another model called a"),
        (Model("b", "other", tmp_path), None, "not a Hugging Face model folder"),
    ):
        with pytest.raises(UserError, match=message):
            run_benchmark([model], tasks, small_data, out, settings)
    with pytest.raises(UserError, match=r"benchmark\.json is missing"):
        run_benchmark([Model("a", "other", folder)], tasks, tmp_path / "nothing", out)
    with pytest.raises(UserError, match=r"runs\.json is missing"):
        status(tmp_path / "nothing")
    assert len(started) == 1


def test_another_backends_results_are_not_put_beside(
    small_data: Path, tiny_qwen3: Maker, started: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, tasks = [Model("a", "other", tiny_qwen3())], choose(["mmlu_anatomy"])
    run_benchmark(models, tasks, small_data, tmp_path / "out")
    with pytest.raises(UserError, match="vllm is not installed"):
        run_benchmark(models, tasks, small_data, tmp_path / "out", Settings(backend="vllm"))
    monkeypatch.setattr(benchmark, "find_spec", lambda name: name)
    with pytest.raises(UserError, match="another backend"):
        run_benchmark(models, tasks, small_data, tmp_path / "out", Settings(backend="vllm"))


def test_another_lm_evals_results_are_not_put_beside(
    small_data: Path, tiny_qwen3: Maker, started: list[Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, tasks = [Model("a", "other", tiny_qwen3())], choose(["mmlu_anatomy"])
    run_benchmark(models, tasks, small_data, tmp_path / "out")
    monkeypatch.setattr(benchmark.metadata, "version", lambda _: "0.4.14")
    with pytest.raises(UserError, match="another lm_eval"):
        run_benchmark(models, tasks, small_data, tmp_path / "out")


def test_gpus_that_are_not_there(small_data: Path, tiny_qwen3: Maker, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UserError, match="4 GPUs, where there is none"):
        run_benchmark([Model("a", "other", tiny_qwen3())], list(SUITE), small_data, tmp_path / "out", Settings(gpus=4))


def test_data_that_lack_a_task(small, small_source: Path, tiny_qwen3: Maker, tmp_path: Path) -> None:
    from pdapt.eval.fetch import fetch

    fetch(tmp_path / "data", source=small_source, tasks=tuple(t for t in small.suite if t.dataset == PROX))
    with pytest.raises(UserError, match="the data of 1 tasks are not there: mmlu_anatomy"):
        run_benchmark(
            [Model("a", "other", tiny_qwen3())], choose(["mmlu_anatomy"]), tmp_path / "data", tmp_path / "out"
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "vlm"}, "did you mean 'vllm'"),
        ({"gpus": 0}, "0 GPUs"),
        ({"batch_size": "many"}, "batch_size = many"),
        ({"batch_size": 0}, "batch_size = 0"),
    ],
)
def test_bad_settings(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Settings(**options)


@pytest.mark.parametrize("limits", [{"questions": 1}, {"max_length": 0}, {"max_gen_toks": 0}])
def test_bad_limits(limits: dict[str, int]) -> None:
    with pytest.raises(UserError, match="is too small"):
        Limits(**limits)


def test_a_configuration_that_does_not_say(tiny_qwen3: Maker) -> None:
    folder = tiny_qwen3()
    config = read_json(folder / "config.json")
    for missing, message in (("dtype", "states no dtype"), ("max_position_embeddings", "states no window")):
        (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != missing}))
        with pytest.raises(UserError, match=message):
            arguments("hf", folder, Limits())
    (folder / "config.json").write_text(json.dumps({"text_config": config}))
    assert arguments("hf", folder, Limits())["max_length"] == 512, "a composite model's text part says it"


@pytest.mark.parametrize(
    ("samples", "value", "message"),
    [
        ([0, 1, 2], 0.5, "3 samples of 3 questions"),
        ([0, 1, 2, 2], 0.5, "4 samples of 3 questions"),
        ([0, 1, 2, 3], math.nan, "not a finite number"),
        ([0, 1, 2, 3], "N/A", "not a finite number"),
    ],
)
def test_results_that_are_none(samples: list[int], value: Any, message: str) -> None:
    (task,) = choose(["mmlu_anatomy"])
    rows = [{"doc_id": n, "filtered_resps": [["-1.0", "False"]] * 4} for n in samples]
    with pytest.raises(EvaluationFailed, match=message):
        check_samples(task, rows, value, 4)


def test_log_probabilities_that_are_no_numbers() -> None:
    """lm-eval calls A right then, without a word."""
    (task,) = choose(["mmlu_anatomy"])
    rows = [{"doc_id": n, "filtered_resps": [["nan" if n == 2 else "-1.0", "False"]] * 4} for n in range(4)]
    with pytest.raises(EvaluationFailed, match="log-probability"):
        check_samples(task, rows, 0.25, 4)


@pytest.mark.slow
def test_weights_that_are_no_numbers_are_told(small_data: Path, two: list[str], tmp_path: Path) -> None:
    path = Path(two[0]) / "model.safetensors"
    weights = load_file(path)
    weights["model.norm.weight"] = torch.full_like(weights["model.norm.weight"], math.nan)
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(EvaluationFailed, match="log-probability"):
        run_benchmark(
            [Model("a", "other", Path(two[0]))],
            choose(["mmlu_anatomy"]),
            small_data,
            tmp_path / "out",
            Settings(batch_size=8),
        )
    assert not (tmp_path / "out/a/mmlu_anatomy").exists()


class Vllm:
    """lm-eval's vLLM class as far as notes are concerned: what it calls, with what, and what comes back."""

    max_length = 40

    def tok_encode(self, text: str) -> list[int]:
        return list(text.encode())

    def set_cache_hook(self, hook: Any) -> None:
        self.cache_hook = hook

    def _model_generate(self, requests: list[str], **options: Any) -> list[Any]:
        assert set(options) == {"generate", "sampling_params"}
        return [
            SimpleNamespace(outputs=[SimpleNamespace(finish_reason="length" if "long" in text else "stop")])
            for text in requests
        ]

    def generate_until(self, prompts: list[str]) -> None:
        self._model_generate(requests=prompts, generate=True, sampling_params=[])
        for prompt in prompts:
            self.cache_hook.add_partial("generate_until", (prompt, {"max_gen_toks": 20, "until": []}), "answer")


def test_notes_on_vllms_answers(tmp_path: Path) -> None:
    lm: Any = Vllm()
    notes = Notes(lm)
    prompts = ["a long one", "a short one", "one that fits beside no answer, long"]
    lm.generate_until(prompts)
    samples = [
        {"doc_id": n, "doc_hash": str(n), "prompt_hash": hash_string(prompt), "filtered_resps": [answer]}
        for n, (prompt, answer) in enumerate(zip(prompts, ["A", "[invalid]", "B"], strict=True))
    ]
    write_answers(samples, [notes.take()], tmp_path / "answers.jsonl")
    flags = [(row["truncated"], row["unparseable"], row["prompt_cut"]) for row in _rows(tmp_path / "answers.jsonl")]
    assert flags == [(True, False, False), (False, True, False), (True, False, True)]
    assert notes.take() == {"truncated": {}, "cut": {}}
