"""Where Megatron keeps the checkpoints of a run."""

from pathlib import Path
from typing import Any

from .errors import UserError
from .files import read_json

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


def read_seal(checkpoint: Path) -> dict[str, Any] | None:
    """A checkpoint's seal: `{"step", "provenance", "files": {name: SHA-256}}`; None where it has none.

    Raises:
        UserError: it is damaged.
    """
    path = checkpoint / SEAL
    if not path.is_file():
        return None
    seal = read_json(path)
    whole = isinstance(seal, dict) and {"step", "provenance", "files"} <= seal.keys()
    if not whole or not isinstance(seal["provenance"], dict) or not isinstance(seal["files"], dict):
        raise UserError(f"{SEAL} of {checkpoint.name} is no seal", where=str(path), mend="take another checkpoint")
    return seal


def newest(root: Path) -> Path | None:
    """The folder of the newest checkpoint under a root, or None where `root` is no checkpoint root."""
    tracker = root / TRACKER
    if not tracker.is_file():
        return None
    named = tracker.read_text(encoding="utf-8").strip()
    return root / (named if named == RELEASE else f"iter_{int(named):07d}")
