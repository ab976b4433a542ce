"""Damaged answers, archives and journals: a collection ends with an error that names them, or goes on."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import pytest
import source_files as files
from test_downloads import TMX

from pdapt.core.errors import Failed, UserError
from pdapt.core.files import read_bytes, remove
from pdapt.data_prep.collect.archives import unpack
from pdapt.data_prep.collect.collect import _take
from pdapt.data_prep.collect.download import Begun, Download, Expected
from pdapt.data_prep.collect.hosts import Hosts
from pdapt.data_prep.collect.listings import collect_row_pages
from pdapt.data_prep.collect.raw_folder import Answer, Raw, now
from pdapt.data_prep.collect.transport import Passing
from pdapt.data_prep.collect.visit import Visit
from pdapt.data_prep.documents.collected import tell_unfinished
from pdapt.data_prep.sources.collection import RowPages
from pdapt.data_prep.sources.registry import definitions

Fuzz = Callable[..., None]


class NoFiles(Exception):
    """A file was asked for: the answers are taken."""


class Canned:
    """A transport that answers every address with the same bytes, and has no files."""

    def __init__(self, content: bytes) -> None:
        self.content, self.hosts = content, Hosts(["https://a.fr"], ["*"])

    def repeat(self, action: Callable[[], Any], url: str) -> Any:
        try:
            return action()
        except Passing as error:
            raise Failed(f"{url}: {error}") from error

    def body(self, url: str) -> tuple[bytes, httpx.Headers]:
        self.hosts.check(url)
        return self.content, httpx.Headers()

    def open(self, url: str, *arguments: Any, **options: Any) -> Any:
        del arguments, options
        self.hosts.check(url)
        raise NoFiles


def accepted(action: Callable[[], Any]) -> None:
    """Run it; the failures that the command line prints are as good as the user's errors."""
    try:
        with suppress(NoFiles):
            action()
    except Failed as error:
        raise UserError(str(error)) from error


def collected(source: str, path: Path) -> None:
    """Collect a source whose server answers everything with a file's bytes."""
    folder = path.parent / "raw"
    remove(folder)
    how = definitions()[source].collect
    assert how is not None
    visit = Visit(Raw(folder, {"source": source}), Canned(read_bytes(path)), 3)  # pyright: ignore[reportArgumentType]
    accepted(lambda: [_take(step, visit) for step in how.steps])
    assert {each.name for each in folder.parent.iterdir()} <= {path.name, "raw"}


RESOURCE = {
    "id": "0a1b2c3d",
    "url": "https://a.fr/x.csv",
    "filetype": "file",
    "filesize": 3,
    "checksum": {"type": "sha1"},
}
ANSWERS: dict[str, Any] = {
    "HAL": json.loads(files.solr(files.HAL_RECORD)),
    "ISTEX": json.loads(files.ISTEX_PAGE),
    "WIKIPEDIA": {"query": {"categorymembers": [{"ns": 0, "pageid": 7, "title": "Foie"}], "pages": []}},
    "CNEDIMTS": {"resources": [RESOURCE]},
    "PXCORPUS": {"files": [{"key": "a.zip", "size": 3, "checksum": "md5:0", "links": {"self": "https://a.fr/a.zip"}}]},
    "WMT16": {"sha": "0" * 40, "siblings": [{"rfilename": "a.csv", "size": 1, "lfs": {"sha256": "0"}}]},
}


@pytest.mark.parametrize("source", ANSWERS)
def test_fuzz_answers(tmp_path: Path, fuzz: Fuzz, source: str) -> None:
    path = tmp_path / "answer.json"
    path.write_text(json.dumps(ANSWERS[source]))
    fuzz(path, lambda: collected(source, path), share=4)


def test_fuzz_archive(tmp_path: Path, fuzz: Fuzz) -> None:
    raw = Raw(tmp_path / "raw", {})
    path = tmp_path / "raw" / "a.zip"
    path.write_bytes(TMX)

    def read() -> None:
        copy = tmp_path / "raw" / "b.zip"
        copy.write_bytes(read_bytes(path))  # one that is damaged is removed
        raw.answers = {"b.zip": Answer("b.zip", "https://a.fr/b.zip", now(), bytes=copy.stat().st_size)}
        accepted(lambda: unpack("b.zip", ["*.tmx"], raw))

    fuzz(path, read, share=4)


def test_fuzz_journal(tmp_path: Path, fuzz: Fuzz) -> None:
    raw = Raw(tmp_path, {"source": "HAL", "limit": None})
    (tmp_path / "a.json").write_text("{}")
    raw.note(Answer("a.json", "https://a.fr/", now(), bytes=2), Answer("", "https://a.fr/x", now(), status=404))
    raw.finish({"files": 1})
    fuzz(raw.path, lambda: Raw(tmp_path, {"source": "HAL", "limit": None}), share=4)
    raw.finish({"files": 1})
    fuzz(raw.path, lambda: tell_unfinished(tmp_path), share=4)


def test_fuzz_half(tmp_path: Path, fuzz: Fuzz) -> None:
    download = Download(Canned(b""), "https://a.fr/x.txt", tmp_path / "x.txt", Expected())  # pyright: ignore[reportArgumentType]
    download.partial.write_bytes(b"half")
    download.record.write_text(json.dumps(asdict(Begun("https://a.fr/x.txt", '"v1"', "", 8))))

    def read() -> None:
        """A record that is damaged makes a download begin anew."""
        if download._half()[1] is None:
            raise UserError("begins anew")

    fuzz(download.record, read)


def test_fuzz_table(tmp_path: Path, fuzz: Fuzz) -> None:
    (tmp_path / "raw").mkdir()
    path = tmp_path / "raw" / "CIS_bdpm.txt"
    path.write_bytes("60000228\tDOLIPRANE é\r\n60000229\tx\r\n".encode("cp1252"))
    step = RowPages("CIS_bdpm.txt", 0, "https://a.fr/{}", "{}_N.html")

    def read() -> None:
        visit = Visit(Raw(tmp_path / "raw", {}), Canned(b""), 5)  # pyright: ignore[reportArgumentType]
        accepted(lambda: collect_row_pages(step, visit))

    fuzz(path, read, share=4)
