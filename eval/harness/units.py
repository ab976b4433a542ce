"""The units of a job, done by lm-eval one after the other."""

import gc
import math
import tempfile
import time
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.registry import get_model
from lm_eval.evaluator import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager
from transformers import GenerationConfig

from ...core.files import fsync_path, list_files, remove, write_json
from .answers import Notes, write_answers
from .batch_size import prepare, settle
from .generation import end_tokens, unused, write_neutral
from .lm_eval_process import ANSWERS, LOG, RESULTS, SAMPLES, SETTINGS
from .messages import Warnings, listen, written_to


def run(job: dict[str, Any]) -> None:
    """Do a job's units in the folder of its tasks; one line on standard output for each that is finished."""
    warnings = listen()
    with tempfile.TemporaryDirectory() as scratch:
        manager = TaskManager(include_path=".", include_defaults=False)
        for name, units in groupby(job["units"], key=lambda unit: unit["model"]):
            _of_model(job, name, list(units), manager, warnings, Path(scratch))


def _of_model(
    job: dict[str, Any], name: str, units: list[dict[str, str]], manager: TaskManager, warnings: Warnings, scratch: Path
) -> None:
    """Do the units of one model. What is said while it is loaded is in the log of each."""
    log = scratch / f"{name}.log"
    with written_to(log):
        lm = _load(job, name, scratch / name)
        batch_size = _batch_size(lm, job, manager)
    loading = warnings.take()
    notes = Notes(lm, job["backend"])
    for unit in units:
        start = time.monotonic()
        task_log = scratch / f"{name}-{unit['task']}.log"
        task_log.write_bytes(log.read_bytes())
        with written_to(task_log):
            results = _evaluate(lm, unit, job, manager, batch_size)
            found = lm.gather_object((notes.take(), warnings.take()))
        if results is not None:
            said = loading + [row for _, rows in found for row in rows]
            settings = _settings(job, name, results, batch_size, said)
            _write(unit, results, [noted for noted, _ in found], settings, task_log)
            print(f"{name}: {unit['task']} in {time.monotonic() - start:.1f} s", flush=True)
    del lm, notes
    gc.collect()
    torch.cuda.empty_cache()


def _load(job: dict[str, Any], name: str, scratch: Path) -> Any:
    told, options = dict(job["models"][name]), {"batch_size": job["batch_size"]}
    neutral = write_neutral(Path(told["pretrained"]), scratch)
    if job["backend"] == "vllm":
        return get_model("vllm").create_from_arg_obj(told | {"generation_config": str(neutral)}, options)
    options["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    if job["batch_size"] == "auto":
        options["batch_size"] = 1  # until it is found
    lm: Any = get_model("hf").create_from_arg_obj(told, options)
    lm.model.generation_config = GenerationConfig.from_pretrained(neutral)
    return lm


def _batch_size(lm: Any, job: dict[str, Any], manager: TaskManager) -> dict[str, Any]:
    """Find the batch size where it is left open. vLLM has no such thing: it fills its passes as it goes."""
    if job["batch_size"] != "auto" or job["backend"] == "vllm":
        return {"size": job["batch_size"]}
    asked = job["measure"]
    tasks = prepare(manager.load(asked["tasks"])["tasks"], job["shots"], job["limits"]["max_gen_toks"])
    options = {"limit": job["limits"]["questions"], **_chat(job)}
    options["chat_template"] = lm.apply_chat_template if job["chat_template"] else None
    options["tokenizer_name"] = lm.tokenizer_name if job["chat_template"] else ""
    found = settle(lm, tasks, asked["kind"], Path(asked["file"]), options)
    lm.batch_size_per_gpu = found.size
    return {"size": found.size, "longest": found.tokens, "device": found.device}


def _chat(job: dict[str, Any]) -> dict[str, Any]:
    """With a chat template, worked examples are turns of the conversation, as lm-eval has it by default."""
    return {"apply_chat_template": job["chat_template"], "fewshot_as_multiturn": job["chat_template"]}


def _evaluate(
    lm: Any, unit: dict[str, str], job: dict[str, Any], manager: TaskManager, batch_size: dict[str, Any]
) -> Any:
    """Run one unit; lm-eval's results with its tracker, or None for a rank that only helps."""
    tracker = EvaluationTracker(output_path=str(_partial(unit) / RESULTS))
    max_gen_toks = job["limits"]["max_gen_toks"]
    results: Any = simple_evaluate(
        model=lm,
        model_args=job["models"][unit["model"]],
        tasks=[unit["task"]],
        num_fewshot=job["shots"],
        batch_size=batch_size["size"],
        limit=job["limits"]["questions"],
        gen_kwargs={"max_gen_toks": max_gen_toks} if max_gen_toks else None,
        cache_requests=True,
        evaluation_tracker=tracker,
        task_manager=manager,
        **_chat(job),
    )
    if results is None:
        return None
    _check_finite(unit["task"], results["samples"][unit["task"]])
    return results | {"tracker": tracker}


def _check_finite(task: str, samples: list[dict[str, Any]]) -> None:
    """Refuse log-probabilities that are no numbers: lm-eval takes the first choice for right then, without a word."""
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
    job: dict[str, Any], name: str, results: dict[str, Any], batch_size: dict[str, Any], warnings: list[dict[str, Any]]
) -> dict[str, Any]:
    """How the answers were made, as far as lm-eval's own files do not say it."""
    folder = Path(job["models"][name]["pretrained"])
    ((_, config),) = results["configs"].items()
    settings: dict[str, Any] = {"batch_size": batch_size, "chat_template": job["chat_template"], "warnings": warnings}
    if config["output_type"] == "generate_until":
        settings["generation"] = config["generation_kwargs"] | {"end_tokens": end_tokens(folder)}
        settings["generation_config_unused"] = unused(folder)
    return settings


def _partial(unit: dict[str, str]) -> Path:
    out = Path(unit["out"])
    return out.with_name(f".{out.name}.partial")


def _write(
    unit: dict[str, str], results: dict[str, Any], notes: list[Any], settings: dict[str, Any], log: Path
) -> None:
    """Write a unit's files to its folder, all of them or none."""
    partial = _partial(unit)
    remove(partial)
    (samples,) = results["samples"].values()
    _have_written(results.pop("tracker"), results, unit["task"], partial)
    write_answers(samples, notes, partial / ANSWERS)
    write_json(partial / SETTINGS, settings)
    (partial / LOG).write_bytes(log.read_bytes())
    for path in list_files(partial):
        fsync_path(path)
    partial.rename(unit["out"])


def _have_written(tracker: EvaluationTracker, results: dict[str, Any], task: str, folder: Path) -> None:
    """Have lm-eval write its two files, and take the date out of their names."""
    samples = results.pop("samples")
    tracker.save_results_aggregated(results, samples)
    tracker.save_results_samples(task, samples[task])
    written = list_files(folder)
    # lm-eval's tracker reports a failure to write as a warning only.
    if len(written) != 2:
        raise OSError(f"lm-eval wrote {len(written)} of 2 files to {folder}")
    for path in written:
        path.rename(folder / (RESULTS if path.suffix == ".json" else SAMPLES))
