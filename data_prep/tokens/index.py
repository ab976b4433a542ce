"""Megatron's indexed dataset: `<prefix>.bin` holds token ids, `<prefix>.idx` says where each document is.

Of conversations `<prefix>.answers` says which ids are learned, a byte each: 1 for a token of an answer, else 0.

The format is that of `megatron.core.datasets.indexed_dataset` (core 0.19). Ours is written here because Megatron's
builder keeps Python lists and imports torch; reading is Megatron's.
"""

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ...core.errors import UserError
from ...core.files import atomic_path
from ...core.log import counted

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
        header = (MAGIC, VERSION, DTYPE_CODE, len(lengths), len(lengths) + 1)
        file.write(HEADER.pack(*header))
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
            raise UserError(f"{needed.name} is missing", where=str(needed), fix=_REBUILD)
    with path.open("rb") as file:
        lengths = np.fromfile(file, "<i4", _documents(path, file.read(HEADER.size)))
    held, stated = bin_path(prefix).stat().st_size, int(lengths.sum(dtype=np.int64)) * DTYPE.itemsize
    if lengths.min(initial=0) < 0 or held != stated:
        raise UserError(
            f"{bin_path(prefix).name} has {held:,} bytes, and its index states {stated:,}",
            where=str(path),
            fix=_REBUILD,
        )
    return lengths


def _documents(path: Path, header: bytes) -> int:
    """Number of documents in an index, checked against its length before anything is read."""
    size = path.stat().st_size
    if len(header) == HEADER.size:
        magic, version, code, sequences, documents = HEADER.unpack(header)
        whole = HEADER.size + 12 * sequences + 8 * documents
        if (magic, version, code, whole) == (MAGIC, VERSION, DTYPE_CODE, size):
            return sequences
    raise UserError(
        f"{path.name} is not a complete index of int32 tokens: {size:,} bytes", where=str(path), fix=_REBUILD
    )


def check_offsets(prefix: Path) -> None:
    """Check that an index says of each document that it begins where the one before ends.

    Raises:
        UserError: it does not, or see `read_lengths`.
    """
    lengths, path = read_lengths(prefix), idx_path(prefix)
    offsets = np.fromfile(path, "<i8", len(lengths), offset=HEADER.size + lengths.nbytes)
    wrong = np.flatnonzero(offsets != _offsets(lengths))
    if wrong.size:
        first = int(wrong[0])
        raise UserError(
            f"{path.name} puts document {first + 1:,} at byte {offsets[first]:,} of {bin_path(prefix).name}",
            where=str(path),
            allowed=f"{_offsets(lengths)[first]:,}, where the one before ends",
            fix=_REBUILD,
        )


class IdRange:
    """Looks for ids that a vocabulary does not have, in a `.bin` file whose bytes pass."""

    def __init__(self, prefix: Path, size: int) -> None:
        """Prepare.

        Args:
            prefix: of the files.
            size: of the vocabulary, whose ids begin at 0.
        """
        self.prefix, self.size = prefix, size
        self._passed, self._first = 0, (0, 0)
        self._count = 0

    def __call__(self, block: memoryview) -> None:
        """Look at the next bytes, a whole number of ids."""
        ids = np.frombuffer(block, "<u4", len(block) // DTYPE.itemsize)  # unsigned: what is below 0 is large, too
        if ids.max(initial=0) >= self.size:
            wrong = np.flatnonzero(ids >= self.size)
            if not self._count:
                self._first = self._passed + int(wrong[0]), int(ids.view(DTYPE)[wrong[0]])
            self._count += len(wrong)
        self._passed += len(ids)

    def check(self) -> None:
        """Raise where an id was out of range.

        Raises:
            UserError: names the first by its place.
        """
        if not self._count:
            return
        token, value = self._first
        document = int(np.searchsorted(np.cumsum(read_lengths(self.prefix), dtype=np.int64), token, side="right"))
        path = bin_path(self.prefix)
        raise UserError(
            f"{path.name} holds {counted(self._count, 'id')} that the vocabulary does not have, the first of them "
            f"{value:,}",
            where=f"{path}, token {token + 1:,}, in document {document + 1:,}",
            allowed=f"0 to {self.size - 1:,}",
            fix=_REBUILD,
        )


def read_answers(prefix: Path) -> npt.NDArray[np.uint8]:
    """Which ids of a data set of conversations are answers, [tokens], as a map of the file.

    Raises:
        UserError: the file is missing, not as long as there are ids, or holds other values; or see `read_lengths`.
    """
    path, tokens = answers_path(prefix), int(read_lengths(prefix).sum(dtype=np.int64))
    size = path.stat().st_size if path.is_file() else -1
    if size != tokens:
        what = f"has {counted(size, 'byte')}, and there are {counted(tokens, 'id')}" if size >= 0 else "is missing"
        raise UserError(f"{path.name} {what}", where=str(path), fix=_REBUILD)
    answers = np.memmap(path, np.uint8, "r") if tokens else np.empty(0, np.uint8)
    if answers.max(initial=0) > 1:
        wrong = int(np.argmax(answers > 1))
        raise UserError(
            f"{path.name} holds {answers[wrong]} for id {wrong + 1:,}", where=str(path), allowed="0 or 1", fix=_REBUILD
        )
    return answers


@dataclass(frozen=True)
class Fitted:
    """A data set's conversations in rows of a length, each in one row.

    Attributes:
        lengths: tokens of each that a row takes; 0 for one that is left out, [conversations].
        cut: how many are longer than a row, and cut at its end.
        lost: tokens of answers behind the cuts.
        left_out: how many have no answer before the cut.
        answers: tokens of answers that are left.
    """

    lengths: npt.NDArray[np.int32]
    cut: int
    lost: int
    left_out: int
    answers: int

    @property
    def tokens(self) -> int:
        """Tokens that rows take."""
        return int(self.lengths.sum(dtype=np.int64))


def fit_conversations(prefix: Path, seq_length: int) -> Fitted:
    """Cut conversations at the length of a row: what follows would be learned without what it answers.

    Args:
        prefix: of the data set's files.
        seq_length: slots of a row.

    Raises:
        UserError: see `read_answers`.
    """
    lengths, answers = read_lengths(prefix), read_answers(prefix)
    ends = np.cumsum(lengths, dtype=np.int64)
    kept = np.minimum(lengths, seq_length)
    lost = 0
    for number in np.flatnonzero(lengths > seq_length).tolist():
        begin, end = int(ends[number]) - int(lengths[number]), int(ends[number])
        lost += int(answers[begin + seq_length : end].sum())
        if not answers[begin + 1 : begin + seq_length].any():  # the first token is not a label
            kept[number] = 0
    cut = lengths > seq_length
    left = int(answers.sum(dtype=np.int64)) - lost
    return Fitted(kept, int(cut.sum()), lost, left_out=int((cut & (kept == 0)).sum()), answers=left)


def lengths_in_rows(prefix: Path, seq_length: int, *, conversations: bool) -> npt.NDArray[np.int32]:
    """Tokens of each document, or those of each conversation that a row of a length takes, [documents].

    Raises:
        UserError: see `read_lengths` and `read_answers`.
    """
    return fit_conversations(prefix, seq_length).lengths if conversations else read_lengths(prefix)


def answers_path(prefix: Path) -> Path:
    """The file that says which ids are answers."""
    return prefix.with_name(f"{prefix.name}.answers")


def bin_path(prefix: Path) -> Path:
    """The file of token ids."""
    return prefix.with_name(f"{prefix.name}.bin")


def idx_path(prefix: Path) -> Path:
    """The file that says where each document is."""
    return prefix.with_name(f"{prefix.name}.idx")
