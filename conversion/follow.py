"""Follows a run: exports each checkpoint when it is complete, in a process beside the one that trains."""

import time
from collections.abc import Callable
from pathlib import Path

from ..core import log
from ..core.checkpoint import CHECKPOINTS, HASHES_FILE, IDENTITY
from ..core.errors import UserError
from ..core.files import read_list, remove, write_json
from ..core.manifest import MANIFEST_FILE
from ..core.system.lock import locked
from .convert import export_hf

DONE = "followed.json"
"""File of the names of checkpoints that need not be exported again, even if their exports are gone."""


def own_name(checkpoint: Path) -> str:
    """The name of a checkpoint's folder."""
    return checkpoint.name


def follow(
    run: Path,
    out: Path,
    *,
    keep_last: int | None = None,
    poll: float = 10.0,
    once: bool = False,
    then: Callable[[Path], None] | None = None,
    name: Callable[[Path], str] = own_name,
    verify: bool = True,
) -> list[str]:
    """Export every checkpoint of a run, oldest first, until the run is finished.

    A checkpoint is exported once the hashes of its files are written: then it is complete. After a kill at any moment,
    the same command continues: unfinished exports are made again, finished ones are not.

    Args:
        run: run folder of `pdapt train`; it may be training, or be interrupted.
        out: folder that gets a Hugging Face folder for each checkpoint.
        keep_last: how many of these folders are kept; None for all.
        poll: seconds between two looks at the run.
        once: end when all present checkpoints are exported.
        then: called with each exported folder, before the next is exported; called again if it was interrupted.
        name: gives the name of a checkpoint's Hugging Face folder; by default the checkpoint's own.
        verify: whether a checkpoint's files are compared with the hashes that were written with them.

    Returns:
        Names of the checkpoints that this call exported.

    Raises:
        UserError: there is no run, another process follows it to the same place, or a checkpoint cannot be exported.
    """
    if not (run / CHECKPOINTS).is_dir() and not (run / IDENTITY).is_file():
        raise UserError(
            f"{run} is not the folder of a run", where="RUN", allowed="the --out of `pdapt train`, once it has begun"
        )
    if keep_last is not None and keep_last < 1:
        raise UserError(f"keep_last is {keep_last}", where="--keep-last", allowed="1 or more")
    out.mkdir(parents=True, exist_ok=True)
    exported: list[str] = []
    with locked(out, f"following {run} to"):
        while True:
            finished = (run / MANIFEST_FILE).is_file()  # read before the checkpoints: none comes after it
            for checkpoint in _waiting(run, out):
                if _export(checkpoint, out / name(checkpoint), then, verify=verify):
                    exported.append(checkpoint.name)
                _note(out, checkpoint.name)
                _retain(out, keep_last, name)
            if finished or once:
                return exported
            time.sleep(poll)


def _waiting(run: Path, out: Path) -> list[Path]:
    """Hashed checkpoints that are not exported yet, oldest first."""
    done = _done(out)
    return [
        path.parent
        for path in sorted((run / CHECKPOINTS).glob(f"iter_*/{HASHES_FILE}"))
        if path.parent.name not in done
    ]


def _export(checkpoint: Path, folder: Path, then: Callable[[Path], None] | None, *, verify: bool) -> bool:
    """Export a checkpoint; say so if the run removed it first."""
    try:
        export_hf(checkpoint, folder, verify=verify)
    except (UserError, FileNotFoundError):
        if (checkpoint / HASHES_FILE).is_file():
            raise
        log.warn(f"follow: {checkpoint.name} was removed by the run before it was exported")
        remove(folder.with_name(f".{folder.name}.partial"))
        return False
    if then is not None:
        then(folder)
    return True


def _done(out: Path) -> list[str]:
    return read_list(out / DONE, str) if (out / DONE).is_file() else []


def _note(out: Path, name: str) -> None:
    write_json(out / DONE, [*_done(out), name])


def _retain(out: Path, keep_last: int | None, name: Callable[[Path], str]) -> None:
    """Remove the oldest of the exports that are recorded as done."""
    folders = [out / name(Path(checkpoint)) for checkpoint in _done(out)]
    there = [folder for folder in folders if (folder / MANIFEST_FILE).is_file()]
    for folder in there[: -keep_last if keep_last else 0]:
        log.info(f"follow: {folder.name} is not one of the last {keep_last}: removed")
        (folder / MANIFEST_FILE).unlink()  # first: after an interruption the rest is not taken for complete
        remove(folder)
