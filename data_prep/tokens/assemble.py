"""The parts of a data set's shards put together: its `.bin` and `.idx`, and its validation documents as text."""

from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np

from ...core.files import atomic_path, remove, sha256
from .index import bin_path, idx_path, write_indexed
from .selection.selection import Plan
from .selection.split import VALID
from .shard_tokens import FOLDERS, HELDOUT, ids_part, lengths_part, text_part


def for_all[T](work: Callable[[T], None], items: list[T], workers: int) -> None:
    """Do something for all items with threads; the first failure ends it."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work, item) for item in items]
        done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        for future in waiting:
            future.cancel()
        for future in done:
            future.result()


def assemble(plan: Plan, parts: Path, work: Path, workers: int) -> dict[str, str]:
    """Put the shards' parts together, a data set at once, unless an earlier run did; SHA-256 of what that makes.

    A data set's parts are removed when it is whole, and it is hashed, while others wait for the disk.
    """
    holders: dict[str, list[Path]] = defaultdict(list)  # by a part's name, the shards that have it
    for folder in (parts / str(number) for number in range(len(plan.scans))):
        for part in folder.iterdir():
            holders[part.name].append(folder)
    hashes: dict[str, str] = {}

    def assemble_one(cell: tuple[int, int]) -> None:
        prefix, folders = data_set_prefix(plan, work, *cell), holders[ids_part(parts, *cell).name]
        written = _write_ids(prefix, cell, folders)
        used = [part(folder, *cell) for folder in folders for part in (ids_part, lengths_part)]
        side, group = cell
        if side == VALID:
            texts = [text_part(folder, group) for folder in folders]
            written.append(_write_texts(work / HELDOUT / f"{prefix.name}.jsonl", texts))
            used += texts
        hashes.update({str(path.relative_to(work)): sha256(path) for path in written})
        for part in used:
            remove(part)

    cells = [(side, group) for side in FOLDERS for group in range(len(plan.keys)) if plan.count(group, side)]
    for_all(assemble_one, cells, workers)
    return hashes


def _write_ids(prefix: Path, cell: tuple[int, int], folders: list[Path]) -> list[Path]:
    """Write the ids of a data set and side, unless they are there; the files."""
    if not idx_path(prefix).exists():
        lengths = ((ids_part(f, *cell), np.fromfile(lengths_part(f, *cell), np.int32)) for f in folders)
        write_indexed(prefix, lengths)
    return [bin_path(prefix), idx_path(prefix)]


def _write_texts(file: Path, texts: list[Path]) -> Path:
    """Write the validation documents of a data set as text, unless they are there; the file."""
    if not file.exists():
        with atomic_path(file) as partial, partial.open("wb") as target:
            for text in texts:
                target.write(text.read_bytes())
    return file


def data_set_prefix(plan: Plan, work: Path, side: int, group: int) -> Path:
    """Path of a data set's files on one side, without their endings."""
    return work / FOLDERS[side] / plan.names[group]
