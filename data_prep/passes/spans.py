"""A file in parts that can be read separately: lines, and row groups of Parquet."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pyarrow.parquet as pq

from ..documents.store import parquet_errors
from ..documents.streams import BLOCK, SourceFile, Span, open_bytes

BY_LINES = ("jsonl", "lines")
"""Formats of which a line is read by itself."""


def divided(file: SourceFile, most: int) -> list[SourceFile]:
    """A file in parts of about the same size, which hold its documents in their order.

    Args:
        file: UTF-8 of which a document is a line, and that is not packed, or Parquet: anything else stays in one piece.
        most: parts, at most; fewer where lines, or row groups, are longer.

    Raises:
        FileError: the file cannot be read.
    """
    if most < 2 or file.packing or file.together or file.span:
        return [file]
    if file.format in BY_LINES and file.is_utf8:
        spans = _spans_of_lines(file, most)
    elif file.format == "parquet":
        spans = _spans_of_row_groups(file, most)
    else:
        return [file]
    return [replace(file, span=span, size=size) for span, size in spans] if len(spans) > 1 else [file]


def _spans_of_lines(file: SourceFile, most: int) -> list[tuple[Span, int]]:
    """Parts of a file of lines, and their bytes."""
    starts = [(0, 0), *_line_starts(file, [file.size * number // most for number in range(1, most)])]
    ends = [start for start, _ in starts[1:]] + [file.size]
    return [(Span(start, stop, lines), stop - start) for (start, lines), stop in zip(starts, ends, strict=True)]


def _line_starts(file: SourceFile, wanted: Sequence[int]) -> list[tuple[int, int]]:
    """Byte of the first line that begins at each of some places or after it, and how many lines come before it.

    A line that is so for several places is given once. Lines end as `open_text` ends them, also at `\\r`, but a part
    begins after `\\n`.
    """
    starts: list[tuple[int, int]] = []
    left, at, lines, after_return = [*reversed(wanted)], 0, 0, False
    with open_bytes(file.path) as stream:
        while left and (block := stream.read(BLOCK)):
            while left and (end := block.find(b"\n", max(0, left[-1] - 1 - at))) >= 0:
                start = at + end + 1
                if start < file.size:
                    starts.append((start, lines + _line_ends(block[: end + 1], after_return)))
                while left and left[-1] <= start:
                    left.pop()
            lines += _line_ends(block, after_return)
            at, after_return = at + len(block), block.endswith(b"\r")
    return starts


def _line_ends(block: bytes, after_return: bool) -> int:
    """Ends of lines in some bytes, which come after a `\\r` or not."""
    same = block.count(b"\r\n") + (after_return and block.startswith(b"\n"))
    return block.count(b"\n") + block.count(b"\r") - same


def _spans_of_row_groups(file: SourceFile, most: int) -> list[tuple[Span, int]]:
    """Parts of a Parquet file, and about their bytes."""
    with parquet_errors(file.path):
        metadata = pq.read_metadata(file.path)
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    sizes = np.array([max(1, group.total_byte_size) for group in groups], float)  # a damaged file may state any
    rows = np.cumsum([0, *(group.num_rows for group in groups)])
    places = (np.cumsum(sizes) - sizes / 2) * most // max(1.0, sizes.sum())
    starts = [number for number in range(len(groups)) if number == 0 or places[number] != places[number - 1]]
    return [
        (Span(start, stop, int(rows[start])), int(file.size * sizes[start:stop].sum() // sizes.sum()))
        for start, stop in pairwise([*starts, len(groups)])
    ]
