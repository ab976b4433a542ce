"""A training run's folder: the names of its files, and what is read from them."""

import os
import re
from pathlib import Path

from ...core.checkpoint import CHECKPOINTS, HASHES_FILE
from ...core.errors import UserError
from ...core.files import read_list, read_objects
from ...core.jsonio import JsonObject

METRICS = "metrics.jsonl"
PROVENANCE = "provenance.json"
"""The run's provenance, which goes into each checkpoint's `pdapt.json`."""
STOP_AT = "--stop-at"
"""The reason of a stop that was asked for when the run was started."""
SKIPPED = "skipped.json"
"""Steps whose batches are left out because the guard went back to an earlier checkpoint."""
JOBS = "slurm"
"""Folder of a batch script's notes on the run's starts; it may exist before the run."""
ACHIEVED = "achieved.json"
"""How many tokens of each data set the run has read after each checkpoint's step."""


def checkpoints(out: Path) -> list[Path]:
    """List the run's complete checkpoints, oldest first: those with `metadata.json`, or with hashes."""
    folders = iterations(out / CHECKPOINTS)
    return [folder for folder in folders if any((folder / name).is_file() for name in ("metadata.json", HASHES_FILE))]


def iterations(root: Path) -> list[Path]:
    """List the checkpoint folders under a root, complete or not, oldest first; skip folders with other names."""
    return sorted(path for path in root.glob("iter_*") if re.fullmatch(r"iter_[0-9]{1,10}", path.name))


def skipped(out: Path) -> list[int]:
    """Read the steps whose batches the run leaves out because the guard went back to an earlier checkpoint.

    Raises:
        UserError: the file that says so is damaged.
    """
    return read_list(out / SKIPPED, int) if os.path.lexists(out / SKIPPED) else []


def read_achieved(out: Path, step: int) -> dict[str, JsonObject]:
    """Read how many `tokens` and `epochs` of each data set the run has read after a checkpoint's step.

    Raises:
        UserError: nothing says so, or what does is damaged.
    """
    for row in read_objects(out / ACHIEVED):
        if row.integer("step") == step:
            sources = row.objects("sources")
            for source in sources.values():
                source.integer("tokens"), source.number("epochs")
            return sources
    raise UserError(f"{ACHIEVED} has no entry for step {step}", where=str(out / ACHIEVED))


def iteration(checkpoint: Path) -> int:
    """The step after which a checkpoint was saved."""
    return int(checkpoint.name.removeprefix("iter_"))
