"""Notes beside lm-eval's samples: answers that the limit ended, and prompts that did not fit."""

import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.registry import get_model
from lm_eval.utils import hash_string
from reading_helpers import json_rows
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from pdapt.eval.harness.answer_notes import AnswerNotes, PromptFlags, write_answers

Maker = Callable[..., Path]


def _ends_often(folder: Path) -> None:
    """Have a random model end about half of its answers: the end token's logit is the largest, or the smallest."""
    weights = load_file(folder / "model.safetensors")
    end = AutoTokenizer.from_pretrained(folder).eos_token_id
    weights["model.embed_tokens.weight"][end] *= 3
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.slow
def test_notes_say_what_transformers_did_to_each_answer(tiny_qwen3: Maker, tmp_path: Path) -> None:
    """Answers that the limit ended, in batches with others that end by themselves or at a stop string."""
    folder = tiny_qwen3(initializer_range=0.3, vocab_size=344)  # ids that the tokenizer has a text for
    _ends_often(folder)
    lm: Any = get_model("hf").create_from_arg_obj({"pretrained": str(folder), "max_length": 96}, {"device": "cpu"})
    lm.batch_size_per_gpu = 5
    notes = AnswerNotes(lm)
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
    assert [taken.cut[name] for name in hashes] == [not fit for fit in fits]
    assert set(fits) == {True, False}
    found = [taken.truncated[name] for name in hashes]
    assert [f for f, fit in zip(found, fits, strict=True) if fit] == [
        e for e, fit in zip(expected, fits, strict=True) if fit
    ]
    assert {f for f, fit in zip(found, fits, strict=True) if fit} == {True, False}, "answers of both kinds are met"


@pytest.fixture
def lm(tiny_qwen3: Maker) -> Any:
    """lm-eval's model of a tiny one, with a window of 40 tokens, noted."""
    found: Any = get_model("hf").create_from_arg_obj(
        {"pretrained": str(tiny_qwen3()), "max_length": 40}, {"device": "cpu", "batch_size": 4}
    )
    found.notes = AnswerNotes(found)
    return found


def test_prompts_are_cut_where_lm_eval_cuts_them(lm: Any, caplog: pytest.LogCaptureFixture) -> None:
    """lm-eval warns of each; the last token of a choice needs no place in the window."""
    texts = [("x" * n, "!") for n in range(30, 46)]
    requests = [Instance("loglikelihood", {}, text, n) for n, text in enumerate(texts)]
    lengths = [sum(map(len, lm._encode_pair(*text))) for text in texts]
    assert {40, 41, 42} <= set(lengths)
    lm.loglikelihood(requests, disable_tqdm=True)
    cut = lm.notes.take().cut
    found = [cut[hash_string(prompt)] for prompt, _ in texts]
    assert found == [length > 41 for length in lengths]
    assert found.count(True) == sum("Truncating" in record.message for record in caplog.records)


def test_a_logit_that_is_no_number_ends_the_generation(lm: Any) -> None:
    lm.model.model.norm.weight.data[3] = math.nan
    settings = {"until": [], "max_gen_toks": 6, "do_sample": False}
    with pytest.raises(FloatingPointError, match="a logit is NaN"):
        lm.generate_until([Instance("generate_until", {}, ("le patient", settings), 0)], disable_tqdm=True)


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

    def _loglikelihood_tokens(self, requests: list[Any]) -> None: ...

    def generate_until(self, prompts: list[str]) -> None:
        self._model_generate(requests=prompts, generate=True, sampling_params=[])
        for prompt in prompts:
            self.cache_hook.add_partial("generate_until", (prompt, {"max_gen_toks": 20, "until": []}), "answer")


def test_notes_say_which_of_vllms_answers_were_cut_or_unreadable(tmp_path: Path) -> None:
    lm: Any = Vllm()
    notes = AnswerNotes(lm, "vllm")
    prompts = ["a long one", "a short one", "one that fits beside no answer, long"]
    lm.generate_until(prompts)
    samples = [
        {"doc_id": n, "doc_hash": str(n), "prompt_hash": hash_string(prompt), "filtered_resps": [answer]}
        for n, (prompt, answer) in enumerate(zip(prompts, ["A", "[invalid]", "B"], strict=True))
    ]
    write_answers(samples, [notes.take()], tmp_path / "answers.jsonl")
    flags = [(row["truncated"], row["unparseable"], row["prompt_cut"]) for row in json_rows(tmp_path / "answers.jsonl")]
    assert flags == [(True, False, False), (False, True, False), (True, False, True)]
    assert notes.take() == PromptFlags({}, {})
