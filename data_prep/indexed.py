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

from ..core.files import atomic_path

MAGIC = b"MMIDIDX\x00\x00"
VERSION = 1
DTYPE = np.dtype("<i4")
DTYPE_CODE = 4
"""Megatron's code of int32, which vocabularies of 65,500 ids and more need."""
HEADER = struct.Struct("<9sQBQQ")
"""Magic, version, dtype code, sequences, documents + 1."""


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
    """Documents and tokens of a data set that `write_indexed` finished."""
    with idx_path(prefix).open("rb") as file:
        documents = HEADER.unpack(file.read(HEADER.size))[3]
    return documents, bin_path(prefix).stat().st_size // DTYPE.itemsize


def read_lengths(prefix: Path) -> npt.NDArray[np.int32]:
    """Tokens of each document of a data set, its end included."""
    with idx_path(prefix).open("rb") as file:
        documents = HEADER.unpack(file.read(HEADER.size))[3]
        return np.fromfile(file, "<i4", documents)


def bin_path(prefix: Path) -> Path:
    """The file of token ids."""
    return prefix.with_name(f"{prefix.name}.bin")


def idx_path(prefix: Path) -> Path:
    """The file that says where each document is."""
    return prefix.with_name(f"{prefix.name}.idx")
