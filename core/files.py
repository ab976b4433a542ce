"""Reading and writing files, so that a half-written file is never taken for a complete one."""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from . import log
from .errors import UserError
from .jsonio import MAX_BYTES, JsonObject, parse_json
from .log import Progress
from .system.disk import disk_errors

BLOCK = 2**20
"""How many bytes are read and hashed at once: few enough to stay in a core's cache."""
LONG = 10**9
"""Number of bytes from which on hashing is announced, because it takes more than a second."""
SHORT = 2**20
"""Up to this number of bytes, hashing takes less time than starting threads."""


def read_blocks(path: Path, spans: Sequence[tuple[int, int]] | None = None) -> Iterator[memoryview]:
    """Yield a file's bytes, a block at a time; each block is overwritten by the next.

    Args:
        path: the file.
        spans: first byte, and byte after the last, of the parts to read; None for all. Bytes beyond the file's end are
            left out.
    """
    buffer = memoryview(bytearray(BLOCK))
    with path.open("rb", buffering=0) as file:
        for begin, end in [(0, sys.maxsize)] if spans is None else spans:
            file.seek(begin)
            left = end - begin
            while count := file.readinto(buffer[: min(left, BLOCK)]):
                left -= count
                yield buffer[:count]


def sha256(path: Path, progress: Progress | None = None, spans: Sequence[tuple[int, int]] | None = None) -> str:
    """Compute the hex SHA-256 of a file's bytes, or of those in `spans`; `progress` counts bytes as they are read."""
    value = hashlib.sha256()
    for block in read_blocks(path, spans):
        value.update(block)
        if progress is not None:
            progress.add(len(block))
    return value.hexdigest()


def sha256_of_all(paths: Sequence[Path]) -> list[str]:
    """Compute the hex SHA-256 of each file, in threads; if that takes long, progress is logged."""
    total = sum(path.stat().st_size for path in paths)
    if total < SHORT:
        return [sha256(path) for path in paths]
    progress = Progress("hashing", total) if total >= LONG else None
    if progress:
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        log.info(f"hashing {paths[0]}{more}: {total / 1e9:.1f} GB")
    with ThreadPoolExecutor() as pool:
        return list(pool.map(partial(sha256, progress=progress), paths))


def fsync_path(path: Path) -> None:
    """Force a file's bytes, or a folder's entries, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; on success flush it and rename it to `path`, on failure remove it.

    Raises:
        UserError: `path` is a folder, or its disk is full.
    """
    if path.is_dir():
        raise UserError(f"{path} is a folder", where=str(path), allowed="the name of a file")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    try:
        with disk_errors(path):
            yield partial
            fsync_path(partial)
            partial.replace(path)
            fsync_path(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to `path`, completely or not at all."""
    with atomic_path(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON to `path`, completely or not at all."""
    write_text(path, json_text(value))


def json_text(value: Any) -> str:
    """Format a value as indented JSON, as `write_json` writes it."""
    return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n"


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Read a file that is expected to be small.

    Args:
        path: the file.
        limit: largest number of bytes; no more are read.

    Raises:
        UserError: the file is missing, is not a regular file, or is longer.
    """
    check_regular(path)
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise UserError(f"{path.name} has {path.stat().st_size:,} bytes", where=str(path), allowed=f"up to {limit:,}")
    return data


def check_regular(path: Path) -> None:
    """Check that a path is a regular file: reading a pipe or a device might never end.

    Raises:
        UserError: it is not.
    """
    if path.is_file():
        return
    if not path.exists():
        wrong = "is a link that leads nowhere" if path.is_symlink() else "is missing"
        raise UserError(f"{path.name} {wrong}", where=str(path), fix="check the path")
    kind = "a folder" if path.is_dir() else "not a regular file"
    raise UserError(f"{path} is {kind}", where=str(path), allowed="a file")


def read_json(path: Path, *, nan: bool = False) -> Any:
    """Read a JSON file; `nan` as in `parse_json`.

    Raises:
        UserError: the file is missing, not a file, or not what `parse_json` accepts.
    """
    return parse_json(read_bytes(path), str(path), nan=nan)


def read_object(path: Path, *, nan: bool = False) -> JsonObject:
    """Read a JSON file that holds an object.

    Raises:
        UserError: as `read_json`, or it holds something else.
    """
    return JsonObject(read_json(path, nan=nan), str(path))


def read_list[T](path: Path, kind: type[T]) -> list[T]:
    """Read a JSON file that holds a list of values of one type, such as `str`.

    Raises:
        UserError: as `read_json`, or it holds something else.
    """
    values = read_json(path)
    if not isinstance(values, list) or not all(type(value) is kind for value in values):
        raise UserError(f"{path.name} is not a list of {kind.__name__}", where=str(path))
    return values


def read_objects(path: Path) -> list[JsonObject]:
    """Read a JSON file that holds a list of objects.

    Raises:
        UserError: as `read_list`.
    """
    return [JsonObject(value, f"{path}: {number}") for number, value in enumerate(read_list(path, dict))]


def read_lines(path: Path, limit: int = MAX_BYTES) -> Iterator[tuple[str, bytes]]:
    """Yield the lines of a file, each with its place, `FILE:NUMBER`.

    Args:
        path: the file.
        limit: largest number of bytes in a line; no more are read.

    Raises:
        UserError: the file is missing or is not a file, or a line is too long.
    """
    check_regular(path)
    with path.open("rb") as file:
        number = 0
        while line := file.readline(limit + 1):
            number += 1
            if len(line) > limit:
                raise UserError("the line is too long", where=f"{path}:{number}", allowed=f"up to {limit:,} bytes")
            yield f"{path}:{number}", line


def read_jsonl(path: Path, *, nan: bool = False) -> Iterator[JsonObject]:
    """Yield the objects of a file with one object per line; empty lines are skipped.

    Raises:
        UserError: as `read_lines`, or a line is not a JSON object.
    """
    for where, line in read_lines(path):
        if line.strip():
            yield JsonObject(parse_json(line, where, nan=nan), where)


def require_file(path: Path) -> Path:
    """Return `path` if it is a file that is not empty.

    Raises:
        UserError: it is missing, not a file, or empty.
    """
    if not path.is_file():
        raise UserError(f"no such file: {path.name}", where=str(path), fix="check the path")
    if path.stat().st_size == 0:
        raise UserError(f"the file is empty: {path.name}", where=str(path), fix="give a file with content")
    return path


def list_files(folder: Path) -> list[Path]:
    """List the files under `folder`, sorted by relative path; of hidden files only a checkpoint's `.metadata`."""

    def shown(name: str) -> bool:
        return not name.startswith(".") or name == ".metadata"

    files: list[Path] = []
    for parent, folders, names in folder.walk():
        folders[:] = filter(shown, folders)
        files += (parent / name for name in filter(shown, names))
    return sorted(path for path in files if path.is_file())


def copy_present(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy, byte for byte, those of the named files that `source` has."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def remove(path: Path) -> None:
    """Remove a file or a folder if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
