"""Megatron's indexed dataset: `<prefix>.bin` holds token ids, `<prefix>.idx` says where each document is.

The format is that of `megatron.core.datasets.indexed_dataset` (core 0.19). Ours is written here because Megatron's
builder keeps Python lists and imports torch; reading is Megatron's.
"""

import struct
from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

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


class IndexedWriter:
    """Appends documents to a `.bin` file; one sequence a document."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.lengths = array("i")

    def add(self, ids: npt.NDArray[np.int32]) -> None:
        """Append a document, its end-of-document id included."""
        self._file.write(ids.astype(DTYPE, copy=False).tobytes())
        self.lengths.append(len(ids))


@contextmanager
def write_indexed(prefix: Path) -> Iterator[IndexedWriter]:
    """Write `<prefix>.bin`, then `<prefix>.idx`: where there is an index, the data set is whole."""
    with atomic_path(bin_path(prefix)) as partial, partial.open("wb") as file:
        writer = IndexedWriter(file)
        yield writer
    lengths = np.frombuffer(writer.lengths, dtype=np.int32)
    with atomic_path(idx_path(prefix)) as partial, partial.open("wb") as file:
        file.write(HEADER.pack(MAGIC, VERSION, DTYPE_CODE, len(lengths), len(lengths) + 1))
        file.write(lengths.astype("<i4").tobytes())
        file.write(_offsets(lengths).astype("<i8").tobytes())
        file.write(np.arange(len(lengths) + 1, dtype="<i8").tobytes())


def _offsets(lengths: npt.NDArray[np.int32]) -> npt.NDArray[np.int64]:
    """Byte at which each sequence starts in the `.bin` file."""
    ends = np.cumsum(lengths, dtype=np.int64) * DTYPE.itemsize
    return np.concatenate([np.zeros(1, np.int64), ends])[:-1]


def count_indexed(prefix: Path) -> tuple[int, int]:
    """Documents and tokens of a data set that `write_indexed` finished."""
    with idx_path(prefix).open("rb") as file:
        documents = HEADER.unpack(file.read(HEADER.size))[3]
    return documents, bin_path(prefix).stat().st_size // DTYPE.itemsize


def bin_path(prefix: Path) -> Path:
    """The file of token ids."""
    return prefix.with_name(f"{prefix.name}.bin")


def idx_path(prefix: Path) -> Path:
    """The file that says where each document is."""
    return prefix.with_name(f"{prefix.name}.idx")
