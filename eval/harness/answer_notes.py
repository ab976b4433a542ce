"""Notes on answers beside lm-eval's samples: which the token limit ended, and which prompts did not fit."""

import inspect
import json
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lm_eval.filters.extraction import RegexFilter
from lm_eval.utils import hash_string
from transformers import LogitsProcessor, LogitsProcessorList

from .backends import LmEvalModel
from .result_files import AnswerNote

UNPARSEABLE = inspect.signature(RegexFilter.__init__).parameters["fallback"].default
"""The text that lm-eval's filter puts in the place of an answer that it does not find."""
Flags = dict[str, bool]
"""Hash of a prompt -> a flag."""


@dataclass(frozen=True)
class PromptFlags:
    """Flags of one rank's prompts: whether the token limit ended the answer, whether the prompt was cut."""

    truncated: Flags
    cut: Flags


class AnswerNotes:
    """Notes on a model's requests, taken while lm-eval makes them.

    lm-eval hands each answer to its cache, in the order in which they were generated; this takes the cache's place. A
    prompt stands for its question: the same prompt gets the same greedy answer.
    """

    def __init__(self, lm: LmEvalModel, backend: str = "hf") -> None:
        self._lm = lm
        # Tokens of prompt and choice that lm-eval feeds: `hf` needs no logits after the last, vLLM writes one more.
        self._most_tokens = lm.max_length + (1 if backend == "hf" else -1)
        self._limit_ended: deque[bool] = deque()
        self._lengths: dict[str, int] = {}
        self._truncated: Flags = {}
        self._cut: Flags = {}
        self._generate, self._choose = lm._model_generate, lm._loglikelihood_tokens
        lm._model_generate, lm._loglikelihood_tokens = self._noted_generate, self._noted_choose
        lm.set_cache_hook(self)

    def take(self) -> PromptFlags:
        """Flags since the last call."""
        taken = PromptFlags(self._truncated, self._cut)
        self._truncated, self._cut = {}, {}
        return taken

    def add_partial(self, kind: str, request: tuple[Any, ...], response: Any) -> None:
        """lm-eval's call after each answer."""
        del response
        if kind != "generate_until":
            return
        prompt = hash_string(request[0])
        self._truncated[prompt] = self._limit_ended.popleft()
        self._cut[prompt] = self._length(request[0]) + request[1]["max_gen_toks"] > self._lm.max_length

    def _length(self, text: str) -> int:
        """Tokens of a text."""
        if text not in self._lengths:
            self._lengths[text] = len(self._lm.tok_encode(text))
        return self._lengths[text]

    def _noted_choose(self, requests: Any, *arguments: Any, **options: Any) -> Any:
        """Note which prompts are cut.

        A request is (prompt, choice), and both as tokens. A part of a document has no prompt.
        """
        for texts, prompt, choice in requests:
            if texts is not None:
                key = hash_string(texts[0])
                self._cut[key] = self._cut.get(key, False) or len(prompt) + len(choice) > self._most_tokens
        return self._choose(requests, *arguments, **options)

    def _noted_generate(self, *arguments: Any, **options: Any) -> Any:
        checked = {"logits_processor": LogitsProcessorList([FiniteLogits()])} if "stop" in options else {}
        outputs = self._generate(*arguments, **options, **checked)
        if "stop" in options:
            self._limit_ended += _hf_truncated(self._lm, outputs, options)
        elif options.get("generate"):
            self._limit_ended += [output.outputs[0].finish_reason == "length" for output in outputs]
        return outputs


class FiniteLogits(LogitsProcessor):
    """Refuses logits that are NaN: the largest of them is some token, and the answer would look like any other."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> Any:
        """Return the logits of the next token, [sequences, vocabulary], as they are.

        Raises:
            FloatingPointError: one is NaN.
        """
        if bool(scores.isnan().any()):
            raise FloatingPointError(f"a logit is NaN, {input_ids.shape[1]} tokens into a sequence")
        return scores


def _hf_truncated(lm: LmEvalModel, outputs: Any, options: dict[str, Any]) -> list[bool]:
    """Whether the limit ended each answer: it holds no stop string and no end token."""
    eos = lm.model.generation_config.eos_token_id
    end_tokens = set(eos if isinstance(eos, list) else [eos])
    answers = outputs[:, options["context"].shape[1] :].tolist()
    return [
        not end_tokens.intersection(answer)
        and not any(stop in lm.tokenizer.decode(answer, skip_special_tokens=False) for stop in options["stop"])
        for answer in answers
    ]


def write_answers(samples: list[dict[str, Any]], of_ranks: list[PromptFlags], path: Path) -> None:
    """Write an `AnswerNote` a line, one for each sample.

    The first two flags are null where nothing is generated, the third where prompts are whole documents.

    Args:
        samples: lm-eval's.
        of_ranks: flags of each rank's prompts.
        path: the file to write.
    """
    truncated = {prompt: flag for flags in of_ranks for prompt, flag in flags.truncated.items()}
    cut = {prompt: flag for flags in of_ranks for prompt, flag in flags.cut.items()}
    with path.open("w", encoding="utf-8") as file:
        for sample in samples:
            prompt = sample["prompt_hash"]
            unparseable = sample["filtered_resps"] == [UNPARSEABLE]
            note = AnswerNote(
                doc_id=sample["doc_id"],
                doc_hash=sample["doc_hash"],
                prompt_hash=prompt,
                truncated=truncated.get(prompt),
                unparseable=unparseable if prompt in truncated else None,
                prompt_cut=cut.get(prompt),
            )
            file.write(json.dumps(note.to_json()) + "\n")
