"""Where Megatron keeps the checkpoints of a run."""

import re
from pathlib import Path
from typing import Any

from . import log
from .dcp import shortened
from .errors import UserError
from .files import read_bytes, read_object
from .jsonio import JsonObject

IDENTITY = "run.json"
"""File of a run's folder that says what it is a run of; there as soon as the run has begun."""
CHECKPOINTS = "checkpoints"
"""Folder of a run that is the root of its checkpoints."""
TRACKER = "latest_checkpointed_iteration.txt"
"""File of a checkpoint root that names its newest whole checkpoint."""
RELEASE = "release"
"""Megatron's name for weights that belong to no iteration."""
SEAL = "pdapt.json"
"""File of a run's checkpoint that says where it comes from, and holds the hashes of its other files."""
HF = "hf"
"""Folder beside the checkpoints that keeps the Hugging Face side: configuration and tokenizer."""
_ITERATION = re.compile(rb"\d{1,10}")
_TRACKER_BYTES = 100


def read_seal(checkpoint: Path) -> dict[str, Any] | None:
    """A checkpoint's seal; None where it has none.

    Returns:
        `{"step", "provenance", "files": {name: SHA-256}, "weights": {name: SHA-256}}`, the last of each file's
        `weight_spans`; a seal that was written by an earlier version has no `weights`.

    Raises:
        UserError: it is damaged.
    """
    path = checkpoint / SEAL
    if not path.is_file():
        return None
    try:
        seal = read_object(path)
        seal.integer("step"), seal.object("provenance"), seal.texts("files")
        if "weights" in seal.values:
            seal.texts("weights")
    except UserError as error:
        raise damaged_seal(checkpoint, error) from None
    return seal.values


def damaged_seal(checkpoint: Path, error: UserError) -> UserError:
    """The error that a checkpoint's seal is damaged, of one that tells where."""
    return UserError(
        f"{SEAL} of {checkpoint.name} is damaged: {error.what}", where=error.where, mend="take another checkpoint"
    )


def read_provenance(checkpoint: Path) -> JsonObject | None:
    """The run that a checkpoint is of, as its seal states it; None where it has none.

    Raises:
        UserError: the seal is damaged.
    """
    seal = read_seal(checkpoint)
    return None if seal is None else JsonObject(seal["provenance"], f"{checkpoint / SEAL}: provenance")


def root_of(path: Path) -> Path:
    """The root of the checkpoints: of a run the folder that it saves them in, else the folder itself."""
    return path / CHECKPOINTS if (path / CHECKPOINTS).is_dir() else path


def newest(root: Path) -> Path | None:
    """The folder of the newest checkpoint under a root, or of a run its newest whole one.

    Args:
        root: where a tracker says which is the newest; or a run's folder.

    Returns:
        None where there is none.

    Raises:
        UserError: the tracker says nothing that Megatron writes.
    """
    if (root / CHECKPOINTS).is_dir():
        return _newest_whole(root / CHECKPOINTS)
    tracker = root / TRACKER
    if not tracker.is_file():
        return None
    named = newest_named(tracker)
    return root / (RELEASE if named is None else f"iter_{named:07d}")


def newest_named(tracker: Path) -> int | None:
    """The iteration that a tracker names; None for weights that belong to none (`release`).

    Raises:
        UserError: it says nothing that Megatron writes.
    """
    named = read_bytes(tracker, _TRACKER_BYTES).strip()
    if named == RELEASE.encode():
        return None
    if not _ITERATION.fullmatch(named):
        raise UserError(
            f"{TRACKER} says {named.decode('utf-8', 'replace')!r}",
            where=str(tracker),
            allowed=f"the number of an iteration, or {RELEASE}",
            mend="write the number of the newest whole checkpoint (iter_…) into it, or give that checkpoint itself",
        )
    return int(named)


def _newest_whole(root: Path) -> Path | None:
    """The newest checkpoint of a run that was finished and has kept its files, whatever the tracker says."""
    finished = {path.parent for name in ("metadata.json", SEAL) for path in root.glob(f"iter_*/{name}")}
    for path in sorted(finished, reverse=True):
        try:
            wrong = shortened(path)
        except UserError as error:
            wrong = error.what
        if not wrong:
            return path
        log.warn(f"{path.name} is damaged ({wrong}): the one before it is taken")
    return None
