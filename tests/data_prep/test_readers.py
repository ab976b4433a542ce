"""Every format is read, and a fault in a file is named by where it is."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pdapt.core.errors import UserError
from pdapt.data_prep.readers import READERS, detect, read

TEXTS = ["Le patient va bien.", "", "37,5 °C"]


def rows() -> list[dict[str, str]]:
    return [{"text": text, "licence": "CC BY 4.0"} for text in TEXTS]


def jsonl() -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows()).encode()


def write_parquet(path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows()), path)


WRITERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "jsonl": ("train.jsonl", lambda path: path.write_bytes(jsonl())),
    "jsonl.gz": ("train.jsonl.gz", lambda path: path.write_bytes(gzip.compress(jsonl()))),
    "parquet": ("train.parquet", write_parquet),
    "lines": ("train.txt.gz", lambda path: path.write_bytes(gzip.compress("\n".join(TEXTS).encode()))),
}


@pytest.mark.parametrize("format", WRITERS)
def test_a_record_a_document(tmp_path: Path, format: str) -> None:
    name, write = WRITERS[format]
    write(tmp_path / name)
    for path in (tmp_path, tmp_path / name):
        found = detect(path)
        assert found == format.removesuffix(".gz")
        records = list(read(path, found, "text"))
        assert [record.text for record in records] == TEXTS
        assert [record.key for record in records] == [f"{name}#{number}" for number in (1, 2, 3)]
        assert {record.split for record in records} == {"train"}
        assert {record.licence for record in records} == ({""} if format == "lines" else {"CC BY 4.0"})


def test_a_file_a_document(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "a.txt").write_text("un\ndeux")
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbftrois")
    (tmp_path / "b.ann").write_text("T1")
    (tmp_path / "README.txt").write_text("not a document")
    assert detect(tmp_path) == "texts"
    records = [(record.key, record.text, record.split) for record in read(tmp_path, "texts", "text")]
    assert records == [("b.txt", "trois", ""), ("dev/a.txt", "un\ndeux", "dev")]
    assert [record.text for record in read(tmp_path, "lines", "text")] == ["trois", "un", "deux"]


def test_the_hub_call_on_a_local_data_set(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet")
    records = list(read(str(tmp_path), "hub", "text"))
    assert [record.text for record in records] == TEXTS
    assert [record.key for record in records] == ["train#1", "train#2", "train#3"]
    assert detect("OWNER/NAME") == "hub"


def test_a_data_set_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be loaded"):
        list(read(str(tmp_path / "nothing"), "hub", "text"))


def test_drug_tables_are_joined_by_drug(tmp_path: Path) -> None:
    drug = "60002283\tANASTROZOLE 1 mg\tcomprimé\torale\tActive\tProc\tCommercialisée\t01/01/2000\t\t\tLABO\tNon"
    (tmp_path / "CIS_bdpm.txt").write_bytes(f"\ufeff{drug}\r\n".encode())
    parts = "60002283\tcomprimé\t42215\tANASTROZOLE\t1,00 mg\tun comprimé\tSA\t1\t\r\n"
    (tmp_path / "CIS_COMPO_bdpm.txt").write_bytes(parts.encode())
    (tmp_path / "CIS_GENER_bdpm.txt").write_text("1\tGROUPE X\t65383183\t0\t1\t\n")
    first, second = read(tmp_path, detect(tmp_path), "text")
    assert (first.key, second.key) == ("60002283", "65383183")
    assert first.text.startswith("ANASTROZOLE 1 mg\nForme : comprimé\n")
    assert first.text.endswith("Titulaire : LABO\nComposition (comprimé) : ANASTROZOLE, 1,00 mg pour un comprimé")
    assert second.text == "Groupe générique : GROUPE X"


BAD = {
    "bad.jsonl": (b'{"text": "a"}\n{"text": \n', "not JSON", "bad.jsonl:2"),
    "array.jsonl": (b"[1]\n", "not a JSON object", "array.jsonl:1"),
    "number.jsonl": (b'{"text": 5}\n', "'text' is int, not text", "number.jsonl:1"),
    "column.jsonl": (b'{"input": "a", "label": "b"}\n', "no text column 'text'", "input, label"),
    "latin.jsonl": (b'{"text": "a"}\n{"text": "\xe9t\xe9"}\n', "byte 0xe9 at line 2, byte 11", "latin.jsonl"),
    "marked.txt": (b"\xef\xbb\xbfab\xe9", "byte 0xe9 at byte 6", "marked.txt"),
    "latin.txt": (b"ab\xe9", "byte 0xe9 at byte 3", "latin.txt"),
    "bad.parquet": (b"PAR1 nothing", "not a Parquet file", "bad.parquet"),
    "bad.gz": (b"no gzip", "gzip data is damaged", "bad.gz"),
    "cut.gz": (gzip.compress(b"a line\n" * 1000)[:-12], "gzip data is damaged", "cut.gz"),
    "bad.json": (b'{"text":\n', "not JSON", "bad.json:2"),
    "none.json": (b'{"title": "a"}', "no string 'text'", "none.json"),
    "question.json": (b'[{"question": "a"}]', "question 1 is not as FrenchMedMCQA's: 'answers'", "question.json"),
    "CIS_CPD_bdpm.txt": (b"1\ta\n2\n", "1 columns, not 2", "CIS_CPD_bdpm.txt:2"),
    "dialogues": (b"d01 Bonjour\nBonjour\n", "names no speaker", "dialogues:2"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_fault_is_named(tmp_path: Path, name: str) -> None:
    content, what, where = BAD[name]
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        list(read(path, detect(path), "text"))
    assert what in caught.value.what
    assert where in f"{caught.value.where} {caught.value.allowed}"


def test_what_cannot_be_detected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file that a reader takes"):
        detect(tmp_path)
    with pytest.raises(UserError, match="no such file or folder"):
        detect(tmp_path / "nothing")
    for name in ("a.txt", "b.jsonl"):
        (tmp_path / name).write_text("x")
    with pytest.raises(UserError, match="several formats: jsonl, texts"):
        detect(tmp_path)
    with pytest.raises(UserError, match="did you mean 'texts'") as caught:
        read(tmp_path, "text", "text")
    assert caught.value.allowed == ", ".join(READERS)
    with pytest.raises(UserError, match="no file of the format 'parquet'"):
        read(tmp_path, "parquet", "text")
