"""The parts of a data set's shards put together: its `.bin` and `.idx`, and its validation documents as text."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...core.files import atomic_path, remove, sha256
from .index import answers_path, bin_path, count_indexed, idx_path, read_answers, write_indexed
from .selection.scan import WITHHELD
from .selection.selection import Plan
from .selection.split import DROPPED, DUPLICATE, VALID
from .shard_tokens import FOLDERS, HELDOUT, answers_part, ids_part, lengths_part, text_part
from .tokenizer import Vocabulary
from .tokens_record import DataSet, TokensRecord


@dataclass(frozen=True)
class SideFiles:
    """Files of one side of a data set that are put together.

    Attributes:
        work: folder that they are written to.
        name: of the data set.
        side: TRAIN or VALID.
        group: number of the data set.
        shards: folders of the shards that have parts of it.
    """

    work: Path
    name: str
    side: int
    group: int
    shards: tuple[Path, ...]

    def put_together(self) -> dict[str, str]:
        """Put the shards' parts together, unless an earlier run did, and remove them; SHA-256 of what that makes."""
        cell = (self.side, self.group)
        prefix = _prefix(self.work, self.side, self.name)
        # Before the index, with which the data set is whole.
        written = _write_answers(answers_path(prefix), [answers_part(folder, *cell) for folder in self.shards])
        written += _write_ids(prefix, cell, self.shards)
        used = [part(folder, *cell) for folder in self.shards for part in (ids_part, lengths_part, answers_part)]
        if self.side == VALID:
            texts = [text_part(folder, self.group) for folder in self.shards]
            written.append(_write_texts(self.work / HELDOUT / f"{self.name}.jsonl", texts))
            used += texts
        hashes = {str(path.relative_to(self.work)): sha256(path) for path in written}
        for part in used:
            remove(part)
        return hashes


def for_all[T](work: Callable[[T], None], items: list[T], workers: int) -> None:
    """Do something for all items with threads; the first failure ends it."""
    with ThreadPoolExecutor(workers) as pool:
        futures = [pool.submit(work, item) for item in items]
        done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        for future in waiting:
            future.cancel()
        for future in done:
            future.result()


def side_files(plan: Plan, parts: Path, work: Path) -> list[SideFiles]:
    """All sides of data sets that have documents, with the shards' parts that are there."""
    holders: dict[str, list[Path]] = defaultdict(list)  # by a part's name, the shards that have it
    for folder in (parts / str(number) for number in range(len(plan.scans))):
        for part in folder.iterdir():
            holders[part.name].append(folder)
    return [
        SideFiles(work, name, side=side, group=group, shards=tuple(holders[ids_part(parts, side, group).name]))
        for side in FOLDERS
        for group, name in enumerate(plan.names)
        if plan.count(group, side)
    ]


def assemble(plan: Plan, parts: Path, work: Path, workers: int) -> dict[str, str]:
    """Put the shards' parts together by threads, a data set at once; SHA-256 of what that makes.

    A data set's parts are removed when it is whole, and it is hashed, while others wait for the disk.
    """
    hashes: dict[str, str] = {}
    for_all(lambda files: hashes.update(files.put_together()), side_files(plan, parts, work), workers)
    return hashes


def _write_ids(prefix: Path, cell: tuple[int, int], folders: Sequence[Path]) -> list[Path]:
    """Write the ids of a data set and side, unless they are there; the files."""
    if not idx_path(prefix).exists():
        lengths = ((ids_part(f, *cell), np.fromfile(lengths_part(f, *cell), np.int32)) for f in folders)
        write_indexed(prefix, lengths)
    return [bin_path(prefix), idx_path(prefix)]


def _write_answers(file: Path, parts: list[Path]) -> list[Path]:
    """Write which ids of a data set and side are answers, unless that is done, or they are not conversations."""
    there = [part for part in parts if part.exists()]
    if there and not file.exists():
        _join(file, there)
    return [file] if file.exists() else []


def _join(file: Path, parts: list[Path]) -> None:
    """Write a file of several others."""
    with atomic_path(file) as partial, partial.open("wb") as target:
        for part in parts:
            target.write(part.read_bytes())


def _write_texts(file: Path, texts: list[Path]) -> Path:
    """Write the validation documents of a data set as text, unless they are there; the file."""
    if not file.exists():
        _join(file, texts)
    return file


def _prefix(work: Path, side: int, name: str) -> Path:
    """Path of a data set's files on one side, without their endings."""
    return work / FOLDERS[side] / name


def make_record(plan: Plan, vocabulary: Vocabulary, work: Path) -> TokensRecord:
    """The record of a folder whose data sets are put together."""
    splits: dict[str, dict[str, DataSet]] = {folder: {} for folder in FOLDERS.values()}
    for group, (key, name) in enumerate(zip(plan.keys, plan.names, strict=True)):
        for side, folder in FOLDERS.items():
            if not plan.count(group, side):
                continue
            prefix = _prefix(work, side, name)
            documents, tokens = count_indexed(prefix)
            splits[folder][name] = DataSet(
                prefix=f"{folder}/{name}",
                **key._asdict(),
                documents=documents,
                tokens=tokens,
                words=plan.words(group, side),
                licences=plan.licences(group, side),
                answers=int(read_answers(prefix).sum(dtype=np.int64)) if answers_path(prefix).exists() else None,
            )
    return TokensRecord(
        splits=splits,
        dropped_duplicates=_by_name(plan, DROPPED),
        eod_id=vocabulary.eod_id,
        vocabulary_size=vocabulary.size,
        tokenizer_sha256=sha256(vocabulary.files[0]),
        withheld={split: _by_name(plan, side) for split, side in WITHHELD.items()},
        training_duplicates=_by_name(plan, DUPLICATE),
    )


def _by_name(plan: Plan, side: int) -> dict[str, int]:
    return {name: plan.count(group, side) for group, name in enumerate(plan.names)}
