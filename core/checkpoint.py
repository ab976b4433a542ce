"""Where Megatron keeps the checkpoints of a run."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import log
from .dcp import METADATA, shortened
from .errors import UserError
from .files import read_bytes
from .jsonio import JsonObject
from .self_hash import read_hashed

IDENTITY = "run.json"
"""File of a run's folder that identifies the run; it is there as soon as the run has begun."""
CHECKPOINTS = "checkpoints"
"""Folder of a run that is the root of its checkpoints."""
TRACKER = "latest_checkpointed_iteration.txt"
"""File of a checkpoint root that names its newest complete checkpoint."""
RELEASE = "release"
"""Megatron's name for weights that belong to no iteration."""
HASHES_FILE = "pdapt.json"
"""File of a run's checkpoint that says where it comes from, and holds the hashes of its other files."""
NEMO2 = "weights"
"""NeMo 2's folder of a checkpoint that holds its tensors; its other files are beside it."""
HF = "hf"
"""Folder beside the checkpoints that keeps the Hugging Face side: configuration and tokenizer."""
_ITERATION = re.compile(rb"\d{1,10}")
_TRACKER_BYTES = 100


@dataclass(frozen=True)
class HashesRecord:
    """Contents of a checkpoint's HASHES_FILE.

    Attributes:
        step: step after which the checkpoint was saved.
        provenance: the run that saved it: recipe, inputs, versions, code, command and device.
        files: name of a file -> its SHA-256.
        weights: name of a file -> SHA-256 of the weights in it; empty if an earlier version wrote the record.
    """

    step: int
    provenance: dict[str, Any]
    files: dict[str, str]
    weights: dict[str, str] = field(default_factory=dict)


def read_hashes_record(checkpoint: Path) -> HashesRecord | None:
    """Read a checkpoint's record of its hashes; None if it has none.

    Raises:
        UserError: the record is damaged.
    """
    path = checkpoint / HASHES_FILE
    if not path.is_file():
        return None
    try:
        record = read_hashed(path)
        return HashesRecord(
            step=record.integer("step"),
            provenance=record.object("provenance").values,
            files=record.texts("files"),
            weights=record.texts("weights") if "weights" in record.values else {},
        )
    except UserError as error:
        raise damaged_hashes_record(checkpoint, error) from None


def damaged_hashes_record(checkpoint: Path, error: UserError) -> UserError:
    """Turn an error in a checkpoint's record of hashes into one that names the checkpoint."""
    return UserError(
        f"{HASHES_FILE} of {checkpoint.name} is damaged: {error.what}",
        where=error.where,
        fix="take another checkpoint",
    )


def read_provenance(checkpoint: Path) -> JsonObject | None:
    """The provenance that a checkpoint's record of hashes states; None if it has no record.

    Raises:
        UserError: that record is damaged.
    """
    record = read_hashes_record(checkpoint)
    return None if record is None else JsonObject(record.provenance, f"{checkpoint / HASHES_FILE}: provenance")


def root_of(path: Path) -> Path:
    """The folder that holds the checkpoints: for a run the folder in which it saves them, else the folder itself."""
    return path / CHECKPOINTS if (path / CHECKPOINTS).is_dir() else path


def newest(root: Path) -> Path | None:
    """Find the folder of the newest checkpoint under a root; for a run, of its newest complete one.

    Args:
        root: a checkpoint root, whose tracker names the newest one; or a run's folder; or one checkpoint of NeMo 2.

    Returns:
        None if there is none.

    Raises:
        UserError: the tracker's content is not what Megatron writes.
    """
    if (root / CHECKPOINTS).is_dir():
        return _newest_whole(root / CHECKPOINTS)
    if (root / NEMO2 / METADATA).is_file():
        return root / NEMO2
    tracker = root / TRACKER
    if not tracker.is_file():
        return None
    named = newest_named(tracker)
    return root / (RELEASE if named is None else f"iter_{named:07d}")


def newest_named(tracker: Path) -> int | None:
    """Read the iteration that a tracker names; None for weights that belong to none (`release`).

    Raises:
        UserError: the tracker's content is not what Megatron writes.
    """
    named = read_bytes(tracker, _TRACKER_BYTES).strip()
    if named == RELEASE.encode():
        return None
    if not _ITERATION.fullmatch(named):
        raise UserError(
            f"{TRACKER} holds {named.decode('utf-8', 'replace')!r}",
            where=str(tracker),
            allowed=f"the number of an iteration, or {RELEASE}",
            fix="write the number of the newest complete checkpoint (iter_…) into it, or give that checkpoint itself",
        )
    return int(named)


def _newest_whole(root: Path) -> Path | None:
    """Find the newest checkpoint of a run that is complete and still has its files, whatever the tracker says."""
    finished = {path.parent for name in ("metadata.json", HASHES_FILE) for path in root.glob(f"iter_*/{name}")}
    for path in sorted(finished, reverse=True):
        try:
            wrong = shortened(path)
        except UserError as error:
            wrong = error.what
        if not wrong:
            return path
        log.warn(f"{path.name} is damaged ({wrong}): using the checkpoint before it")
    return None
