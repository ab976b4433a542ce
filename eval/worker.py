"""The process in which lm-eval runs: `python -m pdapt.eval.worker JOB.json`, started in the folder of tasks."""

import gc
import os
import sys
import threading
import time
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.registry import get_model
from lm_eval.evaluator import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from ..core.files import fsync_path, list_files, read_json, remove
from .answers import Notes, write_answers
from .process import ANSWERS, RESULTS, SAMPLES


def main() -> None:
    """Do the job's units; one line on standard output for each that is finished."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job = read_json(Path(sys.argv[1]))
    manager = TaskManager(include_path=".", include_defaults=False)
    for name, units in groupby(job["units"], key=lambda unit: unit["model"]):
        lm = _load(job, name)
        notes = Notes(lm)
        for unit in units:
            start = time.monotonic()
            if _evaluate(lm, notes, unit, job, manager):
                print(f"{name}: {unit['task']} in {time.monotonic() - start:.1f} s", flush=True)
        del lm, notes
        gc.collect()
        torch.cuda.empty_cache()


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _load(job: dict[str, Any], name: str) -> Any:
    options = {"batch_size": job["batch_size"]}
    if job["backend"] == "hf":
        options["device"] = "cuda" if torch.cuda.is_available() else "cpu"
    return get_model(job["backend"]).create_from_arg_obj(job["models"][name], options)


def _evaluate(lm: Any, notes: Notes, unit: dict[str, str], job: dict[str, Any], manager: TaskManager) -> bool:
    """Run one unit and write its files to its folder, all of them or none; False for a rank that only helps."""
    out = Path(unit["out"])
    partial = out.with_name(f".{out.name}.partial")
    tracker = EvaluationTracker(output_path=str(partial / RESULTS))
    max_gen_toks = job["limits"]["max_gen_toks"]
    results: Any = simple_evaluate(
        model=lm,
        model_args=job["models"][unit["model"]],
        tasks=[unit["task"]],
        num_fewshot=job["shots"],
        batch_size=job["batch_size"],
        limit=job["limits"]["questions"],
        gen_kwargs={"max_gen_toks": max_gen_toks} if max_gen_toks else None,
        cache_requests=True,
        evaluation_tracker=tracker,
        task_manager=manager,
    )
    found = lm.gather_object(notes.take())
    if results is None:
        return False
    remove(partial)
    (samples,) = results["samples"].values()
    _write(tracker, results, unit["task"], partial)
    write_answers(samples, found, partial / ANSWERS)
    for path in list_files(partial):
        fsync_path(path)
    partial.rename(out)
    return True


def _write(tracker: EvaluationTracker, results: dict[str, Any], task: str, folder: Path) -> None:
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


if __name__ == "__main__":
    main()
