"""How a data set's documents fill the rows of a batch.

A layout says which tokens stand in which row; it never touches the token files. All of it is computed from the
documents' lengths, so one set of files serves every layout and sequence length:

- `packed`: documents share rows and are separated by masks. One that fits is not cut; a longer one is cut at the row's
  length. Rows are filled by best fit, longest piece first.
- `concat`: Megatron's classic stream of all documents, cut every row length. Its rows are `GPTDataset`'s.
- `paper`: one piece of one document a row, padded; the pieces of a document overlap by OVERLAP tokens, as those of
  `tokenizer(text, max_length=…, stride=4, return_overflowing_tokens=True)` in the paper's code do.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from ...core.errors import UserError, check_known
from ...core.log import counted

OVERLAP = 4
"""Tokens that a document's pieces share in the layout `paper`."""

Lengths = npt.NDArray[np.int32]


class Layout(StrEnum):
    """How documents fill rows."""

    PACKED = "packed"
    CONCAT = "concat"
    PAPER = "paper"


@dataclass(frozen=True)
class Rows:
    """Which pieces of which documents stand in which row.

    Attributes:
        document: index of the piece's document, [pieces].
        start: the piece's first token in its document, [pieces].
        length: its tokens, [pieces].
        borders: the first piece of each row, and the number of pieces, [rows + 1].
    """

    document: npt.NDArray[np.int32]
    start: npt.NDArray[np.int64]
    length: Lengths
    borders: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.borders) - 1

    def tokens(self) -> npt.NDArray[np.int64]:
        """Real tokens of each row, [rows]."""
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.length, dtype=np.int64)])[self.borders]
        return np.diff(ends)


@dataclass(frozen=True)
class Figures:
    """Figures of a data set in a layout, for one epoch.

    Attributes:
        sequences: rows; of `concat`, whole rows.
        slots: places in them.
        real_tokens: slots that hold a token of a document; of `paper`, the overlaps counted each time.
    """

    sequences: int
    slots: int
    real_tokens: int

    @property
    def fill(self) -> float:
        """Part of the slots that holds a real token."""
        return self.real_tokens / self.slots if self.slots else 0.0


def check_layout(layout: str, seq_length: int, names: tuple[str, str] = ("--layout", "--seq-length")) -> None:
    """Check a layout and its length.

    Args:
        layout: a name of `Layout`.
        seq_length: slots of a row.
        names: what the user calls the two.

    Raises:
        UserError: there is no such layout, or the length is too small for it.
    """
    check_known(layout, Layout, "layout", names[0])
    least = OVERLAP + 1 if layout == Layout.PAPER else 1
    if seq_length < least:
        raise UserError(
            f"{counted(seq_length, 'slot is', 'slots are')} too few",
            where=names[1],
            allowed=f"{least} or more with {layout}",
        )


def check_conversations(layout: str, where: str) -> None:
    """Check that conversations can be laid out: each has to stand in one row.

    Raises:
        UserError: they cannot.
    """
    if layout == Layout.CONCAT:
        raise UserError(
            f"the tokens are conversations, which the layout {layout} would cut anywhere",
            where=where,
            allowed=f"{Layout.PACKED} or {Layout.PAPER}",
        )


def figures(layout: str, lengths: Lengths, seq_length: int) -> Figures:
    """Count a layout's rows.

    Args:
        layout: a name of `Layout`.
        lengths: tokens of each document, its end included, [documents].
        seq_length: slots of a row.
    """
    if layout == Layout.CONCAT:
        sequences = max(0, int(lengths.sum(dtype=np.int64)) - 1) // seq_length  # the last label needs a further token
        return Figures(sequences, sequences * seq_length, sequences * seq_length)
    rows = pack(lengths, seq_length, seed=0) if layout == Layout.PACKED else overlapping(lengths, seq_length)
    return Figures(len(rows), len(rows) * seq_length, int(rows.length.sum(dtype=np.int64)))


def overlapping(lengths: Lengths, seq_length: int) -> Rows:
    """The paper's rows: a document of n tokens gives one if n <= seq_length, else ceil((n - seq_length) / step) + 1.

    Args:
        lengths: tokens of each document, [documents].
        seq_length: slots of a row; the step from one piece to the next is `seq_length - OVERLAP`.
    """
    document, start, length = _cut(lengths, seq_length, seq_length - OVERLAP)
    return Rows(document, start, length, np.arange(len(document) + 1, dtype=np.int64))


def pack(lengths: Lengths, seq_length: int, seed: int) -> Rows:
    """Best-fit-decreasing packing of the documents' pieces, as in Ding et al. 2024, "Fewer Truncations Improve Language
    Modeling", except that masks separate a row's pieces.

    Args:
        lengths: tokens of each document, [documents].
        seq_length: slots of a row.
        seed: which of the pieces of one length come together.
    """
    document, start, length = _cut(lengths, seq_length, seq_length)
    drawn = np.random.RandomState(seed).permutation(len(length))  # RandomState's streams are frozen (NEP 19)
    order = drawn[np.argsort(-length[drawn], kind="stable")]
    row = best_fit(length[order], seq_length)
    order = order[np.argsort(row, kind="stable")]
    borders = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.bincount(row), dtype=np.int64)])
    return Rows(document[order], start[order], length[order], borders)


def _cut(lengths: Lengths, longest: int, step: int) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64], Lengths]:
    """Document, start and length of each piece: pieces of at most `longest` tokens that begin `step` tokens apart.

    A document without tokens, which is one that is left out, has none.
    """
    pieces = np.where(lengths == 0, 0, 1 + -(-np.maximum(lengths.astype(np.int64) - longest, 0) // step))
    document = np.repeat(np.arange(len(lengths), dtype=np.int32), pieces)
    first = np.repeat(np.cumsum(pieces) - pieces, pieces)
    start = (np.arange(len(document), dtype=np.int64) - first) * step
    length = np.minimum(lengths[document] - start, longest).astype(np.int32)
    return document, start, length


def best_fit(sizes: Lengths, capacity: int) -> npt.NDArray[np.int64]:
    """The row of each item: each goes where it leaves the least room, or into a new row where it fits nowhere.

    Items of one size and rows of one room are placed together, so the time depends on the number of different sizes and
    not of items.

    Args:
        sizes: of the items, in falling order, from 1 to `capacity`.
        capacity: of a row.
    """
    row = np.empty(len(sizes), np.int64)
    rows_of: list[list[npt.NDArray[np.int64]]] = [[] for _ in range(capacity + 1)]  # by the room that is left
    count = np.zeros(capacity + 1, np.int64)
    made = at = 0

    def put(room: int, rows: npt.NDArray[np.int64]) -> None:
        if len(rows):
            rows_of[room].append(rows)
            count[room] += len(rows)

    ends = np.flatnonzero(np.diff(sizes, append=0)) + 1  # where a size's last item is
    for end in ends.tolist():
        size = int(sizes[end - 1])
        while at < end:
            fitting = np.flatnonzero(count[size:])
            if len(fitting):
                room = size + int(fitting[0])
                rows = np.concatenate(rows_of[room])
                rows_of[room], count[room] = [], 0
            else:
                room = capacity
                rows = np.arange(made, made + -(-(end - at) // (room // size)), dtype=np.int64)
                made += len(rows)
            each = room // size  # a row that has taken one item is the best fit for the next, as long as it has room
            placed = min(end - at, len(rows) * each)
            row[at : at + placed] = np.repeat(rows, each)[:placed]
            filled, rest = divmod(placed, each)
            put(room - each * size, rows[:filled])
            if rest:
                put(room - rest * size, rows[filled : filled + 1])
            put(room, rows[filled + bool(rest) :])
            at += placed
    return row
