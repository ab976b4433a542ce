"""Files of the sources' formats that are damaged, and documents in them that are spoilt alone."""

import gzip
import json
import sys
from pathlib import Path

import pytest
import source_files as files
from reading_helpers import items_of

from pdapt.core.errors import UserError
from pdapt.data_prep.documents.record import Rejected
from pdapt.data_prep.sources.formats import pdf

TEXT = files.TEXT
BOMB = b"""<!DOCTYPE tmx [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;">]>
<tmx><body><tu><tuv xml:lang="fr"><seg>&c;</seg></tuv></tu></body></tmx>"""
FOREIGN = b"""<!DOCTYPE tmx [<!ENTITY x SYSTEM "file:///etc/hostname">]>
<tmx><tu><tuv xml:lang="fr"><seg>&x;</seg></tuv></tu></tmx>"""
ERROR_PAGE = b"<!DOCTYPE html><html><body>502 Bad Gateway</body></html>"


@pytest.mark.parametrize(
    ("key", "name", "content", "message"),
    [
        ("ecdc_tm", "a.tmx", BOMB, "entities are not expanded"),
        ("ecdc_tm", "a.tmx", FOREIGN, "entities are not expanded"),
        ("ecdc_tm", "a.tmx", files.TMX.replace(b"</seg></tuv></tu>\n<tu><tuv", b"</tuv></tu>\n<tu><tuv"), ":5"),
        ("ecdc_tm", "a.tmx.gz", gzip.compress(files.TMX)[:-20], "the gzip data is damaged"),
        ("hal", "a.json", ERROR_PAGE, "an HTML page"),
        ("hal", "a.json", b'{"error": {"msg": "undefined field", "code": 400}}', "undefined field"),
        ("hal", "a.json", files.solr(files.HAL_RECORD)[:-9], "not JSON"),
        ("hal", "a.json", b'{"responseHeader": {"status": 0}}', "no list response.docs"),
        ("wikipedia", "a.json", b'{"error": {"code": "maxlag"}}', "maxlag"),
        ("ecdc_tm", "a.tmx", ERROR_PAGE, "an HTML page"),
        ("essai", "ESSAI_neg.txt", files.CONLL.decode().encode("utf-16-le"), "UTF-16 without a byte order mark"),
        ("frenchmedmcqa", "train.json", b'[{"id": 1}, {"id"', "not JSON"),
    ],
)
def test_a_file_of_many_documents_that_is_damaged_is_refused(
    tmp_path: Path, key: str, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as raised:
        items_of(tmp_path, format=key)
    assert message in str(raised.value)
    assert str(tmp_path / name) in str(raised.value)


@pytest.mark.parametrize(
    ("key", "name", "content", "reason", "line"),
    [
        ("has", "a.pdf", ERROR_PAGE, "not a PDF file", 0),
        ("has", "a.pdf", files.pdf(""), "the PDF has no text", 0),
        ("has", "a.html", b"", "the page has no text", 0),
        ("hal", "a.xml", files.TEI[:-30], "not well-formed XML", 0),
        ("hal", "a.xml", b"<TEI><text><body/></text></TEI>", "neither a body with text", 0),
        ("e3c", "a.json", files.E3C[:-9], "not JSON", 0),
        ("e3c", "a.xml", files.XMI.replace(b"sofaString", b"x"), "no cas:Sofa", 0),
        ("quaero", "a.txt", b"caf\xe9", "not UTF-8", 0),
        ("quaero", "a.txt", b"", "the text is empty", 0),
        ("ecdc_tm", "a.tmx", b'<tmx><tu><tuv xml:lang="fr"><seg> </seg></tuv></tu></tmx>', "the segment is empty", 1),
        ("essai", "ESSAI_neg.txt", b"1\t0\tDose\n", "line 1 has 3 values", 1),
        ("cnedimts", "a.csv", b"a;b\n1;2;3\n", "3 fields, and the header has 2", 2),
        ("mqc", "dialogues", b"Bonjour\n", "names no speaker", 1),
        ("wmt18_medline", "fr.txt", b"d1\tUn\n", "not a document, a number and a sentence", 1),
        ("wmt18_medline", "fr.txt", b"\nd1\t1\t \n", "not a document, a number and a sentence", 2),
        ("wmt18_medline", "a.xml", b"<x>\n<document><id>d1</id></document></x>", "the document d1 has no text", 2),
        ("mantra_gsc", "a.xml", b"<Corpus>\n<unit><text/></unit></Corpus>", "the unit 1 has no text", 2),
        ("quaero", "a.txt", ERROR_PAGE, "an HTML page, not a text", 0),
        ("hal", "a.xml", ERROR_PAGE, "an HTML page, not TEI", 0),
        ("e3c", "a.xml", files.XMI.replace(f"{TEXT}&#10;Fin.".encode(), b" "), "the sofaString is empty", 0),
        ("bdpm", "CIS_bdpm_2.txt", b"60002283\n", "not that of a table of BDPM: CIS_bdpm, CIS_COMPO_bdpm", 0),
        ("bdpm", "CIS_CPD_bdpm.txt", b"\n60002283\n", "1 column, not 2", 2),
        ("mqc", "dialogues", b" \n", "the file has no turn", 0),
        ("mqc", "dialogues", b"d01 Bonjour\n\nBonjour\n", "names no speaker", 3),
        ("essai", "ESSAI_neg.txt", b"\n1\t0\tDose\td\tN\tO\n1\t1\n\n", "line 3 has 2 values", 3),
        ("essai", "ESSAI_neg.txt", b"1\t0\t \td\tN\tO\n", "the sentence is empty", 1),
        ("wmt16", "a.jsonl", b'{"translation": {"fr": " "}}\n', "the translation in fr is empty", 1),
        ("wmt16", "a.jsonl", b'{"text": "Grippe"}\n', "the row has no translation", 1),
        ("wmt16", "a.jsonl", b'{"translation": "Grippe", "fr": "Grippe"}\n', "the row has no translation", 1),
        ("wmt16", "a.json", b"[1]", "a row that is not an object", 1),
        ("wmt16", "a.csv", b'doc_id,translation\n7,"{}"x\n', "not a row of the table", 2),
        ("frenchmedmcqa", "train.json", b'[{"question": "?", "answers": {}}]', "question 1 is not as", 1),
        ("hal", "a.json", files.solr({"title_s": ["Un"]}), "a document without a halId_s", 1),
        ("istex", "a.json", json.dumps({"hits": [{"title": "Un"}]}).encode(), "a hit without an id", 1),
        (
            "wikipedia",
            "a.json",
            b'{"query": {"pages": [{"title": "Foie", "extract": ""}]}}',
            "'Foie' has no id, or no",
            1,
        ),
        ("wikipedia", "a.json", b'{"query": {"pages": [7]}}', "a page that is not an object", 1),
    ],
)
def test_a_document_that_is_spoilt_is_rejected_by_itself(
    tmp_path: Path, key: str, name: str, content: bytes, reason: str, line: int
) -> None:
    (tmp_path / name).write_bytes(content)
    (item,) = items_of(tmp_path, format=key)
    assert isinstance(item, Rejected)
    assert reason in item.reason
    assert item.file == str(tmp_path / name)
    assert item.line == line, "0 is the whole file"


def test_a_deeply_nested_page_is_read_to_its_end_or_rejected(tmp_path: Path) -> None:
    """It is read to its end, or rejected: never cut off in silence."""
    (tmp_path / "a.html").write_bytes(
        b"<html><body>" + b"<div>" * 5000 + b"fond" + b"</div>" * 5000 + b"<p>fin</p></body></html>"
    )
    (item,) = items_of(tmp_path, format="has")
    assert isinstance(item, Rejected) or item.text.split() == ["fond", "fin"]


def test_a_pdf_that_ends_its_reader_or_never_ends_is_spoilt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.pdf").write_bytes(files.pdf("5 mg"))
    for command, seconds, reason in (
        ("import os; os.abort()", 300, "ended the program that reads it (exit code -6)"),
        ("import time; time.sleep(30)", 0.1, "takes more than 0.1 s"),
    ):
        monkeypatch.setattr(pdf, "WORKER", [sys.executable, "-S", "-c", command])
        monkeypatch.setattr(pdf, "SECONDS", seconds)
        (item,) = items_of(tmp_path, format="has")
        assert isinstance(item, Rejected)
        assert reason in item.reason


def test_a_pdf_is_not_spoilt_where_the_library_for_it_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.pdf").write_bytes(files.pdf("5 mg"))
    without = "import sys; sys.modules['pypdfium2'] = None; "
    answers = "from pdapt.data_prep.sources.formats.pdf_worker import main; sys.exit(main())"
    monkeypatch.setattr(pdf, "WORKER", [sys.executable, "-c", without + answers])
    with pytest.raises(UserError, match="pypdfium2, which reads PDF files, cannot be loaded") as error:
        items_of(tmp_path, format="has")
    assert "pip install 'pypdfium2>=5,<6'" in str(error.value)
