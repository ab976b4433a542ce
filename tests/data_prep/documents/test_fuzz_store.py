"""A corpus on disk, damaged."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pdapt.core.errors import UserError
from pdapt.data_prep.dedup.parts import parts_of
from pdapt.data_prep.documents.record import Rejected
from pdapt.data_prep.documents.store import (
    REJECTED_SCHEMA,
    SCHEMA,
    TEXTS,
    read_counts,
    read_documents,
    read_rejected,
    write_documents,
    write_rejected,
)

Fuzz = Callable[..., None]


def test_fuzz_corpus(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    row = dict.fromkeys(TEXTS, "é") | {"commercial": None, "words": 3}
    write_documents(path, iter([row | {"text": f"Dose {number} mg"} for number in range(20)]), {"kept": 20})

    def read() -> None:
        read_counts(path)
        for text, source in read_documents(path, ("text", "source")):
            assert (text + source).encode(errors="strict") is not None

    fuzz(path, read)


def test_fuzz_parts(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    row = dict.fromkeys(TEXTS, "é") | {"commercial": None, "words": 3}
    write_documents(path, iter([row | {"text": f"Dose {number} mg"} for number in range(20)]), {"kept": 20})
    fuzz(path, lambda: [text.to_pylist() for part in parts_of(path) for text in part.read()])


def test_a_corpus_with_other_columns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = {name: ["x"] for name in TEXTS} | {"commercial": [True], "words": [1]}
    for wrong in ({"text": [5]}, {"text": [None]}, {"text": [b"x"]}):
        pq.write_table(pa.table(rows | wrong), path)
        with pytest.raises(UserError, match="the column text is not that of a corpus"):
            list(read_documents(path, ("text",)))
    pq.write_table(pa.table(rows, SCHEMA), path)
    assert list(read_documents(path, ("text",))) == [("x",)]


def test_fuzz_rejected(fuzz: Fuzz, tmp_path: Path) -> None:
    path = tmp_path / "rejected.parquet"
    write_rejected(path, [Rejected("a.jsonl", 3, "no text"), Rejected("b.jsonl", 9, "not JSON")])
    fuzz(path, lambda: [(row.file + row.reason, row.line + 1) for row in read_rejected(path)])


def test_rejected_documents_that_lack_a_reason_are_refused(tmp_path: Path) -> None:
    """A damage that fuzzing made: the file is whole, and a value of it is gone."""
    path = tmp_path / "rejected.parquet"
    pq.write_table(pa.table({"file": ["a.jsonl"], "line": [3], "reason": [None]}, REJECTED_SCHEMA), path)
    with pytest.raises(UserError, match="rows without a file, a line or a reason"):
        read_rejected(path)
