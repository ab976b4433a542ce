"""The process in which lm-eval runs: `python -m pdapt.eval.worker JOB.json`, started in the folder of tasks."""

import gc
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import torch
from lm_eval.evaluator import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.tasks import TaskManager

from ..core.files import fsync_path, list_files, read_json, remove


def main() -> None:
    """Evaluate the job's models one after the other; one line on standard output for each that is finished."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    job = read_json(Path(sys.argv[1]))
    manager = TaskManager(include_path=".", include_defaults=False)
    for name, arguments in job["models"].items():
        start = time.monotonic()
        _evaluate(arguments, Path(job["out"]) / name, job, manager)
        print(f"{name} evaluated in {time.monotonic() - start:.1f} s", flush=True)
        gc.collect()
        torch.cuda.empty_cache()


def _end_with_parent() -> None:
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


def _evaluate(arguments: dict[str, Any], out: Path, job: dict[str, Any], manager: TaskManager) -> None:
    """Run one model and write lm-eval's own files to `out`, all of them or none."""
    partial = out.with_name(f".{out.name}.partial")
    remove(partial)
    tracker = EvaluationTracker(output_path=str(partial / "results.json"))
    results: Any = simple_evaluate(
        model="hf",
        model_args=arguments,
        tasks=job["tasks"],
        batch_size=job["batch_size"],
        device="cuda" if torch.cuda.is_available() else "cpu",
        limit=job["limit"],
        evaluation_tracker=tracker,
        task_manager=manager,
    )
    assert results is not None, "this process is the only rank"
    samples = results.pop("samples")
    tracker.save_results_aggregated(results, samples)
    for task, rows in samples.items():
        tracker.save_results_samples(task, rows)
    _put_in_place(partial, out, files=1 + len(samples))


def _put_in_place(partial: Path, out: Path, files: int) -> None:
    written = list_files(partial)
    # lm-eval's tracker reports a failure to write as a warning only.
    if len(written) != files:
        raise OSError(f"lm-eval wrote {len(written)} of {files} files to {partial}")
    for path in written:
        fsync_path(path)
    partial.rename(out)


if __name__ == "__main__":
    main()
