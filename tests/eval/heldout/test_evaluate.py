"""lm-eval's runs against direct computations with transformers, bad models, and a run that is killed."""

import json
import math
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pdapt.core.errors import UserError
from pdapt.core.hf.weights import one_thread
from pdapt.core.manifest import Manifest
from pdapt.eval.harness.backends import Limits
from pdapt.eval.harness.lm_eval_process import EvaluationFailed
from pdapt.eval.heldout import evaluate as evaluate_module
from pdapt.eval.heldout.build_tasks import build_tasks
from pdapt.eval.heldout.evaluate import evaluate
from pdapt.eval.models import Model, Role
from pdapt.eval.scores import Scores

WINDOW = 96


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


class Direct:
    """Log-likelihoods computed with transformers alone."""

    def __init__(self, folder: Path) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text)["input_ids"]

    @torch.no_grad()
    def last(self, ids: list[int], count: int) -> float:
        """Log-likelihood of the last `count` tokens, seen through a window of WINDOW inputs."""
        ids = ids[-(WINDOW + 1) :]
        logits = self.model(torch.tensor([ids[:-1]])).logits[0].log_softmax(-1)
        return logits.gather(1, torch.tensor(ids[1:])[:, None])[-count:].sum().item()

    def document(self, text: str) -> float:
        """Every token once, windows side by side, the last one with as much context as fits."""
        ids = [self.tokenizer.convert_tokens_to_ids("<|endoftext|>"), *self.ids(text)]
        ends = [*range(WINDOW, len(ids) - 1, WINDOW), len(ids) - 1]
        starts = [0, *ends[:-1]]
        return sum(self.last(ids[: end + 1], end - start) for start, end in zip(starts, ends, strict=True))

    def choice(self, question: dict[str, Any], number: int) -> float:
        context = self.ids(question["context"])
        whole = self.ids(question["context"] + question["choices"][number])
        return self.last(whole, len(whole) - len(context))

    def answer(self, question: dict[str, Any]) -> int:
        return max(range(4), key=lambda number: self.choice(question, number))


@pytest.mark.slow
@one_thread()
def test_scores_equal_a_direct_computation(tiny_qwen3, heldout, tmp_path):
    folders = [tiny_qwen3(seed=seed) for seed in (0, 1)]
    models = [Model("base", Role.BASE, folders[0]), Model("cpt-1", Role.CHECKPOINT, folders[1])]
    build_tasks(heldout, tmp_path / "tasks", questions=12)
    manifest = evaluate(models, tmp_path / "tasks", tmp_path / "scores", limits=Limits(max_length=WINDOW))
    assert manifest.counts["models"] == 2
    asked = [row for domain in heldout for row in _rows(tmp_path / f"tasks/continuation_{domain}.jsonl")]
    direct = Direct(models[0].path)
    lengths = [[len(direct.ids(row["context"] + choice)) for choice in row["choices"]] for row in asked]
    assert manifest.counts["prompts"] == 2 * len(asked)
    assert manifest.counts["prompts_cut"] == 2 * sum(max(its) > WINDOW + 1 for its in lengths) > 0
    found = Scores.read(tmp_path / "scores")
    for model in models:
        direct = Direct(model.path)
        for domain in heldout:
            documents = _rows(tmp_path / f"tasks/perplexity_{domain}.jsonl")
            assert any(len(direct.ids(row["text"])) > WINDOW for row in documents), "windows are exercised"
            nats = -sum(direct.document(row["text"]) for row in documents)
            size = sum(len(row["text"].encode()) for row in documents)
            expected = math.exp(nats / size)
            assert found.score(model.name, domain, "byte_perplexity").value == pytest.approx(expected, rel=1e-5)
            questions = _rows(tmp_path / f"tasks/continuation_{domain}.jsonl")
            right = sum(direct.answer(question) == question["label"] for question in questions)
            assert found.score(model.name, domain, "acc").value == pytest.approx(right / len(questions))
            gold = sum(direct.choice(question, question["label"]) for question in questions)
            assert found.score(model.name, domain, "gold_logprob").value == pytest.approx(
                gold / len(questions), rel=1e-4
            )
        _equals_lm_eval(tmp_path / "scores", model.name, found)


def _equals_lm_eval(folder: Path, model: str, found: Scores) -> None:
    for score in found.scores:
        if score.model == model and not score.source and score.metric != "gold_logprob":
            results = json.loads((folder / model / score.task / "results.json").read_text())["results"]
            assert score.value == pytest.approx(results[score.task][f"{score.metric},none"])


RUN = """
import sys
from pathlib import Path
from pdapt.eval.harness.backends import Limits
from pdapt.eval.heldout.evaluate import evaluate
from pdapt.eval.models import Model, Role
folder = Path(sys.argv[1])
models = [Model(f"m{i}", Role.CHECKPOINT, Path(path)) for i, path in enumerate(sys.argv[2:])]
evaluate(models, folder / "tasks", folder / "scores", limits=Limits(questions=4))
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_next_task(tiny_qwen3, heldout, tmp_path):
    folders = [str(tiny_qwen3(seed=seed)) for seed in range(3)]
    build_tasks(heldout, tmp_path / "tasks", questions=8)
    command = [sys.executable, "-c", RUN, str(tmp_path), *folders]
    first = tmp_path / ".scores.partial/m0/perplexity_medical"
    with subprocess.Popen(command) as run:
        while not first.exists():
            assert run.poll() is None
            time.sleep(0.01)
        workers = psutil.Process(run.pid).children()
        run.send_signal(signal.SIGKILL)
    gone, alive = psutil.wait_procs(workers, timeout=10)
    assert gone
    assert not alive, "the worker does not outlive the run"
    assert not (tmp_path / "scores").exists()
    before = {path.name: path.stat().st_mtime_ns for path in first.iterdir()}
    subprocess.run(command, check=True)
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "scores/m0/perplexity_medical").iterdir()}
    assert after == before
    assert {path.parts[0] for path in map(Path, Manifest.read(tmp_path / "scores").outputs)} == {
        "m0",
        "m1",
        "m2",
        "scores.json",
    }


@pytest.mark.slow
def test_what_lm_eval_says_when_it_fails_is_told(tiny_qwen3, heldout, tmp_path):
    folder = tiny_qwen3()
    build_tasks(heldout, tmp_path / "tasks")
    (tmp_path / "tasks" / "perplexity_medical.jsonl").unlink()
    with pytest.raises(EvaluationFailed, match=r"(?s)lm-eval ended with code 1.*perplexity_medical.jsonl"):
        evaluate([Model("base", Role.BASE, folder)], tmp_path / "tasks", tmp_path / "scores", verify=False)
    assert not (tmp_path / "scores").exists()


@pytest.mark.parametrize("missing", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_folder_that_is_no_model_is_refused(tiny_qwen3, tmp_path, missing):
    folder = tiny_qwen3()
    (folder / missing).unlink()
    with pytest.raises(UserError, match="base is not a Hugging Face model folder"):
        evaluate([Model("base", Role.BASE, folder)], tmp_path / "tasks", tmp_path / "scores", verify=False)


def test_a_tokenizer_without_the_end_of_documents_is_refused(tiny_qwen3, heldout, tmp_path):
    build_tasks(heldout, tmp_path / "tasks")
    folder = tiny_qwen3()
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("<|endoftext|>", "<|end|>"))
    with pytest.raises(UserError, match=r"has no <\|endoftext\|>"):
        evaluate([Model("base", Role.BASE, folder)], tmp_path / "tasks", tmp_path / "scores", verify=False)


def test_models_that_change_after_their_check_have_no_score(tiny_qwen3, heldout, tmp_path, monkeypatch):
    """Nor does the next start take up anything that was computed of them."""
    folder, out = tiny_qwen3(0), tmp_path / "out"

    def exchanged(folders: list[tuple[str, Path]], *_: object, **__: object) -> None:
        folders[0][1].mkdir()
        (folder / "model.safetensors").touch()

    build_tasks(heldout, tmp_path / "tasks", questions=4)
    monkeypatch.setattr(evaluate_module, "run_evaluations", exchanged)
    with pytest.raises(UserError, match=r"model\.safetensors: changed while it was read"):
        evaluate([Model("a", Role.BASE, folder), Model("b", Role.CHECKPOINT, tiny_qwen3(1))], tmp_path / "tasks", out)
    assert not out.exists()
    assert not list(tmp_path.glob(".out.partial/*"))


def test_models_that_cannot_be_told_apart_and_limits_out_of_range_are_refused(tiny_qwen3, heldout, tmp_path):
    folder = tiny_qwen3()
    base = Model("base", Role.BASE, folder)
    for models, message in (
        ([], "different names"),
        ([base, base], "different names"),
        ([base, Model("other", Role.BASE, folder)], "more than one model has the role base"),
        ([Model("../up", Role.BASE, folder)], "cannot name a model"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate(models, tmp_path / "tasks", tmp_path / "scores")
    with pytest.raises(UserError, match="questions = 1 is too small"):
        evaluate([base], tmp_path / "tasks", tmp_path / "scores", limits=Limits(questions=1))
    build_tasks(heldout, tmp_path / "tasks")
    with pytest.raises(UserError, match="max_length = 600 is longer than the model's window"):
        evaluate([base], tmp_path / "tasks", tmp_path / "scores", limits=Limits(max_length=600))
    with pytest.raises(UserError, match=r"tasks\.json is missing"):
        evaluate([base], tmp_path, tmp_path / "scores")
