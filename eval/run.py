"""Evaluate Hugging Face folders with lm-eval: one process for all of them, one folder of results for each."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from ..core import log
from ..core.errors import UserError
from ..core.files import read_json, write_json
from ..core.manifest import Manifest, run_stage
from ..core.qwen3 import END_OF_DOCUMENT
from .heldout import INDEX
from .scores import SCORES, Model
from .scoring import score

OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
QUIET = {"LMEVAL_LOG_LEVEL": "ERROR", "TRANSFORMERS_VERBOSITY": "error", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"}


def evaluate(
    models: list[Model],
    tasks: Path,
    out: Path,
    *,
    limit: int | None = None,
    batch_size: int = 8,
    max_length: int | None = None,
) -> Manifest:
    """Evaluate models on a folder of tasks (stage `eval`).

    Writes lm-eval's own `results_*.json` and `samples_*.jsonl` under `<model>/`, and `scores.json` (see `Scores`).
    Weights stay in the type they are stored in, log-probabilities are taken in float32. A model that was finished
    before an interruption is not evaluated again.

    Args:
        models: what to evaluate; checkpoints in order of training.
        tasks: a folder made by `build_tasks`.
        out: the folder to make.
        limit: only the first so many samples of each task (they are in random order); at least 2.
        batch_size: sequences per forward pass.
        max_length: longest window in tokens; by default the model's own `max_position_embeddings`. A document that is
            longer is scored in windows of that length.

    Raises:
        UserError: a model's folder or a number is unusable.
        RuntimeError: lm-eval failed; the end of its messages is in the error.
    """
    _check(models, limit=limit, batch_size=batch_size, max_length=max_length)
    index = read_json(tasks / INDEX)
    options = {"limit": limit, "batch_size": batch_size, "max_length": max_length}
    config = options | {"models": [{"name": model.name, "role": model.role} for model in models]}
    inputs = {"tasks": tasks} | {f"model/{model.name}": model.path for model in models}

    def body(work: Path) -> dict[str, Any]:
        waiting = [model for model in models if not (work / model.name).exists()]
        if waiting:
            _run_worker(waiting, tasks, [row["task"] for row in index], work, options)
        found = score(work, models, index)
        write_json(work / SCORES, found.to_json())
        return {"models": len(models), "tasks": len(index), "comparisons": len(found.comparisons)}

    return run_stage("eval", inputs, config, out, body, resumes=True)


def _check(models: list[Model], **numbers: int | None) -> None:
    names = [model.name for model in models]
    if not models or len(set(names)) < len(names):
        raise UserError(f"models need different names: {names}", allowed="one model or more")
    for role in ("base", "merged"):
        if len(alike := [model.name for model in models if model.role == role]) > 1:
            raise UserError(f"more than one model is the {role} one: {alike}", allowed=f"one {role} model")
    for model in models:
        _check_model(model)
    for name, value in numbers.items():
        least = 1 if name == "batch_size" else 2
        if value is not None and value < least:
            raise UserError(f"{name} = {value} is too small", allowed=f"{least} or more")


def _check_model(model: Model) -> None:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", model.name):
        raise UserError(f"{model.name!r} cannot name a model", allowed="letters, digits, '.', '_', '-'")
    for pattern in ("config.json", "tokenizer.json", "*.safetensors"):
        if not any(model.path.glob(pattern)):
            raise UserError(
                f"{model.name} is not a Hugging Face model folder: no {pattern}",
                where=str(model.path),
                allowed="a folder with config.json, tokenizer.json and *.safetensors",
                mend="export the checkpoint first",
            )
    _prefix(model.path)


def _prefix(folder: Path) -> int:
    """Id of the token that ends a document. A document is scored after it, as training saw it."""
    token = Tokenizer.from_file(str(folder / "tokenizer.json")).token_to_id(END_OF_DOCUMENT)
    if token is None:
        raise UserError(f"the tokenizer has no {END_OF_DOCUMENT}", where=str(folder / "tokenizer.json"))
    return token


def _run_worker(models: list[Model], tasks: Path, names: list[str], work: Path, options: dict[str, Any]) -> None:
    """Evaluate in a process of its own, which gives its memory back and takes lm-eval's messages away with it.

    The worker ends when its standard input does, so it does not outlive this process.
    """
    with tempfile.TemporaryDirectory() as scratch:
        job = Path(scratch) / "job.json"
        job.write_text(json.dumps(_job(models, options) | {"tasks": names, "out": str(work.resolve())}))
        messages = Path(scratch) / "messages.txt"
        environment = os.environ | OFFLINE | QUIET | {"HF_DATASETS_CACHE": f"{scratch}/datasets"}
        with (
            messages.open("w") as stderr,
            subprocess.Popen(
                [sys.executable, "-m", "pdapt.eval.worker", str(job)],
                cwd=tasks,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            ) as worker,
        ):
            assert worker.stdout is not None, "asked for a pipe"
            for line in worker.stdout:
                log.info(f"eval: {line.rstrip()}")
            # Closed only now: see above.
            worker.communicate()
        if worker.returncode:
            end = messages.read_text(errors="replace")[-4000:]
            raise RuntimeError(f"lm-eval ended with code {worker.returncode}:\n{end}")


def _job(models: list[Model], options: dict[str, Any]) -> dict[str, Any]:
    """What the worker is told: lm-eval's arguments for every model."""
    arguments = {"dtype": "auto", "softmax_dtype": "float32", "max_length": options["max_length"]}
    return {
        "models": {
            model.name: arguments | {"pretrained": str(model.path.resolve()), "prefix_token_id": _prefix(model.path)}
            for model in models
        },
        "batch_size": options["batch_size"],
        "limit": options["limit"],
    }
