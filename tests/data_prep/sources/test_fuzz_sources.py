"""Whatever bytes a source's file holds, its documents are read, or it is refused with a message."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import source_files as files
from reading_helpers import items_of

from pdapt.core.errors import UserError
from pdapt.data_prep.documents.discover import discover
from pdapt.data_prep.documents.folders import JOURNAL_FILE
from pdapt.data_prep.documents.record import Rejected
from pdapt.data_prep.sources.formats.pdf_worker import pdf_text
from pdapt.data_prep.sources.registry import read_definition

FILES: dict[str, tuple[str, str, bytes]] = {
    "solr": ("HAL", "page.json", files.solr(files.HAL_RECORD)),
    "tei": ("HAL", "hal-01.xml", files.TEI),
    "pdf": ("HAL", "hal-01.pdf", files.pdf("Dose : 5-10 mg")),
    "istex": ("ISTEX", "page.json", files.ISTEX_PAGE),
    "opendatasoft": ("CERIMES", "index.json", files.RESOURCES),
    "mediawiki": ("WIKIPEDIA", "answer.json", files.WIKIPEDIA_ANSWER),
    "tmx": ("ECDC_TM", "ECDC.tmx", files.TMX),
    "packed tmx": ("ECDC_TM", "ECDC.tmx.gz", gzip.compress(files.TMX)),
    "xmi": ("E3C", "FR1.xml", files.XMI),
    "gsc": ("MANTRA_GSC", "EMEA_GSC_fr_man.xml", files.GSC),
    "bioc": ("WMT18_MEDLINE", "fr2en.xml", files.BIOC),
    "html": ("BDPM", "60002283_N.html", files.HTML),
    "bdpm": ("BDPM", "CIS_CPD_bdpm.txt", "60002283\tliste I, délivrée\n".encode("cp1252") * 9),
    "conll": ("ESSAI", "ESSAI_neg.txt", files.CONLL),
    "brat": ("QUAERO", "1.txt", files.TEXT.encode()),
    "moses": ("EMEA_V3", "EMEA.en-fr.fr", files.TEXT.encode()),
    "sentences": ("WMT18_MEDLINE", "fr.txt", b"doc1\t1\tUn\ndoc1\t2\tDeux\n"),
    "prose_table": ("CNEDIMTS", "avis.csv", files.PROSE),
    "translations": ("WMT16", "train.jsonl", files.TRANSLATIONS),
    "instructions": ("PARCOMED", "train.jsonl", files.INSTRUCTIONS),
    "packed instructions": ("PARCOMED", "train.parquet", files.parquet(files.INSTRUCTIONS)),
    "e3c": ("E3C", "FR1.json", files.E3C),
    "frenchmedmcqa": ("FRENCHMEDMCQA", "train.json", json.dumps([files.QUESTION] * 4).encode()),
    "mqc": ("MQC", "dialogues", b"d01 Bonjour\np01 Bonjour\n"),
}
Fuzz = Callable[..., None]


def read(path: Path, key: str) -> None:
    """Read a file; refuse it where a document is spoilt."""
    if any(isinstance(item, Rejected) for item in items_of(path, format=key)):
        raise UserError("documents are spoilt")


@pytest.mark.parametrize("name", FILES)
def test_fuzz_formats(tmp_path: Path, fuzz: Fuzz, name: str) -> None:
    key, file, content = FILES[name]
    path = tmp_path / file
    path.write_bytes(content)
    share = 40 if name == "pdf" else 1  # a process each; `test_fuzz_pdf` gives it the others
    fuzz(path, lambda: read(path, key), share, places=name == "tmx", hostile=name in ("solr", "tmx", "html"))


def test_fuzz_pdf(tmp_path: Path, fuzz: Fuzz) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(files.pdf("Dose : 5-10 mg", "Page 2"))

    def extract() -> None:
        try:
            pdf_text(path.read_bytes())
        except ValueError as error:
            raise UserError(str(error)) from None

    fuzz(path, extract, places=False)


def test_fuzz_definition(tmp_path: Path, fuzz: Fuzz) -> None:
    path = tmp_path / "source.yaml"
    path.write_text(
        "key: X\nname: X\ndocument_type: Clinical\nedition: research\nendpoints: [https://x.fr]\nnative_format: text\n"
        "text: whole\nlicence: {name: none, commercial: null, evidence: [a letter]}\ncitation: none\ndocuments: 3\n"
        "files:\n  - {names: ['*.txt'], format: conll, options: {word: 1}}\n"
    )
    fuzz(path, lambda: read_definition(path))


def test_fuzz_recognition(tmp_path: Path, fuzz: Fuzz) -> None:
    path = tmp_path / "x" / "ECDC.tmx.gz"
    path.parent.mkdir()
    path.write_bytes(gzip.compress(files.TMX))

    def recognise() -> None:
        (source,) = discover([str(path.parent)])
        if source.format is None:
            raise UserError("not recognised")

    fuzz(path, recognise, places=False)


def test_fuzz_journal(tmp_path: Path, fuzz: Fuzz) -> None:
    path = tmp_path / "x" / JOURNAL_FILE
    path.parent.mkdir()
    path.write_text('{"source": "MQC", "collection": "0", "limit": null}\n{"file": "dialogues"}\n')
    (path.parent / "dialogues").write_text("d01 Bonjour\n")
    fuzz(path, lambda: discover([str(path.parent)]), places=False)
