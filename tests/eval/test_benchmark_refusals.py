"""What `run_benchmark` refuses: other settings, models or versions beside those that are there, and rubbish."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.eval import benchmark
from pdapt.eval.backends import Limits
from pdapt.eval.benchmark import Settings, run_benchmark
from pdapt.eval.fetch import fetch
from pdapt.eval.plan import status
from pdapt.eval.process import Job
from pdapt.eval.scores import Model
from pdapt.eval.suite import PROX, SUITE, choose

Maker = Callable[..., Path]


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
