"""Results of an earlier evaluation that are still valid: the same model, task and options."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...core import log
from ...core.files import remove
from ...core.integrity import AGAIN, check, stage_files
from ...core.log import counted
from ...core.manifest import Manifest
from ...core.self_hash import digest

MODEL_INPUT, TASK_INPUT = "model/", "task/"
"""Beginnings of the names of inputs in the stage's manifest."""
RESULT_OPTIONS = ("limit", "batch_size", "max_length")
"""Options that decide a result."""


def task_fingerprints(tasks: Path, names: list[str]) -> dict[str, str]:
    """Input name -> fingerprint of each task's own files, in a folder made by `build_tasks`."""
    outputs = Manifest.read(tasks).outputs
    files = {name: [f"{name}.yaml", f"{name}.jsonl"] for name in names}
    return {f"{TASK_INPUT}{name}": digest([outputs[file] for file in files[name]]) for name in names}


def reuse_results(earlier: Path, work: Path, inputs: Mapping[str, str], config: Mapping[str, Any]) -> list[str]:
    """Copy `<model>/<task>` of an earlier evaluation where model, task and options are the same.

    Args:
        earlier: folder of a finished evaluation.
        work: folder of the new one; results that it has already are kept.
        inputs: fingerprints of the new one's inputs.
        config: the new one's options.

    Returns:
        The copied results, as `<model>/<task>`.
    """
    manifest = Manifest.read(earlier)
    if any(manifest.config.get(name) != config[name] for name in RESULT_OPTIONS):
        return []
    same = {name for name, value in inputs.items() if manifest.inputs.get(name) == value}
    models, tasks = (
        [name.removeprefix(kind) for name in sorted(same) if name.startswith(kind)]
        for kind in (MODEL_INPUT, TASK_INPUT)
    )
    names = [f"{model}/{task}" for model in models for task in tasks]
    check("eval", stage_files([earlier / name for name in names if (earlier / name).is_dir()]), fix=AGAIN)
    copied = []
    for name in names:
        if (earlier / name).is_dir() and not (work / name).exists():
            partial = (work / name).with_name(f".{Path(name).name}.copy")
            remove(partial)
            shutil.copytree(earlier / name, partial)
            partial.rename(work / name)
            copied.append(name)
    if copied:
        log.info(f"eval: {counted(len(copied), 'result is', 'results are')} still valid from the earlier evaluation")
    return copied
