"""Answers are greedy and end at the model's own end tokens, whatever a folder's generation_config.json asks for."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval.api.instance import Instance
from transformers import AutoModelForCausalLM, AutoTokenizer

from pdapt.core.files import read_json, write_json
from pdapt.eval.harness import run_lm_eval
from pdapt.eval.harness.backends import ModelArguments
from pdapt.eval.harness.generation import end_tokens, unused_settings, write_neutral
from pdapt.eval.harness.job import LmEvalJob

Maker = Callable[..., Path]
PROMPTS = [f"Le patient {n} reçoit" + " un mot" * n for n in range(8)]
ADVICE = {
    "do_sample": True,
    "temperature": 0.7,
    "top_k": 20,
    "top_p": 0.8,
    "repetition_penalty": 1.5,
    "no_repeat_ngram_size": 2,
    "num_beams": 3,
    "max_new_tokens": 3,
    "min_new_tokens": 9,
    "suppress_tokens": list(range(40, 300)),
    "eos_token_id": list(range(300, 340)),
}


@pytest.fixture
def folder(tiny_qwen3: Maker) -> Path:
    return tiny_qwen3(initializer_range=0.3, vocab_size=344)


def _answers(folder: Path, scratch: Path) -> list[str]:
    models = {"m": ModelArguments("hf", str(folder), "float32", window=128)}
    lm = run_lm_eval._load(LmEvalJob(models, [], scratch, scratch, batch_size=4), "m", scratch)
    settings = {"until": [], "max_gen_toks": 12, "do_sample": False, "temperature": 0.0}
    requests = [Instance("generate_until", {}, (text, settings), n) for n, text in enumerate(PROMPTS)]
    return lm.generate_until(requests, disable_tqdm=True)


@torch.no_grad()
def _greedy(folder: Path) -> list[str]:
    """By hand: the largest logit, again and again, until the tokenizer's end token."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    texts = []
    for prompt in PROMPTS:
        ids = tokenizer(prompt, return_tensors="pt")["input_ids"]
        start = ids.shape[1]
        for _ in range(12):
            ids = torch.cat([ids, model(ids).logits[:, -1:].argmax(-1)], dim=1)
            if ids[0, -1] == tokenizer.eos_token_id:
                break
        texts.append(tokenizer.decode(ids[0, start:], skip_special_tokens=True))
    return texts


@pytest.mark.slow
def test_advice_changes_no_answer(folder: Path, tmp_path: Path) -> None:
    expected = _greedy(folder)
    assert len({text[:4] for text in expected}) > 3, "the answers differ"
    assert _answers(folder, tmp_path / "a") == expected
    write_json(folder / "generation_config.json", ADVICE)
    assert _answers(folder, tmp_path / "b") == expected
    (folder / "generation_config.json").unlink()
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", config | {"repetition_penalty": 1.5, "do_sample": True, "max_new_tokens": 3})
    assert _answers(folder, tmp_path / "c") == expected, "older folders have such advice in config.json"


def test_what_was_not_used_is_told(folder: Path) -> None:
    assert unused_settings(folder) == {}
    write_json(folder / "generation_config.json", ADVICE | {"transformers_version": "5", "bos_token_id": None})
    assert unused_settings(folder) == ADVICE
    write_json(folder / "generation_config.json", {"eos_token_id": end_tokens(folder), "pad_token_id": 0})
    assert unused_settings(folder) == {}
    for text in ("{", "[1]", "\xff"):
        (folder / "generation_config.json").write_text(text, encoding="latin-1")
        assert unused_settings(folder) == {"unreadable": True}


@pytest.mark.parametrize(
    ("token", "config", "expected"),
    [
        ("<|endoftext|>", None, ["<|endoftext|>"]),
        ({"content": "<|im_end|>"}, None, ["<|im_end|>"]),
        ("<|im_end|>", ["<|endoftext|>", "<|im_end|>"], ["<|im_end|>", "<|endoftext|>"]),
        (None, "<|endoftext|>", ["<|endoftext|>"]),
        (None, None, []),
    ],
)
def test_end_tokens_are_the_tokenizer_s_and_the_configuration_s(
    folder: Path, token: Any, config: Any, expected: list[str], tmp_path: Path
) -> None:
    ids = AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids
    numbers = ids(config) if config else None
    write_json(folder / "config.json", read_json(folder / "config.json") | {"eos_token_id": numbers})
    write_json(folder / "tokenizer_config.json", {"eos_token": token})
    assert end_tokens(folder) == ids(expected)
    written = json.loads((write_neutral(folder, tmp_path / "out") / "generation_config.json").read_text())
    assert written == ({"eos_token_id": ids(expected)} if expected else {})


def test_vllm_is_told_the_same(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM is not run here. It reads end tokens and advice from the folder that `generation_config` names."""
    told: dict[str, Any] = {}

    class Vllm:
        @staticmethod
        def create_from_arg_obj(arguments: dict[str, Any], options: dict[str, Any]) -> None:
            told.update(arguments | options)

    monkeypatch.setattr(run_lm_eval, "get_model", {"vllm": Vllm}.__getitem__)
    write_json(folder / "generation_config.json", ADVICE)
    shutil.copy(folder / "config.json", tmp_path)
    models = {"m": ModelArguments("vllm", str(folder), "float32", window=128)}
    job = LmEvalJob(models, [], tmp_path, tmp_path, backend="vllm", batch_size="auto")
    run_lm_eval._load(job, "m", tmp_path / "neutral")
    assert told["batch_size"] == "auto"
    assert read_json(Path(told["generation_config"]) / "generation_config.json") == {"eos_token_id": end_tokens(folder)}
