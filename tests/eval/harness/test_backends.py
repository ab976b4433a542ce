"""A model's settings in the two backends: the same type, window and limits."""

import ast
import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from pdapt.core.errors import UserError
from pdapt.core.files import read_json
from pdapt.eval.harness import lm_eval_process as process
from pdapt.eval.harness.backends import Limits, model_arguments
from pdapt.eval.harness.job import LmEvalJob

Maker = Callable[..., Path]


def test_both_backends_get_the_same_limits(
    small_data: Path, tiny_qwen3: Maker, started: list[LmEvalJob], tmp_path: Path
) -> None:
    """vLLM is not run here: what it would be told is compared with what `hf` is."""
    folder = tiny_qwen3()
    limits = Limits(questions=5, max_length=256, max_gen_toks=99)
    hf, vllm = (model_arguments(backend, folder, limits, gpus=2).to_lm_eval() for backend in ("hf", "vllm"))
    assert hf["max_length"] == vllm["max_model_len"] == 256
    assert hf["dtype"] == vllm["dtype"] == "float32"
    assert vllm["tensor_parallel_size"] == 2
    commands = {
        backend: process._command(LmEvalJob({}, [], tmp_path, tmp_path, backend=backend, gpus=4), Path("job.json"))
        for backend in ("hf", "vllm")
    }
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"]
    worker = ["-m", "pdapt.eval.harness.worker", "job.json"]
    assert commands == {"hf": [sys.executable, *launcher, *worker], "vllm": [sys.executable, *worker]}


def test_vllms_arguments_are_lm_evals(tiny_qwen3: Maker) -> None:
    """By the source of lm-eval's class, which cannot be imported without vLLM."""
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
    assert {*model_arguments("vllm", tiny_qwen3(), Limits()).to_lm_eval(), "batch_size"} <= known


@pytest.mark.parametrize("limits", [{"questions": 1}, {"max_length": 0}, {"max_gen_toks": 0}])
def test_limits_too_small_for_a_task_are_refused(limits: dict[str, int]) -> None:
    with pytest.raises(UserError, match="is too small"):
        Limits(**limits)


def test_a_configuration_without_dtype_or_window_is_refused(tiny_qwen3: Maker) -> None:
    folder = tiny_qwen3()
    config = read_json(folder / "config.json")
    for missing, message in (
        ("dtype", "has no dtype"),
        ("max_position_embeddings", "does not state the context window"),
    ):
        (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if k != missing}))
        with pytest.raises(UserError, match=message):
            model_arguments("hf", folder, Limits())
    for wrong, message in (
        ({"dtype": "banana"}, "no type of weights is called 'banana'"),
        ({"dtype": 16}, "dtype"),
        ({"max_position_embeddings": "long"}, "max_position_embeddings"),
        ({"text_config": 3}, "text_config"),
    ):
        (folder / "config.json").write_text(json.dumps(config | wrong))
        with pytest.raises(UserError, match=message):
            model_arguments("hf", folder, Limits())
    (folder / "config.json").write_text(json.dumps({"text_config": config}))
    assert model_arguments("hf", folder, Limits()).window == 512, "a composite model's text part says it"
