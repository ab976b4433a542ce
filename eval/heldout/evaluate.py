"""Evaluate Hugging Face folders on tasks made from held-out text, and score them."""

import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...core import log
from ...core.errors import UserError
from ...core.files import remove, write_json
from ...core.hf.tokenizer_file import open_tokenizer
from ...core.integrity import UnchangedFiles, check, damage_first, file_names, hf_files
from ...core.log import counted
from ...core.manifest import MANIFEST_FILE, Manifest, input_fingerprints, run_stage
from ...core.qwen3 import END_OF_DOCUMENT
from ..harness.backends import Limits, ModelArguments, check_folder, model_arguments
from ..harness.check_weights import check_weights
from ..harness.job import Evaluation, LmEvalJob
from ..harness.lm_eval_process import run_job
from ..harness.result_files import SETTINGS_FILE, AnswerSettings, LibraryWarning, PromptCounts
from ..models import Model, Role, check_name
from ..scores import SCORES_FILE
from .reuse import MODEL_INPUT, reuse_results, task_fingerprints
from .scoring import compute_scores
from .task_index import read_tasks


def evaluate(
    models: list[Model],
    tasks: Path,
    out: Path,
    *,
    limits: Limits | None = None,
    batch_size: int = 8,
    earlier: Sequence[Path] = (),
    verify: bool = True,
) -> Manifest:
    """Evaluate models on a folder of tasks (stage `eval`).

    Writes lm-eval's own files under `<model>/<task>/` (see `run_evaluations`), and `scores.json` (see `Scores`). What
    was finished before an interruption is not evaluated again.

    Args:
        models: the models to evaluate; checkpoints in order of training.
        tasks: a folder made by `build_tasks`.
        out: the folder to make.
        limits: see `Limits`; questions are in random order. A document longer than the window is scored in windows.
        batch_size: sequences per forward pass.
        earlier: folders of finished evaluations; their results are copied where they are still valid.
        verify: whether tasks and models are compared with the hashes that were written with them.

    Raises:
        UserError: a model's folder or a number is unusable.
        EvaluationFailed: lm-eval failed.
    """
    limits = limits or Limits()
    with models_damage_first(models, verify=verify):
        check_models(models)
        arguments = document_arguments(models, limits)
    if batch_size < 1:
        raise UserError(f"batch_size = {batch_size} is too small", allowed="1 or more")
    finished = (out / MANIFEST_FILE).is_file()
    if not finished:
        check("eval", {tasks: file_names(tasks)}, verify=verify)
    heldout_tasks = read_tasks(tasks)
    unchanged = UnchangedFiles({model.path: hf_files(model.path) for model in models})
    if not finished:
        check_weights({model.name: model.path for model in models}, verify=verify)
    options = {"limit": limits.questions, "batch_size": batch_size, "max_length": limits.max_length}
    config = options | {"models": [{"name": model.name, "role": model.role} for model in models]}
    inputs = {"tasks": tasks} | {f"{MODEL_INPUT}{model.name}": model.path for model in models}
    inputs |= task_fingerprints(tasks, [task.task for task in heldout_tasks])

    def body(work: Path) -> dict[str, Any]:
        for folder in earlier:
            reuse_results(folder, work, input_fingerprints(work), config)
        folders = [(model.name, work / model.name) for model in models]
        run_evaluations(folders, arguments, tasks, limits=limits, batch_size=batch_size)
        _check_unchanged(unchanged, work)
        scores = compute_scores(work, models, heldout_tasks)
        write_json(work / SCORES_FILE, scores.to_json())
        counts = {"models": len(models), "tasks": len(heldout_tasks), "comparisons": len(scores.comparisons)}
        return counts | notes_and_warnings(work)

    return run_stage("eval", inputs, config, out=out, body=body, resumes=True)


def _check_unchanged(unchanged: UnchangedFiles, work: Path) -> None:
    """Refuse models that differ from those that were checked, and results computed from them."""
    try:
        unchanged.check()
    except UserError:
        remove(work)  # else the next start would continue with it
        raise


def models_damage_first(models: list[Model], *, verify: bool) -> AbstractContextManager[None]:
    """`damage_first` of models' folders."""
    return damage_first(lambda: {model.path: hf_files(model.path) for model in models}, verify=verify)


def document_arguments(models: list[Model], limits: Limits) -> dict[str, ModelArguments]:
    """Name of a model -> lm-eval's arguments for reading documents: each comes after the token that ends documents."""
    return {
        model.name: replace(model_arguments("hf", model.path, limits), prefix_token_id=_prefix(model.path))
        for model in models
    }


def run_evaluations(
    folders: list[tuple[str, Path]],
    arguments: dict[str, ModelArguments],
    tasks: Path,
    *,
    limits: Limits,
    batch_size: int,
) -> None:
    """Fill those folders `<folder>/<task>/` that are missing, in one process of lm-eval.

    Each holds lm-eval's `results.json` and `samples.jsonl`, and `answers.jsonl`. Weights stay in the type they are
    stored in, log-probabilities are taken in float32.

    Args:
        folders: name of a model, and the folder for its results.
        arguments: of `document_arguments`.
        tasks: a folder made by `build_tasks`.
        limits: see `Limits`.
        batch_size: sequences per forward pass.
    """
    evaluations = [
        Evaluation(model, task.task, str((folder / task.task).resolve()))
        for model, folder in folders
        for task in read_tasks(tasks)
        if not (folder / task.task).exists()
    ]
    if not evaluations:
        return
    models = {evaluation.model: arguments[evaluation.model] for evaluation in evaluations}
    with tempfile.TemporaryDirectory() as scratch:
        run_job(LmEvalJob(models, evaluations, tasks, Path(scratch), limits=limits, batch_size=batch_size))


def notes_and_warnings(folder: Path) -> dict[str, Any]:
    """Counts of a stage's manifest: prompts, and libraries' warnings of the evaluations under a folder."""
    counts = PromptCounts.collect(folder)
    if counts.prompts_cut:
        log.warn(f"eval: cut {counts.prompts_cut} of {counted(counts.prompts, 'prompt')} to fit the window")
    return counts.to_json() | {"warnings": [warning.to_json() for warning in collect_warnings(folder)]}


def collect_warnings(folder: Path) -> list[LibraryWarning]:
    """Libraries' warnings in the evaluations under a folder, each message once.

    Raises:
        UserError: a file of settings is damaged.
    """
    by_message: dict[str, LibraryWarning] = {}
    for path in sorted(folder.rglob(SETTINGS_FILE)):
        for warning in AnswerSettings.read(path).warnings:
            first = by_message.get(warning.message, replace(warning, times=0))
            by_message[warning.message] = replace(first, times=first.times + warning.times)
    return list(by_message.values())


def check_models(models: list[Model]) -> None:
    """Check that models' names differ and can be folders' names, that roles fit, and that their folders hold models.

    Raises:
        UserError: one of these fails.
    """
    names = [model.name for model in models]
    if not models or len(set(names)) < len(names):
        raise UserError(f"models need different names: {names}", allowed="one model or more")
    for role in (Role.BASE, Role.MERGED):
        if len(names := [model.name for model in models if model.role == role]) > 1:
            raise UserError(f"more than one model has the role {role}: {names}", allowed=f"one {role} model")
    for model in models:
        check_name(model.name)
        check_folder(model.name, model.path)


def _prefix(folder: Path) -> int:
    """Id of the token that ends a document. A document is scored after it, as training saw it."""
    token = open_tokenizer(folder / "tokenizer.json").token_to_id(END_OF_DOCUMENT)
    if token is None:
        raise UserError(f"the tokenizer has no {END_OF_DOCUMENT}", where=str(folder / "tokenizer.json"))
    return token
