"""The batch size that is found where the user leaves it open."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer

from pdapt.eval.harness import batch_size
from pdapt.eval.harness.batch_size import (
    BatchSize,
    find_batch_size,
    largest_power_of_two,
    longest_prompt,
    on_cpu,
    on_gpu,
)

Maker = Callable[..., Path]
OPTIONS = {"limit": None}


class Task:
    """lm-eval's task as far as it is looked at: requests, and how long an answer may be."""

    def __init__(self, kind: str, arguments: list[tuple[Any, ...]], tokens: int = 0) -> None:
        self.OUTPUT_TYPE, self.tokens, self.built = kind, tokens, 0
        self.instances = [SimpleNamespace(args=args) for args in arguments]

    def get_config(self, key: str) -> Any:
        return {"generation_kwargs": {"max_gen_toks": self.tokens}}[key]

    def build_all_requests(self, **options: Any) -> None:
        assert (options["rank"], options["world_size"]) == (0, 1), "of all ranks' questions, the longest"
        self.built += 1


@pytest.fixture
def lm(tokenizer_folder: Path) -> Any:
    tokenizer: Any = AutoTokenizer.from_pretrained(tokenizer_folder)
    config = SimpleNamespace(get_text_config=lambda: SimpleNamespace(vocab_size=1000))
    device = torch.device("cpu")
    return SimpleNamespace(
        tokenizer=tokenizer,
        max_length=200,
        device=device,
        model=SimpleNamespace(config=config),
        world_size=1,
        rank=0,
    )


def test_the_longest_prompt_with_its_answer_decides(lm: Any) -> None:
    texts = ["Le patient " * n for n in (3, 30, 7)]
    lengths = [len(ids) for ids in lm.tokenizer(texts)["input_ids"]]
    writing = Task("generate_until", [(text, {}) for text in texts], tokens=50)
    assert longest_prompt(lm, [writing, Task("generate_until", [("a", {})], tokens=50)], OPTIONS) == max(lengths) + 50
    choosing = Task("multiple_choice", [(text, f" {letter}") for text in texts for letter in "ABCD"])
    pairs = [text + " A" for text in texts]
    assert longest_prompt(lm, [choosing], OPTIONS) == max(len(ids) for ids in lm.tokenizer(pairs)["input_ids"])
    lm.max_length = 60
    assert longest_prompt(lm, [writing], OPTIONS) == 60, "what is longer than the window is cut"


@pytest.mark.parametrize(
    ("kind", "tokens", "vocab", "size"),
    [
        ("generate_until", 100, 151_936, 64),
        ("generate_until", 4096, 151_936, 2),
        ("generate_until", 30_000, 151_936, 1),
        ("loglikelihood", 400, 151_936, 4),
        ("loglikelihood", 4000, 151_936, 1),
        ("loglikelihood", 100, 1000, 64),
    ],
)
def test_on_a_cpu_a_pass_is_bounded(kind: str, tokens: int, vocab: int, size: int) -> None:
    found = on_cpu(kind, tokens, vocab)
    assert found == size
    assert found == 1 or found * tokens <= 8192
    if kind == "loglikelihood":
        assert found == 1 or found * tokens * vocab * 8 <= 2 * 2**30


@pytest.mark.parametrize(("most", "size"), [(0, 1), (1, 1), (2, 2), (13, 8), (64, 64), (1000, 64)])
def test_sizes_are_doubled_while_they_fit(most: int, size: int) -> None:
    tried: list[int] = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= most

    assert largest_power_of_two(fits, 64) == size
    assert tried == [2**n for n in range(1, len(tried) + 1)], "each once, the smallest first"


def test_on_a_gpu_what_runs_out_of_memory_or_nearly_does_not_fit(lm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU of 100 units, of which a sequence takes 6: 16 would run, 32 not; 16 leave less than a tenth."""
    passes: list[tuple[int, ...]] = []

    def run_pass(lm: Any, kind: str, ids: torch.Tensor) -> None:
        passes.append(tuple(ids.shape))
        if ids.shape[0] * 6 > 100:
            raise torch.OutOfMemoryError

    monkeypatch.setattr(batch_size, "run_pass", run_pass)
    for name, value in {
        "empty_cache": lambda: None,
        "reset_peak_memory_stats": lambda _: None,
        "max_memory_reserved": lambda _: passes[-1][0] * 6,
        "get_device_properties": lambda _: SimpleNamespace(total_memory=100),
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    assert on_gpu(lm, "loglikelihood", 70) == 8
    assert passes == [(2, 70), (4, 70), (8, 70), (16, 70)]


def test_it_is_found_once_for_a_model_and_a_kind_of_task(lm: Any, tmp_path: Path) -> None:
    path = tmp_path / "batch_sizes.json"
    first = {name: Task("generate_until", [("Le patient", {})], tokens=90) for name in ("a", "b")}
    found = find_batch_size(lm, first, "generate_until", path, OPTIONS)
    assert found == BatchSize(64, found.tokens, ["a", "b"], "cpu")
    assert find_batch_size(lm, {"b": first["b"]}, "generate_until", path, OPTIONS) == found
    assert [task.built for task in first.values()] == [1, 1], "not looked at again"
    longer = first | {"c": Task("generate_until", [("Le patient " * 90, {})], tokens=90)}
    assert find_batch_size(lm, longer, "generate_until", path, OPTIONS).tokens == 200, "another task may ask for more"
    choosing = {"d": Task("multiple_choice", [("Le", " A")])}
    assert find_batch_size(lm, choosing, "loglikelihood", path, OPTIONS).tokens < 10
    assert find_batch_size(lm, longer, "generate_until", path, OPTIONS).tokens == 200
    lm.device = torch.device("meta")
    assert find_batch_size(lm, choosing, "loglikelihood", path, OPTIONS).device == "meta", (
        "another device has another memory"
    )


def test_a_pass_does_what_a_task_does(tiny_qwen3: Maker) -> None:
    """Both kinds run on a real model, over as many tokens as they are told."""
    from lm_eval.api.registry import get_model

    lm: Any = get_model("hf").create_from_arg_obj({"pretrained": str(tiny_qwen3())}, {"device": "cpu"})
    lengths: list[int] = []
    lm.model.register_forward_pre_hook(
        lambda _, args, kwargs: lengths.append((args[0] if args else kwargs["input_ids"]).shape[1]), with_kwargs=True
    )
    batch_size.run_pass(lm, "loglikelihood", torch.ones((2, 30), dtype=torch.long))
    assert lengths == [30]
    batch_size.run_pass(lm, "generate_until", torch.ones((2, 30), dtype=torch.long))
    assert lengths[1] == 28
    assert len(lengths) == 3
