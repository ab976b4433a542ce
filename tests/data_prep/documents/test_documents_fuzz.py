"""Whatever bytes a file holds, its documents are read, or it is refused; alike by columns and record by record."""

import gzip
import io
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading_helpers import survey_of

from pdapt.core.errors import UserError
from pdapt.data_prep.documents.description import describe
from pdapt.data_prep.documents.reading import read_source
from pdapt.data_prep.documents.record import Record, Rejected
from pdapt.data_prep.documents.survey import Survey
from pdapt.data_prep.tokens.selection.shards import plan_shards, read_shard

ROWS: list[dict[str, Any]] = [
    {"id": n, "text": f"Dose {n} : « 5–10 mg », œdème.", "licence": "CC BY-NC", "commercial": None, "lang": "fr"}
    for n in range(12)
]
LINES = "".join(json.dumps(row, ensure_ascii=n % 2 == 0) + "\n" for n, row in enumerate(ROWS)).encode()
ARRAY = json.dumps(ROWS, indent=1, ensure_ascii=False).encode()
TABLE = "id;text;licence\n" + "".join(f'{r["id"]};"{r["text"]}";{r["licence"]}\n' for r in ROWS)
QUESTION: dict[str, Any] = {"id": "a", "question": "?", "answers": {"a": "x"}, "correct_answers": ["a"]}
QUESTIONS = json.dumps([QUESTION] * 9).encode()
E3C = json.dumps(ROWS[0] | {"publication_date": "2011", "source_url": "u", "type": "note", "authors": [{"a": "b"}]})


def parquet() -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(ROWS).set_column(1, "text", pa.array([row["text"] for row in ROWS], pa.string_view()))
    pq.write_table(table, sink, row_group_size=10)
    return sink.getvalue()


FILES: dict[str, bytes] = {
    "a.jsonl": LINES,
    "a.jsonl.gz": gzip.compress(LINES),
    "a.json.xz": lzma.compress(ARRAY),
    "a.zst": pa.Codec("zstd").compress(LINES, asbytes=True),
    "utf16": LINES.decode().encode("utf-16"),
    "a.json": ARRAY,
    "a.csv": TABLE.encode(),
    "a.parquet": parquet(),
    "a.txt": TABLE.replace(";", " ").encode(),
    "seq.in": TABLE.encode(),
    "train.json": QUESTIONS,
    "FR1.json": E3C.encode(),
    "dialogues": "d01 Bonjour\np01 J’ai mal.\n".encode() * 9,
    "CIS_CPD_bdpm.txt": b"60002283\tliste I\n60002284\tprescription\n" * 9,
}
SOURCES = {"train.json": "FRENCHMEDMCQA", "FR1.json": "E3C", "dialogues": "MQC", "CIS_CPD_bdpm.txt": "BDPM"}
"""Those that are read as a registered source's."""
NAMED = ("a.jsonl", "train.json", "FR1.json", "dialogues")
"""Those that get what is no copy of a file: it is told by content, and for others by no other name."""
Row = dict[str, Any]


@pytest.mark.parametrize("name", FILES)
def test_fuzz_documents(tmp_path: Path, fuzz: Callable[..., None], name: str) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name])
    fuzz(path, lambda: check(path), hostile=name in NAMED)


def test_half_a_surrogate_pair_in_a_question_spoils_it_alone(tmp_path: Path) -> None:
    path = tmp_path / "train.json"
    for wrong in ({"question": "\ud800?"}, {"id": "\ud800"}, {"answers": {"a": "\ud800"}}):
        path.write_text(json.dumps([QUESTION | wrong, QUESTION]))
        questions = survey_of(path, format="FRENCHMEDMCQA")
        rows, rejected = by_records(questions)
        assert (len(rows), [line for line, _ in rejected]) == (1, [1])
        assert by_shards(questions, 10**9)[1] == rejected


def test_a_parquet_file_whose_columns_are_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["a"], "naïf": ["b"]}), path)
    path.write_bytes(path.read_bytes().replace("naïf".encode(), b"na\xff\xfff"))
    with pytest.raises(UserError, match="not a Parquet file, or a damaged one"):
        by_records(survey_of(path))


def check(path: Path) -> None:
    """Read a file in each way; refuse it if it, or a document of it, is refused."""
    found = survey_of(path, licence="Etalab", commercial=True, format=SOURCES.get(path.name))
    one_by_one = refused_or(lambda: by_records(found))
    for shard_bytes in (10**9, 700):
        shards = refused_or(lambda size=shard_bytes: by_shards(found, size))
        assert isinstance(shards, UserError) == isinstance(one_by_one, UserError), (shards, one_by_one)
        assert isinstance(shards, UserError) or shards == one_by_one
    if isinstance(one_by_one, UserError):
        raise UserError(str(one_by_one).encode().decode())
    _, rejected = one_by_one
    if rejected:
        raise UserError("documents are spoilt")


Read = tuple[list[Row], list[tuple[int, str]]]


def refused_or(read: Callable[[], Read]) -> Read | UserError:
    try:
        return read()
    except UserError as error:
        return error


def by_records(found: Survey) -> tuple[list[Row], list[tuple[int, str]]]:
    faults: list[UserError] = []
    items = list(read_source(found, faults))
    if faults:
        raise faults[0]
    rows = []
    for record in items:
        if isinstance(record, Record):
            known = describe(record, found.source) | {"text": record.text}
            del known["origin"]
            rows.append({name: value for name, value in known.items() if value not in ("", None)})
    return rows, [(item.line, item.reason) for item in items if isinstance(item, Rejected)]


def by_shards(found: Survey, shard_bytes: int) -> tuple[list[Row], list[tuple[int, str]]]:
    rows, rejected, before = [], [], 0
    for shard in plan_shards(found, shard_bytes):
        lines = before
        for batch in read_shard(shard):
            columns = {name: column.to_pylist() for name, column in batch.stated.items()}
            for place, text in enumerate(batch.text.to_pylist()):
                key = batch.keys[place] if batch.keys else f"{shard.name}#{before + int(batch.numbers[place])}"
                row = {"doc_id": f"{shard.source}/{key}", "source": shard.source, "text": text}
                row |= {name: values[place] for name, values in columns.items() if values[place] not in ("", None)}
                rows.append(row)
            rejected += [(one.line + (0 if shard.whole else before), one.reason) for one in batch.rejected]
            lines += batch.lines
        before = lines
    return rows, rejected
