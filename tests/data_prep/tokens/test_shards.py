"""Shards: together they are the file, however it is cut, and a fault in it is said with its place."""

import gzip
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reading_helpers import shards_of

from pdapt.core.errors import UserError
from pdapt.data_prep.documents.record import is_blank
from pdapt.data_prep.tokens.selection import batches, shards, word_counts
from pdapt.data_prep.tokens.selection.selection import Choice, make_plan
from pdapt.data_prep.tokens.selection.shards import read_shard, utf8
from pdapt.data_prep.tokens.selection.word_counts import count_words

SPACES = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2003\u200a\u2028\u2029\u202f\u205f\u3000"
NEAR_SPACES = "\u2007\u200b\u200d\u180e\ufeffé«»\u2019\u20ac\u00c2\u3001\u1681\u0385\U000e0020"
"""Characters that share bytes with white space, or look like it, and are not all white space."""
WORDS = st.text(st.one_of(st.characters(exclude_categories=("Cc", "Cs")), st.sampled_from(SPACES + NEAR_SPACES)))
LINE_ENDS = st.sampled_from(["\n", "\r\n", "\n\n", "\n  \r\n", "\n\r\n\n"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shards")


def read(file: Path, shard_bytes: int, text_column: str = "text") -> list[list[str]]:
    """The texts of each shard."""
    return [
        [text for batch in read_shard(shard) for text in batch.text.to_pylist()]
        for shard in shards_of("source", file, text_column, shard_bytes)
    ]


def read_all(file: Path, text_column: str = "text") -> list[str]:
    return [text for shard in read(file, 10**9, text_column) for text in shard]


def scan(file: Path, shard_bytes: int = 10**9) -> None:
    """Read a file as the stage's first pass does."""
    make_plan(shards_of("source", file, "text", shard_bytes), Choice(0.5), 1)


def lines(*rows: object) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.slow
@given(
    texts=st.lists(st.text(max_size=30), min_size=1, max_size=30),
    ends=st.data(),
    escaped=st.booleans(),
    closed=st.booleans(),
    shard_bytes=st.integers(1, 300),
    batch_bytes=st.sampled_from([1, 7, 64, 4_000_000]),
)
@settings(max_examples=100, deadline=None)
def test_the_shards_of_jsonl_are_the_file(
    folder: Path, texts: list[str], ends: st.DataObject, escaped: bool, closed: bool, shard_bytes: int, batch_bytes: int
) -> None:
    rows = [json.dumps({"other": [text], "text": text}, ensure_ascii=escaped) for text in texts]
    content = "".join(row + ends.draw(LINE_ENDS) for row in rows)
    content = (content if closed else content.rstrip()).encode()
    (folder / "a.jsonl").write_bytes(content)
    (folder / "a.jsonl.gz").write_bytes(gzip.compress(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "BATCH_BYTES", batch_bytes)
        found = read(folder / "a.jsonl", shard_bytes)
        expected = [text for text in texts if not is_blank(text)]
        assert [text for shard in found for text in shard] == expected
        assert [text for shard in read(folder / "a.jsonl.gz", shard_bytes) for text in shard] == expected
    assert len(found) == (
        -(-len(content) // shard_bytes) if len(content) * shards.SMALL > shard_bytes else len(content) > 0
    )


@given(
    texts=st.lists(st.one_of(st.none(), st.text(max_size=30)), max_size=40),
    rows_of_group=st.integers(1, 15),
    shard_bytes=st.integers(1, 2000),
    batch_bytes=st.sampled_from([1, 64, 4_000_000]),
    kind=st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]),
)
@settings(max_examples=60, deadline=None)
def test_the_shards_of_parquet_are_the_file(
    folder: Path,
    texts: list[str | None],
    rows_of_group: int,
    shard_bytes: int,
    batch_bytes: int,
    kind: pa.DataType,
) -> None:
    file = folder / "a.parquet"
    nested = pa.array([{"a": {"b": number}, "text": ["x"]} for number in range(len(texts))])
    table = pa.table({"nested": nested, "text": pa.array(texts, pa.string()).cast(kind)})
    pq.write_table(table, file, row_group_size=rows_of_group)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "BATCH_BYTES", batch_bytes)
        found = read(file, shard_bytes)
    assert [text for shard in found for text in shard] == [text for text in texts if text and not is_blank(text)]
    if shard_bytes == 1:
        groups = [pq.read_metadata(file).row_group(number) for number in range(pq.read_metadata(file).num_row_groups)]
        assert len(found) == sum(max(1, min(group.num_rows, shards.GROUP_PARTS)) for group in groups)


def test_several_row_groups_are_several_shards(tmp_path: Path) -> None:
    texts = [f"{number:02} " * 500 for number in range(100)]
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", row_group_size=10, use_dictionary=False)
    group = pq.read_metadata(tmp_path / "a.parquet").row_group(0).column(0).total_uncompressed_size
    found = read(tmp_path / "a.parquet", 3 * group - group // 2)
    assert [len(shard) for shard in found] == [30, 30, 30, 10]
    assert [text for shard in found for text in shard] == texts


def test_a_row_group_larger_than_a_shard_is_several_shards(tmp_path: Path) -> None:
    texts = [f"{number:02} " * 500 for number in range(100)]
    options: dict[str, Any] = {"use_dictionary": False, "row_group_size": 40}
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", **options)
    group = pq.read_metadata(tmp_path / "a.parquet").row_group(0).column(0).total_uncompressed_size
    found = read(tmp_path / "a.parquet", group // 3)
    assert [len(shard) for shard in found] == [13, 13, 14, 13, 13, 14, 20]
    assert [text for shard in found for text in shard] == texts


def test_a_document_that_cannot_be_read_has_its_number_in_the_file(tmp_path: Path) -> None:
    texts: list[str | None] = [f"{number:02} " * 500 for number in range(100)]
    texts[3] = texts[71] = None
    pq.write_table(pa.table({"text": texts}), tmp_path / "a.parquet", use_dictionary=False)
    for shard_bytes in (20_000, 10**9):
        plan = make_plan(shards_of("source", tmp_path / "a.parquet", "text", shard_bytes), Choice(0.5), 1)
        assert [each.line for each in plan.rejected] == [4, 72]


@pytest.mark.slow
def test_a_line_longer_than_a_batch_is_one_document(tmp_path: Path) -> None:
    texts = ["avant", "é" * (shards.BATCH_BYTES + 17), "après"]
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines({"text": text}) for text in texts))
    for shard_bytes in (shards.SHARD_BYTES, 5_000_000, 1_000_003):
        assert [text for shard in read(tmp_path / "a.jsonl", shard_bytes) for text in shard] == texts


def test_every_document_has_its_publishers_split(tmp_path: Path) -> None:
    rows = [{"text": "a", "original_split": "Validation"}, {"text": "b"}, {"text": "c", "original_split": "fold 3"}]
    for name, default in (("a.jsonl", ""), ("test-00000-of-00001.jsonl", "test"), ("train.parquet", "train")):
        if name.endswith(".parquet"):
            pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
        else:
            (tmp_path / name).write_bytes(lines(*rows))
        (batch,) = read_shard(shards_of("s", tmp_path / name, "text")[0])
        assert batch.stated["original_split"].to_pylist() == ["dev", default, "fold 3"]


def test_escapes_and_a_byte_order_mark_are_read_as_text(tmp_path: Path) -> None:
    content = b'\xef\xbb\xbf{"text":"\\u00e9\\ud83d\\ude00\\u2028\\n\\u0000"}\n{"text":"\xe2\x80\xa8b"}\n'
    (tmp_path / "a.jsonl").write_bytes(content)
    assert read_all(tmp_path / "a.jsonl") == ["é😀\u2028\n\x00", "\u2028b"]


@pytest.mark.parametrize("column", ["corps", "source", "doc_id", "document_type"])
def test_the_text_column_may_have_any_name(tmp_path: Path, column: str) -> None:
    rows = [{column: "un", "text": "x"}, {column: "deux", "text": "x"}]
    (tmp_path / "a.jsonl").write_bytes(lines(*rows))
    (tmp_path / "blank.jsonl").write_bytes(b"\n" + lines(*rows))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    for name in ("a.jsonl", "blank.jsonl", "a.parquet"):
        assert read_all(tmp_path / name, column) == ["un", "deux"]
        assert make_plan(shards_of("s", tmp_path / name, column), Choice(0.5), 1).names == ["s"]


WRONG_LINES: dict[str, tuple[bytes, str]] = {
    "bad JSON": (b'{"text": "a"', "not JSON: Expecting ',' delimiter at column"),
    "two objects": (b'{"text": "a"} {"text": "b"}', "not JSON: Extra data"),
    "a raw control character": (b'{"text": "a\tb"}', "not JSON: Invalid control character"),
    "a list": (b'["a"]', "an array, not a JSON object"),
    "null": (b"null", "null, not a JSON object"),
    "null after an object": (b'{"text": "a"} null', "not JSON: Extra data"),
    "a number": (b"5", "a number, not a JSON object"),
    "no text column": (b'{"texte": "a", "id": 1}', "there is no text column 'text'; there are: texte, id"),
    "no column": (b"{}", "there is no text column 'text'"),
    "the text twice": (b'{"text": "a", "text": "b"}', "the object names text more than once"),
    "null as text": (b'{"text": null}', "the text 'text' is empty"),
    "a blank text": (b'{"text": " \\n\\u00a0\\u0000"}', "the text 'text' is empty"),
    "a number as text": (b'{"text": 5}', "'text' is int, not text"),
    "NaN as text": (b'{"text": NaN}', "'text' is float, not text"),
    "a list as text": (b'{"text": ["a"]}', "'text' is list, not text"),
    "text as a flag": (b'{"text": "a", "commercial": "perhaps"}', "'commercial' is 'perhaps', neither true nor false"),
    "half a surrogate pair": (b'{"text": "a\\ud83d"}', "'text' holds half of a surrogate pair"),
    "the other half": (b'{"text": "\\ude00"}', "'text' holds half of a surrogate pair"),
    "half a pair as source": (b'{"text": "a", "source": "\\ud83d"}', "'source' holds half of a surrogate pair"),
    "100,000 brackets": (b'{"text": "a", "n": ' + b"[" * 10**5 + b"]" * 10**5, "nested too deep"),
    "a line of brackets": (b"[" * 10**5, "nested too deep"),
}


@pytest.mark.parametrize(("line", "what"), WRONG_LINES.values(), ids=WRONG_LINES.keys())
@pytest.mark.parametrize("before", [1, 300])
@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_wrong_line_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: bytes, what: str, before: int, name: str
) -> None:
    monkeypatch.setattr(shards, "BATCH_BYTES", 1000)
    content = lines(*[{"text": "juste"}] * before) + line + b"\n" + lines({"text": "juste"})
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    for shard_bytes in (3000, 10**9):  # by columns, and record by record
        plan = make_plan(shards_of("source", tmp_path / name, shard_bytes=shard_bytes), Choice(0.5), 1)
        (one,) = plan.rejected
        assert (one.file, one.line) == (str(tmp_path / name), before + 1)
        assert what in one.reason
        assert sum(len(scan.hashes) for scan in plan.scans) == before + 1


UNUSUAL_LINES = {
    "a number of 5,000 digits": b'{"text": "a", "n": ' + b"1" * 5000 + b"}",
    "as an id": b'{"text": "a", "id": ' + b"1" * 5000 + b"}",
    "10,000 brackets in another field": b'{"text": "a", "n": ' + b"[" * 10**4 + b"]" * 10**4 + b', "id": 3}',
    "10,000 objects in another field": b'{"n": ' + b'{"a":' * 10**4 + b"1" + b"}" * 10**4 + b', "text": "a"}',
    "NaN": b'{"text": "a", "n": NaN, "date": NaN}',
    "numbers as ids": b'{"text": "a", "id": 7, "source": 3.5}',
    "structures": b'{"text": "a", "source": {"url": "u"}, "authors": [{"name": "A"}, "B"], "licence": null}',
}


@pytest.mark.parametrize("line", UNUSUAL_LINES.values(), ids=UNUSUAL_LINES.keys())
def test_an_unusual_line_is_read_alike_alone_and_among_others(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "a.jsonl"
    found = []
    for others in (b"", b'\t{"text": "autre"}\n'):  # which is read line by line, and its neighbours with it
        file.write_bytes((lines({"text": "un"}) + line + b"\n" + others) * 3)
        for shard_bytes in (100, 10**9):
            batches = [batch for shard in shards_of("s", file, shard_bytes=shard_bytes) for batch in read_shard(shard)]
            assert not any(batch.rejected for batch in batches)
            rows = [row for batch in batches for row in rows_of(batch)]
            found.append([row for row in rows if row["text"] != "autre"])
    assert all(rows == found[0] for rows in found)
    assert [row["text"] for row in found[0]] == ["un", "a"] * 3


def rows_of(batch: shards.Batch) -> list[dict[str, Any]]:
    columns = {"text": batch.text.to_pylist()} | {name: column.to_pylist() for name, column in batch.stated.items()}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


def test_text_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    for line in (b'{"text": "\xe9t\xe9"}', b'{"text": "a", "source": "\xe9t\xe9"}', b'{"text": "a", "other": "\xe9"}'):
        for before in (0, 1, 300):
            content = lines(*[{"text": "juste"}] * before) + line + b"\n"
            (tmp_path / "a.jsonl").write_bytes(content)
            for shard_bytes in (3000, 10**9):
                with pytest.raises(UserError) as caught:
                    scan(tmp_path / "a.jsonl", shard_bytes)
                place = content.index(b"\xe9") + 1
                assert caught.value.what == f"not UTF-8: byte 0xe9 at line {before + 1}, byte {place} of the file"
                assert caught.value.where == str(tmp_path / "a.jsonl")


def test_the_text_column_is_named_if_no_record_has_it(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines({"texte": "a", "id": 1}, {"texte": "b"}))
    with pytest.raises(UserError, match="there is no text column 'text'") as caught:
        scan(tmp_path / "a.jsonl")
    assert (caught.value.allowed, "--text-column" in caught.value.fix) == ("texte, id", True)


def binary_as(kind: pa.DataType, values: Sequence[bytes]) -> pa.Array:
    """Bytes under the name of text, which Arrow and Parquet do not check."""
    array = pa.array(values, pa.binary() if kind == pa.string() else pa.large_binary())
    return pa.Array.from_buffers(kind, len(values), array.buffers())


def parquet_with(**columns: Any) -> Callable[[Path], None]:
    return lambda file: pq.write_table(pa.table(columns), file)


def truncated(file: Path) -> None:
    pq.write_table(pa.table({"text": ["texte"] * 1000}), file)
    file.write_bytes(file.read_bytes()[:-20])


def with_two_columns(file: Path) -> None:
    pq.write_table(pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], ["text", "text"]), file)


def with_damaged_pages(file: Path) -> None:
    pq.write_table(pa.table({"text": [f"texte {n}" for n in range(5000)]}), file, compression="zstd")
    content = bytearray(file.read_bytes())
    content[40:4000] = bytes(3960)
    file.write_bytes(content)


def jsonl(file: Path) -> None:
    file.write_bytes(lines({"text": "a"}))


WRONG_PARQUET: dict[str, tuple[Callable[[Path], None], str]] = {
    "no text column": (parquet_with(texte=["a"]), "there is no text column 'text'"),
    "numbers": (parquet_with(text=[1, 2]), "the column 'text' holds int64, not text"),
    "lists": (parquet_with(text=[["a"]]), "the column 'text' holds list<"),
    "a structure": (parquet_with(text=[{"a": "b"}]), "the column 'text' holds struct<"),
    "bytes": (parquet_with(text=[b"a"]), "the column 'text' holds binary, not text"),
    "two text columns": (with_two_columns, "there is more than one column 'text'"),
    "Latin-1 text": (parquet_with(text=binary_as(pa.string(), [b"a", b"\xe9t"])), "the text is not UTF-8"),
    "large Latin-1 text": (parquet_with(text=binary_as(pa.large_string(), [b"\xe9t"])), "the text is not UTF-8"),
    "Latin-1 source": (
        parquet_with(text=["a"], source=binary_as(pa.string(), [b"\xe9t"])),
        "the text is not UTF-8",
    ),
    "a truncated file": (truncated, "not a Parquet file"),
    "damaged pages": (with_damaged_pages, "the Parquet file is damaged in row group 0"),
    "JSONL": (jsonl, "not a Parquet file"),
}


@pytest.mark.parametrize(("write", "what"), WRONG_PARQUET.values(), ids=WRONG_PARQUET.keys())
def test_a_wrong_parquet_file_is_named(tmp_path: Path, write: Callable[[Path], None], what: str) -> None:
    file = tmp_path / "a.parquet"
    write(file)
    with pytest.raises(UserError) as caught:
        scan(file)
    assert what in caught.value.what
    assert caught.value.where == str(file)


@pytest.mark.parametrize("damage", [lambda raw: raw[:-20], lambda raw: raw[:50] + b"\0" * 50 + raw[100:]])
def test_damaged_gzip_is_named(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    raw = gzip.compress(lines(*({"text": f"{n * n}"} for n in range(1000))))
    (tmp_path / "a.jsonl.gz").write_bytes(damage(raw))
    with pytest.raises(UserError, match="the gzip data is damaged") as caught:
        scan(tmp_path / "a.jsonl.gz")
    assert caught.value.where == str(tmp_path / "a.jsonl.gz")


def test_a_long_text_is_a_batch_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "BATCH_BYTES", 10)
    texts = ["un", "deux", "un texte de plus de dix caractères", "trois", "quatre", "cinq"]
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.txt").write_text(text)
    (shard,) = shards_of("source", tmp_path, "text", 10**9)
    found = [batch.text.to_pylist() for batch in read_shard(shard)]
    assert found == [texts[:2], texts[2:3], texts[3:4], texts[4:]]


def test_a_column_in_several_chunks_becomes_one_array() -> None:
    column = pa.chunked_array([["un", "deux"], ["trois"]])
    assert batches.one_chunk(column).to_pylist() == ["un", "deux", "trois"]
    assert batches.as_stated(column).to_pylist() == ["un", "deux", "trois"]


def test_a_text_longer_than_arrows_places_reach_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "LONGEST", 9)
    (tmp_path / "a.txt").write_text("neuf mots")
    assert read_all(tmp_path) == ["neuf mots"]
    (tmp_path / "b.txt").write_text("dix  mots.")
    with pytest.raises(UserError, match=r"(?s)a document of 0\.0 GB.*0\.0 GB of UTF-8 in one document") as caught:
        read_all(tmp_path)
    assert caught.value.where == "b.txt"


@pytest.mark.slow
@given(st.lists(WORDS, max_size=8), st.sampled_from([2, 5, word_counts.BLOCK_BYTES]))
@settings(max_examples=200, deadline=None)
def test_words_are_counted_as_python_counts_them(texts: list[str], block: int) -> None:
    array = pa.array(["avant l'autre", *texts, "après"], pa.string()).slice(1, len(texts))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(word_counts, "BLOCK_BYTES", block)
        assert count_words(*utf8(array)).tolist() == [len(text.split()) for text in texts]


def test_every_white_space_ends_a_word() -> None:
    texts = [f"a{chr(code)}b" for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    array = pa.array(texts)
    expected = np.array([len(text.split()) for text in texts])
    different = np.flatnonzero(count_words(*utf8(array)) != expected).tolist()
    assert [texts[number][1] for number in different] == [chr(code) for code in range(32) if not chr(code).isspace()]
