"""Megatron's indexed dataset: `<prefix>.bin` holds token ids, `<prefix>.idx` says where each document is.

The format is that of `megatron.core.datasets.indexed_dataset` (core 0.19). Ours is written here because Megatron's
builder keeps Python lists and imports torch; reading is Megatron's.
"""

import os
import struct
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..core.errors import UserError
from ..core.files import atomic_path

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
DTYPE = np.dtype("<i4")
DTYPE_CODE = 4
"""Megatron's code of int32, which vocabularies of 65,500 ids and more need."""
HEADER = struct.Struct("<9sQBQQ")
"""Magic, version, dtype code, sequences, documents + 1."""
_REBUILD = "make the folder again with `pdapt tokens build`, or copy it again"


def write_indexed(prefix: Path, parts: Iterable[tuple[Path, npt.NDArray[np.int32]]]) -> None:
    """Write `<prefix>.bin`, then `<prefix>.idx`: where there is an index, the data set is whole.

    Args:
        prefix: of the files.
        parts: files of ids (little-endian int32) that follow each other, and the lengths of their documents. A
            sequence is a document.
    """
    all_lengths = []
    with atomic_path(bin_path(prefix)) as partial, partial.open("wb") as file:
        for path, part in parts:
            _append(path, file.fileno())
            all_lengths.append(part)
    lengths = np.concatenate([np.empty(0, np.int32), *all_lengths])
    with atomic_path(idx_path(prefix)) as partial, partial.open("wb") as file:
        file.write(HEADER.pack(MAGIC, VERSION, DTYPE_CODE, len(lengths), len(lengths) + 1))
        file.write(lengths.astype("<i4").tobytes())
        file.write(_offsets(lengths).astype("<i8").tobytes())
        file.write(np.arange(len(lengths) + 1, dtype="<i8").tobytes())


def _append(path: Path, target: int) -> None:
    """Copy a file to the end of an open one, within the kernel."""
    with path.open("rb") as source:
        at, size = 0, os.fstat(source.fileno()).st_size
        while at < size:
            at += os.sendfile(target, source.fileno(), at, size - at)


def _offsets(lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Byte at which each sequence starts in the `.bin` file."""
    ends = np.cumsum(lengths, dtype=np.int64) * DTYPE.itemsize
    return np.concatenate([np.zeros(1, np.int64), ends])[:-1]


def count_indexed(prefix: Path) -> tuple[int, int]:
    """Documents and tokens of a data set that `write_indexed` finished.

    Raises:
        UserError: see `read_lengths`.
    """
    lengths = read_lengths(prefix)
    return len(lengths), int(lengths.sum(dtype=np.int64))


def read_lengths(prefix: Path) -> npt.NDArray[np.int32]:
    """Tokens of each document of a data set, its end included.

    Raises:
        UserError: one of the files is missing, or cut, or its index says what the files do not hold.
    """
    path = idx_path(prefix)
    for needed in (path, bin_path(prefix)):
        if not needed.is_file():
            raise UserError(f"{needed.name} is missing", where=str(needed), mend=_REBUILD)
    with path.open("rb") as file:
        lengths = np.fromfile(file, "<i4", _documents(path, file.read(HEADER.size)))
    held, told = bin_path(prefix).stat().st_size, int(lengths.sum(dtype=np.int64)) * DTYPE.itemsize
    if lengths.min(initial=0) < 0 or held != told:
        raise UserError(
            f"{bin_path(prefix).name} has {held:,} bytes, its index tells of {told:,}", where=str(path), mend=_REBUILD
        )
    return lengths


def _documents(path: Path, header: bytes) -> int:
    """How many documents an index tells of, where it is as long as so many make it: no more than that is read."""
    size = path.stat().st_size
    if len(header) == HEADER.size:
        magic, version, code, sequences, documents = HEADER.unpack(header)
        whole = HEADER.size + 12 * sequences + 8 * documents
        if (magic, version, code, whole) == (MAGIC, VERSION, DTYPE_CODE, size):
            return sequences
    raise UserError(f"{path.name} is not a whole index of int32 tokens: {size:,} bytes", where=str(path), mend=_REBUILD)


def bin_path(prefix: Path) -> Path:
    """The file of token ids."""
    return prefix.with_name(f"{prefix.name}.bin")


def idx_path(prefix: Path) -> Path:
    """The file that says where each document is."""
    return prefix.with_name(f"{prefix.name}.idx")
