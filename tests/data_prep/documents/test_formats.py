"""Every format is read under any name, by its content; what is not read is named, and so is every fault."""

import bz2
import codecs
import csv
import gzip
import io
import json
import lzma
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading_helpers import items_of, records_of, survey_of

from pdapt.core.errors import UserError
from pdapt.data_prep.documents import streams
from pdapt.data_prep.documents.content import csv_columns
from pdapt.data_prep.documents.discover import discover
from pdapt.data_prep.documents.record import Rejected

TEXTS = ["Le patient va « bien » ; 5–10 mg.", "37,5 °C,\nhémoglobine\t12", '"œdème", 3 ; 4']
STRING = pa.string()
ROWS: list[dict[str, Any]] = [{"id": n, "text": text, "license": "CC BY 4.0"} for n, text in enumerate(TEXTS)]


def jsonl(rows: list[dict[str, Any]] = ROWS) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def table(delimiter: str, end: str = "\r\n") -> bytes:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(ROWS[0]), delimiter=delimiter, lineterminator=end)
    writer.writeheader()
    writer.writerows(ROWS)
    return stream.getvalue().encode()


def parquet(kind: pa.DataType = STRING) -> bytes:
    columns = pa.table(
        {
            "license": pa.array([row["license"] for row in ROWS]).dictionary_encode(),
            "text": pa.array(TEXTS).cast(kind),
            "id": pa.array(range(len(ROWS)), pa.uint16()),
        }
    )
    sink = io.BytesIO()
    pq.write_table(columns, sink)
    return sink.getvalue()


def zstd(content: bytes) -> bytes:
    codec = pa.Codec("zstd")
    half = len(content) // 2
    return codec.compress(content[:half], asbytes=True) + codec.compress(content[half:], asbytes=True)


def members(content: bytes) -> bytes:
    half = len(content) // 2
    return gzip.compress(content[:half]) + gzip.compress(content[half:])


CONTENTS = {
    "jsonl": jsonl(),
    "jsonl, old Mac": jsonl().replace(b"\n", b"\r"),
    "jsonl, blank lines": b"\n\n" + jsonl().replace(b"\n", b"\r\n\r\n"),
    "array": json.dumps(ROWS, ensure_ascii=False).encode(),
    "array, indented": json.dumps(ROWS, indent=2).encode(),
    "objects, indented": "\n".join(json.dumps(row, indent=1) for row in ROWS).encode(),
    "csv": table(","),
    "csv, semicolons": table(";"),
    "csv, Excel": b"sep=;\r\n" + table(";"),
    "tsv": table("\t", "\n"),
}
PACKINGS: dict[str, Callable[[bytes], bytes]] = {
    "plain": lambda content: content,
    "gzip": members,
    "zstd": zstd,
    "xz": lambda content: lzma.compress(content[:9]) + lzma.compress(content[9:]),
    "bzip2": lambda content: bz2.compress(content[:9]) + bz2.compress(content[9:]),
}
ENCODINGS: dict[str, Callable[[bytes], bytes]] = {
    "UTF-8": lambda content: content,
    "UTF-8 with a mark": lambda content: codecs.BOM_UTF8 + content,
    "UTF-16": lambda content: content.decode().encode("utf-16"),
    "UTF-16, big end first": lambda content: codecs.BOM_UTF16_BE + content.decode().encode("utf-16-be"),
    "UTF-32": lambda content: content.decode().encode("utf-32"),
}


def check(path: Path, **options: Any) -> None:
    for place in (path, path.parent):
        records = records_of(place, **options)
        assert [record.text for record in records] == TEXTS
        assert [(r.stated["doc_id"], r.stated["licence"]) for r in records] == [(f"{n}", "CC BY 4.0") for n in range(3)]


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("content", CONTENTS)
def test_content_decides_whatever_it_is_packed_in(tmp_path: Path, content: str, packing: str) -> None:
    path = tmp_path / "wiki_00"
    path.write_bytes(PACKINGS[packing](CONTENTS[content]))
    check(path)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("content", CONTENTS)
def test_a_byte_order_mark_states_the_encoding(tmp_path: Path, content: str, encoding: str) -> None:
    path = tmp_path / "EXPORT.DAT"
    path.write_bytes(ENCODINGS[encoding](CONTENTS[content]))
    check(path)


@pytest.mark.parametrize("packing", [name for name in PACKINGS if name != "plain"])
@pytest.mark.parametrize(
    "content",
    [
        b'{"text": "' + b"a" * 5000 + b'"}\n',
        b'[{"text": "' + b"a" * 5000 + b'"}]',
        b"a" * 5000,
        b"a\n" * 2500,
        b"\n" * 5000,
    ],
    ids=["a line", "a string", "a text", "a text of lines", "blank lines"],
)
def test_what_a_packed_file_grows_to_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, packing: str
) -> None:
    monkeypatch.setattr(streams, "LINE_BYTES", 4096)
    monkeypatch.setattr(streams, "BLOCK", 512)
    path = tmp_path / "a.txt"
    path.write_bytes(PACKINGS[packing](content))
    size = r"3\.8147e-06 GiB"
    with pytest.raises(UserError, match=rf"(?s) of more than {size} once unpacked.* {size} in one piece"):
        items_of(path)
    path.write_bytes(content)
    assert len(items_of(path)) == 1


@pytest.mark.parametrize("content", [b"a" * 4096, b'{"text": "' + b"a" * 4084 + b'"}\n'], ids=["text", "line"])
def test_what_a_packed_file_may_grow_to_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    """A byte more is refused."""
    monkeypatch.setattr(streams, "LINE_BYTES", 4096)
    monkeypatch.setattr(streams, "BLOCK", 512)
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(content))
    assert len(items_of(path)) == 1
    path.write_bytes(gzip.compress(content.replace(b"a", b"aa", 1)))
    with pytest.raises(UserError, match="once unpacked"):
        items_of(path)


def test_lines_that_are_short_have_no_bound_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LINE_BYTES", 4000)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(jsonl() * 1000))
    assert len(items_of(path)) == len(TEXTS) * 1000


@pytest.mark.parametrize("mark", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029"], ids=ascii)
@pytest.mark.parametrize("kind", ["jsonl", "one line of jsonl", "csv"])
def test_what_ends_a_line_for_python_alone_ends_none(tmp_path: Path, kind: str, mark: str) -> None:
    texts = [f"un{mark}deux", f"trois{mark}{mark}quatre"][: 1 if kind.startswith("one") else 2]
    if kind == "csv":
        content = "text,note\n" + "".join(f"{text},b\n" for text in texts)
    else:
        escaped = mark < " "  # JSON asks for it
        content = "".join(json.dumps({"text": text}, ensure_ascii=escaped) + "\n" for text in texts)
    path = tmp_path / "export"
    path.write_bytes(content.encode())
    files = survey_of(path).files
    assert [file.format for file in files] == [kind.removeprefix("one line of ")]
    assert [record.text for record in records_of(path)] == texts


@pytest.mark.parametrize(
    "name", ["a.json", "a.ndjson", "A.JSONL", "a.txt", "a", "a.parquet.jsonl", "train.json.gz", "é a"]
)
def test_the_name_decides_nothing(tmp_path: Path, name: str) -> None:
    (tmp_path / "d").mkdir()
    for content in CONTENTS.values():
        (tmp_path / "d" / name).write_bytes(content)
        if not name.lower().endswith(("json", "jsonl", "gz")) or content[:1] in b"[{\n":
            check(tmp_path / "d" / name)


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.dictionary(pa.int32(), pa.large_string()),
    ],
    ids=str,
)
def test_parquet_has_several_types_of_text(tmp_path: Path, kind: pa.DataType) -> None:
    (tmp_path / "0000.PARQUET").write_bytes(parquet(kind))
    check(tmp_path / "0000.PARQUET")


def test_text_is_a_document_a_file_and_published_line_files_a_document_a_line(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "a.txt.gz").write_bytes(gzip.compress(b"un\r\ndeux\n"))
    (tmp_path / "b.TXT").write_bytes(b"\xef\xbb\xbftrois")
    (tmp_path / "data.txt").write_text("note\nde deux lignes")
    (tmp_path / "test-respiratoire.md").write_text("# EFR")
    (tmp_path / "seq.in").write_text("une\n\ndeux\n")
    records = [(record.key, record.text, record.split) for record in records_of(tmp_path)]
    assert records == [
        ("b.TXT", "trois", ""),
        ("data.txt", "note\nde deux lignes", ""),
        ("dev/a.txt.gz", "un\r\ndeux\n", "dev"),
        ("seq.in#1", "une", ""),
        ("seq.in#3", "deux", ""),
        ("test-respiratoire.md", "# EFR", ""),
    ]
    assert [r.text for r in records_of(tmp_path / "data.txt", format="lines")] == ["note", "de deux lignes"]
    assert len(records_of(tmp_path / "seq.in", format="text")) == 1


def test_format_is_forced_whatever_the_name(tmp_path: Path) -> None:
    for name in ("licence.txt", "notes.doc2", "a.jsonl"):
        (tmp_path / name).write_text('{"text": "un"}\n', encoding="utf-8")
        assert [r.text for r in records_of(tmp_path / name, format="text")] == ['{"text": "un"}\n']
        assert [r.text for r in records_of(tmp_path / name, format="jsonl")] == ["un"]
    with pytest.raises(UserError, match="no format is called 'texts'") as caught:
        discover([str(tmp_path)], format="texts")
    assert "did you mean 'text'" in caught.value.fix


def test_an_encoding_is_of_what_has_no_mark_and_is_not_utf8(tmp_path: Path) -> None:
    for name, encoding in {"a": "cp1252", "b": "utf-8", "c": "utf-16", "d": "utf-8-sig"}.items():
        (tmp_path / f"{name}.txt").write_bytes("5–10 mg d’été".encode(encoding))
    assert {r.text for r in records_of(tmp_path, encoding="cp1252")} == {"5–10 mg d’été"}
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "e.csv").write_bytes(table(";").decode().replace("–", "-").encode("utf-16-le"))
    with pytest.raises(UserError, match="UTF-16 without a byte order mark") as caught:
        survey_of(tmp_path / "only")
    assert caught.value.fix == "--encoding utf-16-le"
    assert len(records_of(tmp_path / "only", encoding="utf-16-le")) == 3
    for name in ("cp12", "rot13", "hex", "\0", ""):
        with pytest.raises(UserError, match="no encoding is called"):
            discover([str(tmp_path)], encoding=name)


UNREAD = {
    "a.pdf": (b"%PDF-1.4\n", "PDF", "pdftotext"),
    "a.docx": (b"PK\x03\x04" + bytes(26) + b"word/document.xml", "docx document", "pandoc"),
    "a.zip": (b"PK\x03\x04" + bytes(26) + b"a.txt", "ZIP archive", "unzip"),
    "a.tgz": (gzip.compress(bytes(257) + b"ustar" + bytes(250)), "tar archive", "tar xf"),
    "a.txt": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500), "old Office document", "pandoc"),
    "a.html": (b"\n<p>texte</p>", "HTML", "pandoc"),
    "page": (b"<!DOCTYPE html><html>", "HTML", "pandoc"),
    "a.xml": (b'<?xml version="1.0"?><a/>', "XML", "pandoc"),
    "wiki_00": (b'<doc id="7" url="u" title="Grippe">\nGrippe\n</doc>\n', "WikiExtractor's pages", "--json"),
    "a.png": (b"\x89PNG\r\n\x1a\n" + bytes(20), "image", ""),
    "a.bin": (bytes(range(256)), "binary data of no known format", ""),
    "a.ann": (b"T1\tdisease 0 5\tgrippe\n", "text under the ending .ann", "--format"),
    "a.py": (b"print()\n", "text under the ending .py", "--format"),
    "a.7z": (b"7z\xbc\xaf\x27\x1c", "7z archive", "unpack"),
    "a.jsonl": (b"", "an empty file", ""),
    "twice.gz": (gzip.compress(gzip.compress(b"texte")), "gzip data inside gzip data", "unpack"),
    "stub.zst": (b"\x28\xb5\x2f\xfd", "zstd data cut off after 4 bytes", "fetch"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_what_is_not_read_is_refused_alone_and_listed_beside_text(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content, reason, fix = UNREAD[name]
    (tmp_path / name).write_bytes(content)
    for place in (tmp_path, tmp_path / name):
        with pytest.raises(UserError, match=reason) as caught:
            survey_of(place)
        assert name in caught.value.where
        assert fix in caught.value.fix
    (tmp_path / "note").write_text("Un texte.")
    (tmp_path / "LICENCE.txt").write_text("CC BY")
    found = survey_of(tmp_path)
    assert [file.name for file in found.files] == ["note"]
    (kind,) = (kind for kind, names in found.unread_by_reason().items() if names == [name])
    assert reason in kind
    assert found.unread_by_reason()["about the data, by its name"] == ["LICENCE.txt"]
    said = capsys.readouterr().err
    assert f"left unread, {kind}: {name}" in said
    assert "LICENCE.txt" in said


NOISE = "\n".join(str(random.Random(number).random()) for number in range(10_000)).encode()
BAD_FILES: dict[str, tuple[bytes, str]] = {
    "latin.txt": (b"ligne\nab\xe9", "not UTF-8: byte 0xe9 at line 2, byte 9 of the file"),
    "marked.txt": (b"\xef\xbb\xbfab\xe9", "not UTF-8: byte 0xe9 at line 1, byte 6"),
    "odd.txt": ("été".encode("utf-16")[:-1], "not utf-16"),
    "cut.txt.gz": (gzip.compress(b"a line\n" * 100_000)[:-12], "the gzip data is damaged"),
    "cut.zst": (zstd(NOISE)[:-9], "the zstd data is damaged"),
    "cut.bz2": (bz2.compress(NOISE)[:-9], "the bzip2 data is damaged"),
    "cut.xz": (lzma.compress(NOISE)[:-9], "the xz data is damaged"),
    "bad.parquet": (b"PAR1 nothing", "not a Parquet file"),
    "cut.parquet": (parquet()[:-20], "not a Parquet file"),
    "inside.parquet.gz": (gzip.compress(parquet()), "Parquet inside gzip data"),
    "column.csv": (b"id;note\n1;texte\n", "there is no text column 'text'"),
    "columns.csv": (b"text,text\na,b\n", "there is more than one column 'text'"),
    "column.jsonl": (b'{"input": "a", "label": "b"}\n', "there is no text column 'text'"),
    "prose.jsonl": (b"Bonjour\n", "does not hold JSON objects"),
    "page.jsonl": (b"\n<!DOCTYPE html><html><body>503</body></html>", "an HTML page under the ending .jsonl"),
    "cut.json": (b'[{"text": "a"},\n{"text": "b"', "not JSON: Expecting ',' delimiter"),
    "after.json": (b'[{"text": "a"}]\n]', "not JSON: something follows the array"),
    "comma.json": (b'[{"text": "a"}\n{"text": "b"}]', "not JSON: ',' is missing"),
    "deep.json": (b'[{"text": "a", "b": ' + b"[" * 200_000, "nested too deep"),
}


def test_all_bad_files_are_named_at_once(tmp_path: Path) -> None:
    for name, (content, what) in BAD_FILES.items():
        (tmp_path / "one").mkdir(exist_ok=True)
        path = tmp_path / "one" / name
        path.write_bytes(content)
        with pytest.raises(UserError) as caught:
            items_of(path)
        assert what in caught.value.what or what in str(caught.value), (name, str(caught.value))
        assert str(path) in caught.value.where
    with pytest.raises(UserError) as caught:
        items_of(tmp_path / "one")
    assert {name for name in BAD_FILES if name in caught.value.where} == set(BAD_FILES)


def test_a_line_that_is_not_json_is_said_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "un"}\n{"text": "deux\n')
    (spoilt,) = (item for item in items_of(tmp_path) if isinstance(item, Rejected))
    assert (spoilt.line, spoilt.reason) == (2, "not JSON: Unterminated string starting at column 10")


def test_what_mends_several_files_is_said_once(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"note {number}.txt").write_bytes("fièvre à 39 °C".encode("cp1252"))
    with pytest.raises(UserError) as caught:
        items_of(tmp_path)
    assert caught.value.where.count("note ") == 3
    assert str(caught.value).count("--encoding cp1252") == caught.value.fix.count("--encoding cp1252") == 1
    (tmp_path / "table.jsonl").write_bytes(b'{"input": "a"}\n')
    with pytest.raises(UserError) as caught:
        items_of(tmp_path)
    assert caught.value.where.count("note ") == 3
    assert caught.value.where.count("--encoding cp1252") == 1


def test_a_spoilt_row_of_a_table_is_named_by_its_line(tmp_path: Path) -> None:
    lines = [
        "id,text",
        '1,"deux',
        'lignes"',
        "2,5,5 mg",
        '3,"a"b',
        "",
        '4," "',
        "5,juste",
        '6,"jamais fermé',
        "",
        "7,b",
    ]
    (tmp_path / "a.csv").write_text("\n".join(lines))
    found = items_of(tmp_path / "a.csv")
    rejected = [(item.line, item.reason) for item in found if isinstance(item, Rejected)]
    assert [line for line, _ in rejected] == [4, 5, 7, 9]
    assert [reason.split(":")[0] for _, reason in rejected] == [
        "3 fields, and the header has 2",
        "not a row of the table",
        "the text 'text' is empty",
        "not a row of the table",
    ]
    assert [r.text for r in found if not isinstance(r, Rejected)] == ["deux\nlignes", "juste"]


def test_datasets_own_loader_reads_a_local_data_set(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(parquet())
    records = records_of(str(tmp_path))
    assert [record.text for record in records] == TEXTS
    assert [record.key for record in records] == ["train#1", "train#2", "train#3"]
    with pytest.raises(UserError, match="cannot be loaded"):
        records_of(str(tmp_path / "nothing"))


def test_the_delimiter_is_what_makes_the_text_column_or_else_most_columns() -> None:
    assert csv_columns("x;text;y,z,w,v\n", "text") == (("x", "text", "y,z,w,v"), ";")
    assert csv_columns("a;b;c,d\n1;2;3,4\n", "text") == (("a", "b", "c,d"), ";")
    assert csv_columns("a,b;c\n", "text") == (("a", "b;c"), ",")
