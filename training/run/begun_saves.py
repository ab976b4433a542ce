"""The saves that a run has begun: it gives its provenance to no other checkpoint that lies among its own."""

import os
from pathlib import Path

from ...core.checkpoint import CHECKPOINTS, HASHES_FILE
from ...core.errors import UserError
from ...core.files import fsync_path, read_bytes
from .folder import iteration, iterations
from .journal import JOURNAL_FILE, Event, read_history

BEGUN_SAVES = "begun-saves.txt"
"""File of a run's folder: the step of each save, a line each, written before the first byte of the checkpoint."""
DIGITS = 10
_MOST_BYTES = 2**24


def note_save(out: Path, step: int) -> None:
    """Write down that the run begins to save a checkpoint of a step; it is on the disk before the checkpoint is."""
    with (out / BEGUN_SAVES).open("a", encoding="ascii") as file:
        file.write(f"\n{step:0{DIGITS}d}\n")  # a line of its own, wherever an earlier one was cut off
        file.flush()
        os.fsync(file.fileno())
    fsync_path(out)


def begun_saves(out: Path) -> set[int]:
    """Steps of which the run has begun to save a checkpoint; of an older run, whose file is missing, each step done.

    Raises:
        UserError: the file is too long, or something else than a file.
    """
    path = out / BEGUN_SAVES
    if not path.is_file():
        return {row["step"] for row in read_history(out / JOURNAL_FILE).rows if row["event"] == Event.STEP}
    # A line that was cut off is shorter: the checkpoint was not begun then.
    return {int(line) for line in read_bytes(path, _MOST_BYTES).split(b"\n") if line.isdigit() and len(line) == DIGITS}


def check_own(out: Path) -> None:
    """Check that all checkpoints without hashes are the run's own, before one is hashed, moved or removed.

    Raises:
        UserError: one is not; it stays as it is.
    """
    unhashed = [path for path in iterations(out / CHECKPOINTS) if not (path / HASHES_FILE).is_file()]
    begun = begun_saves(out) if unhashed else set[int]()
    foreign = [path for path in unhashed if iteration(path) not in begun]
    if foreign:
        raise UserError(
            f"{', '.join(path.name for path in foreign)}: not saved by this run, and without hashes",
            where=str(foreign[0]),
            allowed="checkpoints that this run has saved",
            fix="move it elsewhere; a run of its own can start from its weights with --base",
        )
