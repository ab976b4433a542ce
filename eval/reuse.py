"""What of an earlier evaluation still holds: results of the same model on the same task, asked in the same way."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core import log
from ..core.files import remove
from ..core.integrity import AGAIN, check, stage_files
from ..core.manifest import Manifest, digest

MODEL, TASK = "model/", "task/"
"""How the stage's manifest names its inputs of each kind."""
ASKED = ("limit", "batch_size", "max_length")
"""Options that decide a result."""


def task_fingerprints(tasks: Path, names: list[str]) -> dict[str, str]:
    """Input name -> fingerprint of each task's own files, in a folder made by `build_tasks`."""
    outputs = Manifest.read(tasks).outputs
    files = {name: [f"{name}.yaml", f"{name}.jsonl"] for name in names}
    return {f"{TASK}{name}": digest([outputs[file] for file in files[name]]) for name in names}


def take_over(earlier: Path, work: Path, inputs: Mapping[str, str], config: Mapping[str, Any]) -> list[str]:
    """Copy `<model>/<task>` of an earlier evaluation where model, task and options are the same.

    Args:
        earlier: folder of a finished evaluation.
        work: folder of the one that is being made; results that it has already are left alone.
        inputs: fingerprints of the new one's inputs.
        config: the new one's options.

    Returns:
        What was taken, as `<model>/<task>`.
    """
    before = Manifest.read(earlier)
    if any(before.config.get(name) != config[name] for name in ASKED):
        return []
    same = {name for name, value in inputs.items() if before.inputs.get(name) == value}
    models, tasks = (
        [name.removeprefix(kind) for name in sorted(same) if name.startswith(kind)] for kind in (MODEL, TASK)
    )
    units = [f"{model}/{task}" for model in models for task in tasks]
    check("eval", stage_files([earlier / unit for unit in units if (earlier / unit).is_dir()]), mend=AGAIN)
    taken = []
    for unit in units:
        if (earlier / unit).is_dir() and not (work / unit).exists():
            partial = (work / unit).with_name(f".{Path(unit).name}.copy")
            remove(partial)
            shutil.copytree(earlier / unit, partial)
            partial.rename(work / unit)
            taken.append(unit)
    if taken:
        log.info(f"eval: {len(taken)} results of the evaluation before still hold")
    return taken
