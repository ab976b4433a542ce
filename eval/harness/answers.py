"""What lm-eval's samples do not tell: which answers the token limit ended, and which prompts did not fit."""

import inspect
import json
from collections import deque
from pathlib import Path
from typing import Any

import torch
from lm_eval.filters.extraction import RegexFilter
from lm_eval.utils import hash_string
from transformers import LogitsProcessor, LogitsProcessorList

UNPARSEABLE = inspect.signature(RegexFilter.__init__).parameters["fallback"].default
"""What lm-eval's filter puts in the place of an answer that it does not find."""


class Notes:
    """Notes on a model's requests, taken while lm-eval makes them.

    lm-eval tells its cache of each answer, in the order in which they were generated; that is where they are met. A
    prompt stands for its question: the same prompt gets the same greedy answer.
    """

    def __init__(self, lm: Any, backend: str = "hf") -> None:
        self._lm = lm
        # What lm-eval feeds of prompt and choice: `hf` needs no logits after the last token, vLLM writes one more.
        self._most = lm.max_length + (1 if backend == "hf" else -1)
        self._ended: deque[bool] = deque()
        self._tokens: dict[str, int] = {}
        self._truncated: dict[str, bool] = {}
        self._cut: dict[str, bool] = {}
        self._generate, self._choose = lm._model_generate, lm._loglikelihood_tokens
        lm._model_generate, lm._loglikelihood_tokens = self._noting, self._measuring
        lm.set_cache_hook(self)

    def take(self) -> dict[str, dict[str, bool]]:
        """What was noted since the last call: `truncated` and `cut`, by the prompt's hash."""
        taken = {"truncated": self._truncated, "cut": self._cut}
        self._truncated, self._cut = {}, {}
        return taken

    def add_partial(self, kind: str, request: tuple[Any, ...], response: Any) -> None:
        """lm-eval's call after each answer."""
        del response
        if kind != "generate_until":
            return
        prompt = hash_string(request[0])
        self._truncated[prompt] = self._ended.popleft()
        self._cut[prompt] = self._length(request[0]) + request[1]["max_gen_toks"] > self._lm.max_length

    def _length(self, text: str) -> int:
        """Tokens of a text."""
        if text not in self._tokens:
            self._tokens[text] = len(self._lm.tok_encode(text))
        return self._tokens[text]

    def _measuring(self, requests: Any, *arguments: Any, **options: Any) -> Any:
        """Note which prompts are cut: (prompt, choice), and both as tokens. A part of a document has no prompt."""
        for texts, prompt, choice in requests:
            if texts is not None:
                key = hash_string(texts[0])
                self._cut[key] = self._cut.get(key, False) or len(prompt) + len(choice) > self._most
        return self._choose(requests, *arguments, **options)

    def _noting(self, *arguments: Any, **options: Any) -> Any:
        checked = {"logits_processor": LogitsProcessorList([OnlyNumbers()])} if "stop" in options else {}
        outputs = self._generate(*arguments, **options, **checked)
        if "stop" in options:
            self._ended += _hf_truncated(self._lm, outputs, options)
        elif options.get("generate"):
            self._ended += [output.outputs[0].finish_reason == "length" for output in outputs]
        return outputs


class OnlyNumbers(LogitsProcessor):
    """Ends the generation where a logit is no number: the largest of such is some token, and an answer like any."""

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> Any:
        """Return the logits of the next token, [sequences, vocabulary], as they are."""
        if bool(scores.isnan().any()):
            raise FloatingPointError(f"a logit is not a number, {input_ids.shape[1]} tokens into a sequence")
        return scores


def _hf_truncated(lm: Any, outputs: Any, options: dict[str, Any]) -> list[bool]:
    """An answer that holds no stop string and no end token was ended by the limit."""
    ends = lm.model.generation_config.eos_token_id
    ends = set(ends if isinstance(ends, list) else [ends])
    rows = outputs[:, options["context"].shape[1] :].tolist()
    return [
        not ends.intersection(row)
        and not any(stop in lm.tokenizer.decode(row, skip_special_tokens=False) for stop in options["stop"])
        for row in rows
    ]


def write_answers(samples: list[dict[str, Any]], notes: list[dict[str, dict[str, bool]]], path: Path) -> None:
    """Write a line for each sample: `doc_id`, `doc_hash`, `prompt_hash`, `truncated`, `unparseable`, `prompt_cut`.

    The first two flags are null where nothing is generated, the third where prompts are whole documents.

    Args:
        samples: lm-eval's.
        notes: what each rank noted.
        path: the file to write.
    """
    truncated = {prompt: flag for note in notes for prompt, flag in note["truncated"].items()}
    cut = {prompt: flag for note in notes for prompt, flag in note["cut"].items()}
    with path.open("w", encoding="utf-8") as file:
        for sample in samples:
            prompt = sample["prompt_hash"]
            unparseable = sample["filtered_resps"] == [UNPARSEABLE]
            row = {
                "doc_id": sample["doc_id"],
                "doc_hash": sample["doc_hash"],
                "prompt_hash": prompt,
                "truncated": truncated.get(prompt),
                "unparseable": unparseable if prompt in truncated else None,
                "prompt_cut": cut.get(prompt),
            }
            file.write(json.dumps(row) + "\n")
