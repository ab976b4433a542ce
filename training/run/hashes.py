"""Hashes and provenance of a checkpoint, from which a run recovers after damage.

Megatron can hash, too, but on one rank and while the others wait: a minute for each save of an 8B model. Here a
separate process does it while training continues (`python -m pdapt.training.run.hashes RUN … STEP`), and then removes
what `retention.py` does not keep.
"""

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from ...core import log
from ...core.checkpoint import CHECKPOINTS, HASHES_FILE, TRACKER, read_hashes_record
from ...core.dcp import METADATA, shortened, weight_spans
from ...core.errors import UserError
from ...core.files import read_object, remove, sha256, write_text
from ...core.self_hash import write_hashed
from ...core.system.process import die_with_parent
from .begun_saves import begun_saves, check_own, is_cut_off
from .folder import PROVENANCE, checkpoints, iteration, iterations
from .retention import retain

DAMAGED = "damaged"


def write_hashes(checkpoint: Path, provenance: dict[str, Any]) -> None:
    """Write a complete checkpoint's `pdapt.json`; see `read_hashes_record`."""
    step, files, weights = iteration(checkpoint), hashes(checkpoint), weight_hashes(checkpoint)
    write_hashed(checkpoint / HASHES_FILE, {"step": step, "provenance": provenance, "files": files} | weights)


def hashes(checkpoint: Path) -> dict[str, str]:
    """Compute the SHA-256 of each file of a checkpoint, including subfolders, except `pdapt.json`."""
    paths = {path.relative_to(checkpoint).as_posix(): path for path in checkpoint.rglob("*") if path.is_file()}
    names = sorted(paths.keys() - {HASHES_FILE})
    with ThreadPoolExecutor() as pool:
        return dict(zip(names, pool.map(sha256, [paths[name] for name in names]), strict=True))


def weight_hashes(checkpoint: Path) -> dict[str, dict[str, str]]:
    """Compute the SHA-256 of each file without the optimizer's state: `{"weights": {name: SHA-256}}`.

    An export reads only these bytes, an eighth of all, and so does a run that starts from these weights.
    """
    try:
        spans = weight_spans(checkpoint)
    except UserError as error:
        print(f"save: the weights of {checkpoint.name} cannot be hashed apart from the rest: {error.what}", flush=True)
        return {}
    names = [path.name for path in sorted(checkpoint.iterdir()) if path.name in spans]
    with ThreadPoolExecutor() as pool:
        values = pool.map(lambda name: sha256(checkpoint / name, spans=spans[name]), names)
        return {"weights": dict(zip(names, values, strict=True))}


def damage(checkpoint: Path) -> str:
    """Describe the damage to a checkpoint; empty if there is none.

    If it has no hashes, because the run was killed before they were written, the sizes of its files are checked.
    """
    try:
        record = read_hashes_record(checkpoint)
        if record is None:
            return shortened(checkpoint)
        if record.step != iteration(checkpoint):
            return f"{HASHES_FILE} belongs to step {record.step}"
        wanted, present = record.files, hashes(checkpoint)
    except (UserError, OSError) as error:
        return str(error).splitlines()[0]
    differing = [name for name in wanted if present.get(name) != wanted[name]]
    missing = [name for name in differing if name not in present]
    if differing:
        return f"{', '.join(differing[:3])}: " + ("missing" if missing else "another SHA-256 than when it was saved")
    return ""


def recover(out: Path, *, fsdp: bool) -> Path | None:
    """Make the newest undamaged checkpoint the one that training continues from.

    An unfinished checkpoint is removed and a damaged one is moved aside, each with a warning.

    Args:
        out: run folder.
        fsdp: whether Megatron-FSDP wrote the checkpoints: it does not write `metadata.json` last.

    Returns:
        That checkpoint; None if there is none.

    Raises:
        UserError: see `check_own`.
    """
    check_own(out)
    root = out / CHECKPOINTS
    whole = _finished(out, fsdp=fsdp)
    for path in sorted(set(iterations(root)) - set(whole)):
        log.warn(f"train: {path.name} was not finished when the run was interrupted: removed")
        remove(path)
    while whole and (wrong := damage(whole[-1])):
        aside = _aside(root, whole.pop())
        before = whole[-1].name if whole else "the beginning"
        log.warn(f"train: {aside.name.split('.')[0]} is damaged ({wrong}): kept as {aside}, continuing from {before}")
    if not whole:
        remove(root / TRACKER)
        return None
    newest = whole[-1]
    write_text(root / TRACKER, str(iteration(newest)))
    for path, wrong in write_missing_hashes(out, fsdp=fsdp):
        log.warn(f"train: {path.name} has no hashes and is damaged ({wrong}): it stays where it is, and is not used")
    return newest


def _finished(out: Path, *, fsdp: bool) -> list[Path]:
    """List the run's checkpoints that were written completely, oldest first."""
    fsdp_checkpoints = {path for path in iterations(out / CHECKPOINTS) if fsdp and (path / METADATA).is_file()}
    begun = begun_saves(out)
    whole = {*checkpoints(out), *fsdp_checkpoints}
    return sorted(path for path in whole if not is_cut_off(path, begun.get(iteration(path))))


def write_missing_hashes(out: Path, *, fsdp: bool) -> list[tuple[Path, str]]:
    """Hash, with a warning, the checkpoints without hashes, because the run or the hashing process was killed.

    The bytes are hashed as they are now; only their number can be compared with what was saved.

    Returns:
        The damaged checkpoints, which are not hashed, and their damage.

    Raises:
        UserError: see `check_own`.
    """
    check_own(out)
    left = []
    for path in _finished(out, fsdp=fsdp):
        if (path / HASHES_FILE).is_file():
            continue
        if wrong := damage(path):
            left.append((path, wrong))
            continue
        why = "because the hashing process was killed; the sizes of its files are right"
        log.warn(f"train: {path.name} has no hashes, {why}")
        write_hashes(path, read_object(out / PROVENANCE).values)
    return left


def _aside(root: Path, checkpoint: Path) -> Path:
    folder = root / DAMAGED
    folder.mkdir(exist_ok=True)
    number = len(list(folder.glob(f"{checkpoint.name}.*")))
    return checkpoint.rename(folder / f"{checkpoint.name}.{number}")


def main() -> None:
    """Hash checkpoints, and remove those that the recipe does not keep: `RUN KEEP_EVERY KEEP_LAST RANK STEP…`.

    RANK is the process that asked for it; this process ends when RANK does.
    """
    out, keep_every, keep_last, rank, *steps = Path(sys.argv[1]), *(int(value) for value in sys.argv[2:])
    die_with_parent(rank)
    for path in (out / CHECKPOINTS / f"iter_{step:07d}" for step in steps):
        if path.is_dir() and not (path / HASHES_FILE).is_file():
            write_hashes(path, read_object(out / PROVENANCE).values)
    for path in retain(out, keep_every or None, keep_last):
        print(f"removed {path.name}: the recipe does not keep it (checkpoint.keep_every, keep_last)", flush=True)


if __name__ == "__main__":
    main()
