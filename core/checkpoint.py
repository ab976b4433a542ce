"""Where Megatron keeps the checkpoints of a run."""

from pathlib import Path

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


def newest(root: Path) -> Path | None:
    """The folder of the newest checkpoint under a root, or None where `root` is no checkpoint root."""
    tracker = root / TRACKER
    if not tracker.is_file():
        return None
    named = tracker.read_text(encoding="utf-8").strip()
    return root / (named if named == RELEASE else f"iter_{int(named):07d}")
