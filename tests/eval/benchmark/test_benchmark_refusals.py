"""Refusals of `run_benchmark`: other settings, models or versions beside those that are there, and rubbish."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pdapt.core.errors import UserError
from pdapt.core.manifest import Manifest
from pdapt.eval.benchmark import run as benchmark
from pdapt.eval.benchmark.results_folder import read_status
from pdapt.eval.benchmark.run import BenchmarkSettings, run_benchmark
from pdapt.eval.harness.backends import Limits
from pdapt.eval.harness.job import LmEvalJob
from pdapt.eval.models import Model, Role
from pdapt.eval.tasks.all_tasks import choose_tasks
from pdapt.eval.tasks.fetch import fetch_tasks
from pdapt.eval.tasks.suite import PROX_DATASET, SUITE

Maker = Callable[..., Path]


def test_other_settings_another_model_and_missing_data_are_refused(
    small_data: Path, tiny_qwen3: Maker, started: list[LmEvalJob], tmp_path: Path
) -> None:
    folder, other, out = tiny_qwen3(), tiny_qwen3(seed=1), tmp_path / "out"
    tasks = choose_tasks(["mmlu_anatomy"])
    run_benchmark([Model("a", Role.OTHER, folder)], tasks, small_data, out)
    for model, settings, message in (
        (Model("a", Role.OTHER, folder), BenchmarkSettings(limits=Limits(questions=3)), "another questions"),
        (Model("a", Role.OTHER, folder), BenchmarkSettings(limits=Limits(max_gen_toks=3)), "another max_gen_toks"),
        (Model("a", Role.OTHER, other), None, "holds results of another model called a"),
        (Model("b", Role.OTHER, tmp_path), None, "not a Hugging Face model folder"),
    ):
        with pytest.raises(UserError, match=message):
            run_benchmark([model], tasks, small_data, out, settings)
    with pytest.raises(UserError, match=r"there is no benchmark\.json"):
        run_benchmark([Model("a", Role.OTHER, folder)], tasks, tmp_path / "nothing", out)
    with pytest.raises(UserError, match=r"runs\.json is missing"):
        read_status(tmp_path / "nothing")
    assert len(started) == 1


def test_another_backends_results_are_not_put_beside(
    small_data: Path, tiny_qwen3: Maker, started: list[LmEvalJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, tasks = [Model("a", Role.OTHER, tiny_qwen3())], choose_tasks(["mmlu_anatomy"])
    run_benchmark(models, tasks, small_data, tmp_path / "out")
    with pytest.raises(UserError, match="vllm is not installed"):
        run_benchmark(models, tasks, small_data, tmp_path / "out", BenchmarkSettings(backend="vllm"))
    monkeypatch.setattr(benchmark, "find_spec", lambda name: name)
    with pytest.raises(UserError, match="another backend"):
        run_benchmark(models, tasks, small_data, tmp_path / "out", BenchmarkSettings(backend="vllm"))


def test_another_lm_evals_results_are_not_put_beside(
    small_data: Path, tiny_qwen3: Maker, started: list[LmEvalJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, tasks = [Model("a", Role.OTHER, tiny_qwen3())], choose_tasks(["mmlu_anatomy"])
    run_benchmark(models, tasks, small_data, tmp_path / "out")
    monkeypatch.setattr(benchmark.metadata, "version", lambda _: "0.4.14")
    with pytest.raises(UserError, match="another lm_eval"):
        run_benchmark(models, tasks, small_data, tmp_path / "out")


def test_a_model_that_changes_after_its_check_has_no_score(
    small_data: Path, tiny_qwen3: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tiny_qwen3(0)
    monkeypatch.setattr(benchmark, "run_job", lambda _: (folder / "model.safetensors").touch())
    with pytest.raises(UserError, match=r"model\.safetensors: changed while it was read"):
        run_benchmark([Model("a", Role.OTHER, folder)], choose_tasks(["mmlu_anatomy"]), small_data, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("manifest.json"))


def test_a_window_without_room_for_answers_is_refused_with_what_fits(
    small_data: Path, tiny_qwen3: Maker, started: list[LmEvalJob], tmp_path: Path
) -> None:
    """pdapt's own models of 2,048 tokens, and answers of as many."""
    models, out = [Model("a", Role.OTHER, tiny_qwen3(max_position_embeddings=2048))], tmp_path / "out"
    with pytest.raises(UserError) as refused:
        run_benchmark(models, list(SUITE), small_data, out)
    told = str(refused.value)
    assert "a's window of 2,048 tokens leaves no room for a prompt before answers of 2,048" in told
    assert "and 13 more" in told
    assert not out.exists()
    (value,) = re.findall(r"--max-gen-toks (\d+)", told)
    assert value == "1024", "half of the window, so that prompts have as much"
    tasks = choose_tasks(["mmlu_prox_en_law"])
    run_benchmark(models, tasks, small_data, out, BenchmarkSettings(limits=Limits(max_gen_toks=int(value))))
    run_benchmark(models, choose_tasks(["mmlu_anatomy"]), small_data, tmp_path / "choices")
    for limits in (Limits(max_length=64, max_gen_toks=64), Limits(max_length=2048)):
        with pytest.raises(UserError, match="no room"):
            run_benchmark(models, tasks, small_data, tmp_path / "cut", BenchmarkSettings(limits=limits))
    assert len(started) == 2


def test_a_chat_template_belongs_to_a_model_s_results(
    small_data: Path, tiny_qwen3: Maker, started: list[LmEvalJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chat model and a base may be in one folder; the same model asked in both ways may not bear one name."""
    chat, base = (Model(name, Role.OTHER, tiny_qwen3(seed=seed)) for seed, name in enumerate(("chat", "base")))
    tasks, out, asked = choose_tasks(["mmlu_anatomy"]), tmp_path / "out", BenchmarkSettings(chat_template=True)
    with pytest.raises(UserError, match="chat has no chat template"):
        run_benchmark([chat], tasks, small_data, out, asked)
    (chat.path / "chat_template.jinja").write_text("{% for m in messages %}{{ m.content }}{% endfor %}")
    run_benchmark([chat], tasks, small_data, out, asked)
    run_benchmark([base], tasks, small_data, out)
    assert [job.chat_template for job in started] == [True, False]
    assert Manifest.read(out / "chat/mmlu_anatomy").config["chat_template"] is True
    for model, settings, message in (
        (chat, None, "with its chat template"),
        (base, asked, "base has no chat template"),
    ):
        with pytest.raises(UserError, match=message):
            run_benchmark([model], choose_tasks(["mmlu_college_*"]), small_data, out, settings)
    (base.path / "tokenizer_config.json").write_text('{"chat_template": "{{ messages }}"}')
    with pytest.raises(UserError, match="another model called base"):
        run_benchmark([base], tasks, small_data, out, asked)


def test_more_gpus_than_there_are_are_refused(small_data: Path, tiny_qwen3: Maker, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UserError, match="--gpus is 4, and this machine has no GPU"):
        run_benchmark(
            [Model("a", Role.OTHER, tiny_qwen3())], list(SUITE), small_data, tmp_path / "out", BenchmarkSettings(gpus=4)
        )


def test_data_that_lack_a_task_are_refused(small, small_source: Path, tiny_qwen3: Maker, tmp_path: Path) -> None:
    fetch_tasks(
        tmp_path / "data", source=small_source, tasks=tuple(t for t in small.suite if t.dataset == PROX_DATASET)
    )
    with pytest.raises(UserError, match="the data of 1 task are missing: mmlu_anatomy"):
        run_benchmark(
            [Model("a", Role.OTHER, tiny_qwen3())], choose_tasks(["mmlu_anatomy"]), tmp_path / "data", tmp_path / "out"
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "vlm"}, "did you mean 'vllm'"),
        ({"gpus": 0}, "--gpus is 0"),
        ({"batch_size": "many"}, "batch_size = many"),
        ({"batch_size": 0}, "batch_size = 0"),
    ],
)
def test_settings_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        BenchmarkSettings(**options)
