"""The calls of lm-eval: a job's evaluations, one after the other, in the process that `worker` has begun."""

import gc
import math
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from lm_eval import utils as lm_eval_utils
from lm_eval.api.registry import get_model
from lm_eval.evaluator import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager
from torch.utils import collect_env
from transformers import GenerationConfig

from ...core.files import fsync_path, list_files, remove, write_json
from ...core.hf.chat_rendering import bounded
from ...core.system.bf16_products import replace_products
from ..tasks.own.task_templates import sandbox
from ..tasks.task_suite import RequestKind
from .answer_notes import AnswerNotes, PromptFlags, write_answers
from .backends import LmEvalModel
from .batch_size import find_batch_size, prepare_tasks
from .generation import end_tokens, unused_settings, write_neutral
from .job import Evaluation, LmEvalJob
from .messages import WarningCounter, count_warnings, written_to
from .result_files import (
    ANSWERS_FILE,
    LOG_FILE,
    RESULTS_FILE,
    SAMPLES_FILE,
    SETTINGS_FILE,
    AnswerSettings,
    BatchSizeUsed,
    LibraryWarning,
)


@dataclass(frozen=True)
class _Evaluated:
    """One model on one task, as lm-eval hands it back: its results, and the tracker that writes them."""

    results: dict[str, Any]
    tracker: EvaluationTracker


def run(job: LmEvalJob) -> None:
    """Do a job's evaluations in the folder of its tasks; one line on standard output for each that is finished."""
    warnings = count_warnings()
    describe_machine_once()
    lm_eval_utils.env = sandbox()  # the templates of task files are data, not programs of the user's
    if replace_products():
        print("this CPU cannot multiply in BF16: products are computed in FP32 and rounded", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        manager = TaskManager(include_path=".", include_defaults=False)
        for name, evaluations in groupby(job.evaluations, key=lambda evaluation: evaluation.model):
            _run_model(name, list(evaluations), job=job, manager=manager, warnings=warnings, scratch=Path(scratch))


def describe_machine_once() -> None:
    """Spare every evaluation but the first pip, a compiler and a dozen other commands.

    lm-eval asks torch for a description of the machine, which they make, and writes it into each of its results.
    """
    collect_env.get_pretty_env_info = cache(collect_env.get_pretty_env_info)


def _run_model(
    name: str,
    evaluations: list[Evaluation],
    *,
    job: LmEvalJob,
    manager: TaskManager,
    warnings: WarningCounter,
    scratch: Path,
) -> None:
    """Do the evaluations of one model. The log of each begins with the messages of its loading."""
    load_log = scratch / f"{name}.log"
    with written_to(load_log):
        lm = _load(job, name, scratch / name)
        if job.chat_template:
            lm.apply_chat_template = bounded(lm.apply_chat_template)
        batch_size = _batch_size(lm, job, manager)
    load_warnings = warnings.take()
    notes = AnswerNotes(lm, job.backend)
    for evaluation in evaluations:
        start = time.monotonic()
        log = scratch / f"{name}-{evaluation.task}.log"
        log.write_bytes(load_log.read_bytes())
        with written_to(log):
            evaluated = _evaluate(lm, evaluation, job, manager=manager, batch_size=batch_size)
            of_ranks = lm.gather_object((notes.take(), warnings.take()))
        if evaluated is not None:
            all_warnings = load_warnings + [warning for _, counted in of_ranks for warning in counted]
            settings = _settings(job, name, evaluated.results, batch_size=batch_size, warnings=all_warnings)
            _write(evaluation, evaluated, notes=[noted for noted, _ in of_ranks], settings=settings, log=log)
            print(f"{name}: {evaluation.task} in {time.monotonic() - start:.1f} s", flush=True)
    del lm, notes
    gc.collect()
    torch.cuda.empty_cache()


def _load(job: LmEvalJob, name: str, scratch: Path) -> LmEvalModel:
    arguments, options = job.models[name].to_lm_eval(), {"batch_size": job.batch_size}
    neutral = write_neutral(Path(arguments["pretrained"]), scratch)
    if job.backend == "vllm":
        return get_model("vllm").create_from_arg_obj(arguments | {"generation_config": str(neutral)}, options)
    options["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    if job.batch_size == "auto":
        options["batch_size"] = 1  # until it is found
    lm: LmEvalModel = get_model("hf").create_from_arg_obj(arguments, options)
    lm.model.generation_config = GenerationConfig.from_pretrained(neutral)
    return lm


def _batch_size(lm: LmEvalModel, job: LmEvalJob, manager: TaskManager) -> BatchSizeUsed:
    """Find the batch size where the user leaves it open. vLLM needs none: it fills its passes as it goes."""
    search = job.batch_size_search
    if job.batch_size != "auto" or job.backend == "vllm":
        return BatchSizeUsed(job.batch_size)
    assert search is not None, "stated where the batch size is left open"
    tasks = prepare_tasks(manager.load(search.tasks)["tasks"], job.shots, job.limits.max_gen_toks)
    options = {"limit": job.limits.questions, **_chat_options(job)}
    options["chat_template"] = lm.apply_chat_template if job.chat_template else None
    options["tokenizer_name"] = lm.tokenizer_name if job.chat_template else ""
    batch_size = find_batch_size(lm, tasks, search.kind, path=Path(search.file), options=options)
    lm.batch_size_per_gpu = batch_size.size
    return BatchSizeUsed(batch_size.size, batch_size.tokens, batch_size.device)


def _chat_options(job: LmEvalJob) -> dict[str, Any]:
    """With a chat template, worked examples are turns of the conversation, as lm-eval has it by default."""
    return {"apply_chat_template": job.chat_template, "fewshot_as_multiturn": job.chat_template}


def _evaluate(
    lm: LmEvalModel, evaluation: Evaluation, job: LmEvalJob, manager: TaskManager, batch_size: BatchSizeUsed
) -> _Evaluated | None:
    """Run one model on one task; None for a rank that only helps."""
    tracker = EvaluationTracker(output_path=str(_partial(evaluation) / RESULTS_FILE))
    max_gen_toks = job.limits.max_gen_toks
    results: Any = simple_evaluate(
        model=lm,
        model_args=job.models[evaluation.model].to_lm_eval(),
        tasks=[evaluation.task],
        num_fewshot=job.shots,
        batch_size=batch_size.size,
        limit=job.limits.questions,
        gen_kwargs={"max_gen_toks": max_gen_toks} if max_gen_toks else None,
        cache_requests=True,
        evaluation_tracker=tracker,
        task_manager=manager,
        **_chat_options(job),
    )
    if results is None:
        return None
    _check_finite(evaluation.task, results["samples"][evaluation.task])
    return _Evaluated(results, tracker)


def _check_finite(task: str, samples: list[dict[str, Any]]) -> None:
    """Refuse log-probabilities that are not numbers: lm-eval takes the first choice for right then, and does not warn.

    Raises:
        FloatingPointError: a question has one.
    """
    for sample in samples:
        numbers = list(_numbers([sample["filtered_resps"], *(sample[metric] for metric in sample["metrics"])]))
        if not all(map(math.isfinite, numbers)):
            raise FloatingPointError(f"{task}, question {sample['doc_id']}: a log-probability is not a finite number")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list | tuple):
        for part in value:
            yield from _numbers(part)
    elif isinstance(value, int | float):
        yield float(value)


def _settings(
    job: LmEvalJob, name: str, results: dict[str, Any], batch_size: BatchSizeUsed, warnings: list[LibraryWarning]
) -> AnswerSettings:
    folder = Path(job.models[name].pretrained)
    ((_, config),) = results["configs"].items()
    settings = AnswerSettings(batch_size, job.chat_template, warnings)
    if config["output_type"] != RequestKind.GENERATE:
        return settings
    generation = config["generation_kwargs"] | {"end_tokens": end_tokens(folder)}
    return replace(settings, generation=generation, generation_config_unused=unused_settings(folder))


def _partial(evaluation: Evaluation) -> Path:
    out = Path(evaluation.out)
    return out.with_name(f".{out.name}.partial")


def _write(
    evaluation: Evaluation, evaluated: _Evaluated, *, notes: list[PromptFlags], settings: AnswerSettings, log: Path
) -> None:
    """Write an evaluation's files to its folder, all of them or none."""
    partial = _partial(evaluation)
    remove(partial)
    (samples,) = evaluated.results["samples"].values()
    _save_results(evaluated, evaluation.task, partial)
    write_answers(samples, notes, partial / ANSWERS_FILE)
    write_json(partial / SETTINGS_FILE, settings.to_json())
    (partial / LOG_FILE).write_bytes(log.read_bytes())
    for path in list_files(partial):
        fsync_path(path)
    partial.rename(evaluation.out)


def _save_results(evaluated: _Evaluated, task: str, folder: Path) -> None:
    """Have lm-eval write its two files, and take the date out of their names.

    Raises:
        OSError: it did not: its tracker reports a failure to write as a warning only.
    """
    samples = evaluated.results["samples"]
    scores = {name: value for name, value in evaluated.results.items() if name != "samples"}
    evaluated.tracker.save_results_aggregated(scores, samples)
    evaluated.tracker.save_results_samples(task, samples[task])
    written = list_files(folder)
    if len(written) != 2:
        raise OSError(f"lm-eval wrote {len(written)} of 2 files to {folder}")
    for path in written:
        path.rename(folder / (RESULTS_FILE if path.suffix == ".json" else SAMPLES_FILE))
