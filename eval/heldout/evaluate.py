"""Evaluate Hugging Face folders on tasks made from held-out text, and score them."""

import tempfile
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import UserError
from ...core.files import read_jsonl, read_object, write_json
from ...core.hf.tokenizer_file import open_tokenizer
from ...core.integrity import check, damage_first, file_names, hf_files
from ...core.jsonio import JsonObject
from ...core.manifest import MANIFEST_FILE, Manifest, input_fingerprints, run_stage
from ...core.qwen3 import END_OF_DOCUMENT
from ..harness.backends import Limits, arguments, check_folder
from ..harness.check_weights import check_weights
from ..harness.lm_eval_process import ANSWERS, SETTINGS, Job, Unit, run_job
from ..reuse import MODEL, take_over, task_fingerprints
from ..scores import SCORES, Model, check_name
from ..scoring import score
from .build_tasks import read_tasks


def evaluate(
    models: list[Model],
    tasks: Path,
    out: Path,
    *,
    limits: Limits | None = None,
    batch_size: int = 8,
    earlier: Path | None = None,
    verify: bool = True,
) -> Manifest:
    """Evaluate models on a folder of tasks (stage `eval`).

    Writes lm-eval's own files under `<model>/<task>/` (see `run_units`), and `scores.json` (see `Scores`). What was
    finished before an interruption is not evaluated again.

    Args:
        models: what to evaluate; checkpoints in order of training.
        tasks: a folder made by `build_tasks`.
        out: the folder to make.
        limits: see `Limits`; questions are in random order. A document longer than the window is scored in windows.
        batch_size: sequences per forward pass.
        earlier: folder of a finished evaluation, whose results are taken over where they still hold.
        verify: whether tasks and models are compared with the hashes that were written with them.

    Raises:
        UserError: a model's folder or a number is unusable.
        EvaluationFailed: lm-eval failed.
    """
    limits = limits or Limits()
    with models_damage_first(models, verify=verify):
        check_models(models)
        told = tell(models, limits)
    if batch_size < 1:
        raise UserError(f"batch_size = {batch_size} is too small", allowed="1 or more")
    finished = (out / MANIFEST_FILE).is_file()
    if not finished:
        check("eval", {tasks: file_names(tasks)}, verify=verify)
    index = read_tasks(tasks)
    if not finished:
        check_weights({model.name: model.path for model in models}, verify=verify)
    options = {"limit": limits.questions, "batch_size": batch_size, "max_length": limits.max_length}
    config = options | {"models": [{"name": model.name, "role": model.role} for model in models]}
    inputs = {"tasks": tasks} | {f"{MODEL}{model.name}": model.path for model in models}
    inputs |= task_fingerprints(tasks, [row["task"] for row in index])

    def body(work: Path) -> dict[str, Any]:
        if earlier is not None:
            take_over(earlier, work, input_fingerprints(work), config)
        run_units([(model.name, work / model.name) for model in models], told, tasks, limits, batch_size)
        found = score(work, models, index)
        write_json(work / SCORES, found.to_json())
        counts = {"models": len(models), "tasks": len(index), "comparisons": len(found.comparisons)}
        return counts | prompts_cut(work) | {"warnings": warnings_of(work)}

    return run_stage("eval", inputs, config, out, body, resumes=True)


def models_damage_first(models: list[Model], *, verify: bool) -> AbstractContextManager[None]:
    """`damage_first` of models' folders."""
    return damage_first(lambda: {model.path: hf_files(model.path) for model in models}, verify=verify)


def tell(models: list[Model], limits: Limits) -> dict[str, dict[str, Any]]:
    """Name -> what lm-eval is told of a model that reads documents: they come after the token that ends them."""
    return {
        model.name: arguments("hf", model.path, limits) | {"prefix_token_id": _prefix(model.path)} for model in models
    }


def run_units(
    folders: list[tuple[str, Path]], told: dict[str, dict[str, Any]], tasks: Path, limits: Limits, batch_size: int
) -> None:
    """Have one process fill those folders `<folder>/<task>/` that are not there yet.

    Each holds lm-eval's `results.json` and `samples.jsonl`, and `answers.jsonl`. Weights stay in the type they are
    stored in, log-probabilities are taken in float32.

    Args:
        folders: name of a model, and the folder for its results.
        told: from `tell`.
        tasks: a folder made by `build_tasks`.
        limits: see `Limits`.
        batch_size: sequences per forward pass.
    """
    names = [row["task"] for row in read_tasks(tasks)]
    units = [
        Unit(model, task, str((folder / task).resolve()))
        for model, folder in folders
        for task in names
        if not (folder / task).exists()
    ]
    if not units:
        return
    waiting = {unit.model: told[unit.model] for unit in units}
    with tempfile.TemporaryDirectory() as scratch:
        run_job(Job(waiting, units, tasks, Path(scratch), limits=limits, batch_size=batch_size))


def prompts_cut(folder: Path) -> dict[str, int]:
    """How many prompts of the units under a folder lost their beginning to the window: `prompts_cut` of `prompts`."""
    rows = (row for path in sorted(folder.rglob(ANSWERS)) for row in read_jsonl(path, nan=True))
    noted = [row.flag("prompt_cut") for row in rows if "prompt_cut" in row]
    if cut := sum(noted):
        log.warn(f"eval: {cut} of {len(noted)} prompts were cut to fit the window")
    return {"prompts_cut": cut, "prompts": len(noted)}


def warnings_of(folder: Path) -> list[dict[str, Any]]:
    """What libraries warned of in the units under a folder: `from`, `message`, `times`, each message once."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.rglob(SETTINGS)):
        for row in (JsonObject(value, str(path)) for value in read_object(path).list("warnings")):
            found.setdefault(row.text("message"), row.values | {"times": 0})["times"] += row.integer("times")
    return list(found.values())


def check_models(models: list[Model]) -> None:
    """Check that models' names differ and can be folders' names, that roles fit, and that their folders hold models.

    Raises:
        UserError: one does not.
    """
    names = [model.name for model in models]
    if not models or len(set(names)) < len(names):
        raise UserError(f"models need different names: {names}", allowed="one model or more")
    for role in ("base", "merged"):
        if len(alike := [model.name for model in models if model.role == role]) > 1:
            raise UserError(f"more than one model is the {role} one: {alike}", allowed=f"one {role} model")
    for model in models:
        check_name(model.name)
        check_folder(model.name, model.path)


def _prefix(folder: Path) -> int:
    """Id of the token that ends a document. A document is scored after it, as training saw it."""
    token = open_tokenizer(folder / "tokenizer.json").token_to_id(END_OF_DOCUMENT)
    if token is None:
        raise UserError(f"the tokenizer has no {END_OF_DOCUMENT}", where=str(folder / "tokenizer.json"))
    return token
