"""A training run's folder: what it is a run of, and what is read out of it."""

import os
import re
from pathlib import Path

from ...core.checkpoint import CHECKPOINTS, HASHES_FILE
from ...core.errors import UserError
from ...core.files import read_list, read_objects
from ...core.jsonio import JsonObject

METRICS = "metrics.jsonl"
PROVENANCE = "provenance.json"
"""Provenance of the run, which goes into each checkpoint's `pdapt.json`."""
STOP_AT = "--stop-at"
"""The reason of a stop that was asked for when the run was started."""
SKIPPED = "skipped.json"
"""Steps whose batches are left out: the guard went back from them."""
JOBS = "slurm"
"""Folder of what a batch script remembers of a run's starts; it may be there before the run."""
ACHIEVED = "achieved.json"
"""Which tokens of which data set the run has read after each checkpoint's step."""


def checkpoints(out: Path) -> list[Path]:
    """The run's whole checkpoints, oldest first. One still being written has neither `metadata.json` nor hashes yet."""
    folders = iterations(out / CHECKPOINTS)
    return [folder for folder in folders if any((folder / name).is_file() for name in ("metadata.json", HASHES_FILE))]


def iterations(root: Path) -> list[Path]:
    """The folders of checkpoints under a root, whole or not, oldest first; what others are called is none of them."""
    return sorted(path for path in root.glob("iter_*") if re.fullmatch(r"iter_[0-9]{1,10}", path.name))


def skipped(out: Path) -> list[int]:
    """Steps whose batches the run leaves out, because the guard went back from them.

    Raises:
        UserError: the file that says so is damaged.
    """
    return read_list(out / SKIPPED, int) if os.path.lexists(out / SKIPPED) else []


def read_achieved(out: Path, step: int) -> dict[str, JsonObject]:
    """Read the `tokens` and `epochs` of each data set that the run has read after the step of a checkpoint.

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
    """The step a checkpoint was saved after."""
    return int(checkpoint.name.removeprefix("iter_"))
