"""The saves that a run has begun, so that it gives its provenance to no foreign checkpoint among its own."""

import os
import re
from pathlib import Path

from ...core.checkpoint import CHECKPOINTS, HASHES_FILE
from ...core.errors import UserError
from ...core.files import fsync_path, read_bytes
from ...recipes.schema import Engine
from .folder import iteration, iterations
from .journal import JOURNAL_FILE, Event, read_history

BEGUN_SAVES = "begun-saves.txt"
"""File in a run's folder: one line with step and engine for each save, written before the checkpoint's first byte."""
LAST_FILE = {Engine.NEMO: "run_config.yaml"}
"""Engine -> the file that it writes last into a checkpoint, after all of Megatron's, and whole or not at all."""
DIGITS = 10
_LINE = re.compile(rf"([0-9]{{{DIGITS}}})(?: ([a-z]+))?")
_MOST_BYTES = 2**24


def note_save(out: Path, step: int, engine: Engine) -> None:
    """Record that the run begins to save a step's checkpoint; the record is on disk before the checkpoint."""
    with (out / BEGUN_SAVES).open("a", encoding="ascii") as file:
        file.write(f"\n{step:0{DIGITS}d} {engine}\n")  # a line of its own, wherever an earlier one was cut off
        file.flush()
        os.fsync(file.fileno())
    fsync_path(out)


def begun_saves(out: Path) -> dict[int, Engine]:
    """Step of each save that the run has begun -> the engine that began it last.

    An older run has no such file, or one that names no engine: its engine was Megatron, and each finished step counts.

    Raises:
        UserError: the file is too long, or something else than a file.
    """
    path = out / BEGUN_SAVES
    if not path.is_file():
        rows = read_history(out / JOURNAL_FILE).rows
        return {row["step"]: Engine.MEGATRON for row in rows if row["event"] == Event.STEP}
    # A line that was cut off does not count: its checkpoint had not been begun.
    lines = map(_LINE.fullmatch, read_bytes(path, _MOST_BYTES).decode("ascii", "replace").split("\n"))
    named = [(line[1], line[2] or Engine.MEGATRON) for line in lines if line]
    return {int(step): Engine(engine) for step, engine in named if engine in list(Engine)}


def is_cut_off(checkpoint: Path, engine: Engine | None) -> bool:
    """Whether a checkpoint lacks the file that its engine writes last; one with hashes was complete."""
    last = LAST_FILE.get(engine or Engine.MEGATRON)
    return last is not None and not any((checkpoint / name).is_file() for name in (last, HASHES_FILE))


def check_own(out: Path) -> None:
    """Check that all checkpoints without hashes are the run's own, before one is hashed, moved or removed.

    Raises:
        UserError: one is not; it stays as it is.
    """
    unhashed = [path for path in iterations(out / CHECKPOINTS) if not (path / HASHES_FILE).is_file()]
    begun = begun_saves(out) if unhashed else {}
    foreign = [path for path in unhashed if iteration(path) not in begun]
    if foreign:
        raise UserError(
            f"{', '.join(path.name for path in foreign)} was not saved by this run, and has no hashes",
            where=str(foreign[0]),
            allowed="checkpoints that this run has saved",
            fix="move it elsewhere; another run can start from its weights with --base",
        )
