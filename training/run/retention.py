"""Which checkpoints of a run are kept, and the removal of the others."""

import shutil
from pathlib import Path

from ...core.checkpoint import HASHES_FILE
from .folder import checkpoints, iteration


def retain(out: Path, keep_every: int | None, keep_last: int) -> list[Path]:
    """Remove the checkpoints that need not be kept, but only if they are older than the newest one with hashes.

    Args:
        out: run folder.
        keep_every: checkpoints at multiples of this step are kept; None keeps all.
        keep_last: how many of the others are kept.

    Returns:
        The removed checkpoints.
    """
    there = checkpoints(out)
    while there and not (there[-1] / HASHES_FILE).is_file():
        there.pop()
    if keep_every is None or not there:
        return []
    others = [path for path in there[:-1] if iteration(path) % keep_every]
    # The newest counts as one of the last unless it is kept anyway.
    more = keep_last - (iteration(there[-1]) % keep_every > 0)
    gone = others[: max(0, len(others) - max(0, more))]
    for path in gone:
        for name in (HASHES_FILE, "metadata.json"):  # first: what an interruption leaves is not taken for a checkpoint
            (path / name).unlink(missing_ok=True)
        shutil.rmtree(path)
    return gone
