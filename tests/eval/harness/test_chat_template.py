"""A chat template is put around what is asked as lm-eval puts it, and is written down."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from reading_helpers import json_rows

from pdapt.core.files import read_json
from pdapt.eval.benchmark.task_files import write_task_file
from pdapt.eval.harness.backends import Limits, model_arguments
from pdapt.eval.harness.job import Evaluation, LmEvalJob
from pdapt.eval.harness.lm_eval_process import run_job
from pdapt.eval.tasks.all_tasks import choose_tasks
from pdapt.eval.tasks.data_index import read_data_index

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.mark.slow
def test_what_is_asked_is_what_lm_eval_asks_with_a_chat_template(
    small_data: Path, tiny_qwen3: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lm_eval.evaluator import simple_evaluate
    from lm_eval.tasks import TaskManager

    folder = tiny_qwen3(max_position_embeddings=4096)
    (folder / "chat_template.jinja").write_text(TEMPLATE)
    (task,) = choose_tasks(["mmlu_anatomy"])
    write_task_file(task, read_data_index(small_data, [task])[task.name], small_data, tmp_path / "tasks")
    told, unit = model_arguments("hf", folder, Limits()), Evaluation("m", task.name, str(tmp_path / "out"))
    limits = Limits(questions=3)
    job = LmEvalJob(
        {"m": told}, [unit], tmp_path / "tasks", tmp_path / "scratch", limits=limits, shots=3, chat_template=True
    )
    run_job(job)
    samples = json_rows(tmp_path / "out" / "samples.jsonl")
    prompt = samples[0]["arguments"]["gen_args_0"]["arg_0"]
    assert prompt.count("<|im_start|>assistant") == 4, "three examples as turns, and the question"
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    theirs: Any = simple_evaluate(
        model="hf",
        model_args=told.to_lm_eval(),
        device="cpu",
        tasks=[task.name],
        num_fewshot=3,
        limit=3,
        task_manager=TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False),
        apply_chat_template=True,
        fewshot_as_multiturn=True,
    )
    expected = theirs["samples"][task.name]
    assert [row["prompt_hash"] for row in samples] == [row["prompt_hash"] for row in expected]
    for mine, other in zip(samples, expected, strict=True):
        found = [float(choice[0]) for choice in mine["filtered_resps"]]
        assert found == pytest.approx([choice[0] for choice in other["filtered_resps"]], rel=1e-5)
    results = read_json(tmp_path / "out" / "results.json")
    assert results["chat_template"] == TEMPLATE
    assert results["fewshot_as_multiturn"] is True
    assert read_json(tmp_path / "out" / "settings.json")["chat_template"] is True
