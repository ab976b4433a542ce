"""Documents in Arrow's columns: what a record states of itself, completed by what the user says of its source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute

from ....core.errors import UserError
from ...documents.description import facts_of_source, licence_facts, may_be_sold
from ...documents.record import FIELDS, Record, Rejected, split_word
from ...documents.sources import Source

pc: Any = pyarrow.compute  # which makes its functions when it is imported
SPLIT = "original_split"
STATED = tuple(name for name in FIELDS if name != "origin")
"""Fields that a batch may hold of each document beside its text."""
LONGEST = 2**31 - 1
"""Bytes of the texts of a batch, whose places have four bytes."""
VISIBLE = "[^\\s\\x00-\\x1f\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}]"
"""`record.VISIBLE` as Arrow's regular expressions have it, whose white space is ASCII's."""


@dataclass(frozen=True)
class Batch:
    """Some consecutive documents of a shard.

    Attributes:
        text: the texts, none of them null or blank, [documents].
        stated: what is known of them, [documents] each: a part of STATED, null where it is not known. `original_split`
            is always there: the publisher's split (`train`, `dev`, `test`, or empty).
        numbers: line or row of each, counted from 1 at the shard's beginning, [documents]; where a shard has several
            files, or documents of several lines, `keys` says where they are.
        keys: what tells each from every other document of its source; None where the file's name and the number do.
        rejected: documents that cannot be read; their lines are counted as `numbers` are, unless there are keys.
        lines: of the file that the batch takes up, documents or not.
    """

    text: pa.StringArray
    stated: dict[str, pa.Array]
    numbers: npt.NDArray[np.int64]
    keys: list[str] | None = None
    rejected: list[Rejected] = field(default_factory=list)
    lines: int = 0

    def __len__(self) -> int:
        return len(self.text)


def complete(
    columns: Mapping[str, pa.Array], splits: str | Sequence[str], source: Source, documents: int
) -> dict[str, pa.Array]:
    """Complete what documents state with what is said of their source.

    Args:
        columns: what they state, [documents] each: a part of STATED. All are text but `commercial`, a bool.
        splits: the publisher's split that the file's name states, or each document's file's.
        source: what is said of all of them.
        documents: how many they are.

    Returns:
        What is known of them, [documents] each: a part of STATED, `original_split` always.
    """
    known = {name: column for name, column in columns.items() if column.null_count < documents}
    known["commercial"] = _commercial(known, source, documents)
    _fill(known, _licence_columns(known.get("licence"), source, documents))
    said = {"document_type": source.document_type, **facts_of_source(source)}
    _fill(known, {name: pa.repeat(pa.scalar(value), documents) for name, value in said.items() if value})
    known[SPLIT] = _splits(known.get(SPLIT), splits, documents)
    filled = {name for name, column in known.items() if name == SPLIT or column.null_count < documents}
    return {name: known[name] for name in STATED if name in filled}


def _fill(known: dict[str, pa.Array], columns: Mapping[str, pa.Array]) -> None:
    """Put values where none are known."""
    for name, column in columns.items():
        known[name] = pc.coalesce(known[name], column) if name in known else column


def _licence_columns(licences: pa.Array | None, source: Source, documents: int) -> dict[str, pa.Array]:
    """The facts about the licences, [documents] each; `licences` are those that the documents state."""
    stated = pa.nulls(documents, pa.string()) if licences is None else licences
    encoded = pc.fill_null(stated, "").dictionary_encode()
    facts = [licence_facts(licence, source) for licence in encoded.dictionary.to_pylist()]
    names = facts[0] if facts else ()
    columns = {name: pa.array([each[name] or None for each in facts], pa.string()) for name in names}
    return {name: column.take(encoded.indices) for name, column in columns.items() if column.null_count < len(facts)}


def _commercial(known: Mapping[str, pa.Array], source: Source, documents: int) -> pa.Array:
    stated = known.get("commercial", pa.nulls(documents, pa.bool_()))
    if "licence" in known:
        stated = pc.coalesce(stated, _of_licence(known["licence"], source))
    said = may_be_sold(None, None, source)
    return stated if said is None else pc.fill_null(stated, said)


def _of_licence(licences: pa.Array, source: Source) -> pa.Array:
    """Whether documents of these licences may be used commercially, null where the licence is."""
    encoded = licences.dictionary_encode()
    says = [may_be_sold(None, licence, source) for licence in encoded.dictionary.to_pylist()]
    return pa.array(says, pa.bool_()).take(encoded.indices)


def _splits(stated: pa.Array | None, splits: str | Sequence[str], documents: int) -> pa.Array:
    of_files = pa.repeat(pa.scalar(splits), documents) if isinstance(splits, str) else pa.array(splits, pa.string())
    if stated is None:
        return of_files
    encoded = stated.dictionary_encode()
    words = pa.array([split_word(word) for word in encoded.dictionary.to_pylist()], pa.string())
    return pc.coalesce(words.take(encoded.indices), of_files)


def of_records(
    records: Sequence[tuple[int, Record]],
    source: Source,
    *,
    rejected: list[Rejected],
    lines: int = 0,
    keyed: bool = False,
) -> Batch:
    """A batch of records that were read one by one.

    Args:
        records: each with its line or row in the shard.
        source: what is said of all of them.
        rejected: see `Batch`.
        lines: see `Batch`.
        keyed: whether the records' own keys say where they are.
    """
    text = _texts([record for _, record in records])
    present = {name for _, record in records for name in record.stated if name in STATED}
    columns = {
        name: pa.array(
            [record.stated.get(name) for _, record in records], pa.bool_() if name == "commercial" else pa.string()
        )
        for name in present
    }
    stated = complete(columns, [record.split for _, record in records], source, len(text))
    numbers = np.fromiter((number for number, _ in records), np.int64, len(records))
    keys = [record.key for _, record in records] if keyed else None
    return Batch(text, stated, numbers, keys=keys, rejected=rejected, lines=lines)


def _texts(records: Sequence[Record]) -> pa.StringArray:
    """The records' texts. Their UTF-8 is held once: a string keeps what Arrow asks it for.

    Raises:
        UserError: a text is longer than Arrow's offsets reach.
    """
    parts = [record.text.encode() for record in records]
    longest = max(range(len(parts)), key=lambda number: len(parts[number]), default=0)
    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    if offsets[-1] > LONGEST:
        raise UserError(
            f"a document of {len(parts[longest]) / 1e9:.1f} GB",
            where=records[longest].key,
            allowed=f"{LONGEST / 1e9:.1f} GB of UTF-8 in one document",
            fix="cut it into several",
        )
    starts, data = pa.py_buffer(offsets.astype(np.int32)), pa.py_buffer(b"".join(parts))
    return cast(pa.StringArray, pa.StringArray.from_buffers(len(parts), starts, data))


def is_visible(text: pa.StringArray) -> npt.NDArray[np.bool_]:
    """Which texts are not null and hold more than white space and control characters, [documents]."""
    return pc.fill_null(pc.match_substring_regex(text, VISIBLE), False).to_numpy(zero_copy_only=False)


def as_stated(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """A column of text or whole numbers as text, null where it says nothing."""
    text = one_chunk(column.cast(pa.string()))
    return pc.if_else(pc.match_substring_regex(text, VISIBLE), text, pa.scalar(None, pa.string()))


def one_chunk(column: pa.Array | pa.ChunkedArray) -> Any:
    """A column as one array."""
    if isinstance(column, pa.Array):
        return column
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def first_stated(columns: Mapping[str, pa.Array], names: Mapping[str, str]) -> dict[str, pa.Array]:
    """Values that fields state: of several fields that state the same, the first that is filled.

    Args:
        columns: field -> its values, null where it is not filled.
        names: field -> what it states, in order of precedence.
    """
    stated: dict[str, pa.Array] = {}
    for field_name, what in names.items():
        if field_name in columns:
            column = columns[field_name]
            stated[what] = pc.coalesce(stated[what], column) if what in stated else column
    return stated
