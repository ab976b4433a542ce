"""Downloads that are cut off, changed or forged, and archives that are hostile."""

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import source_files as files
from local_site import Response, Site
from reading_helpers import records_of

from pdapt.core.errors import Failed, UserError
from pdapt.data_prep.collect import archives
from pdapt.data_prep.collect.collect import collect
from pdapt.data_prep.collect.download import Download, Expected
from pdapt.data_prep.collect.hosts import Hosts
from pdapt.data_prep.collect.transport import Transport

ARCHIVE = "/wt-public.emm4u.eu/Resources/ECDC-TM/ECDC-TM.zip"
HTML = b"<!DOCTYPE html><html><body>Maintenance</body></html>"


def archive_of(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return stream.getvalue()


TMX = archive_of(("ECDC.tmx", files.TMX))


def ecdc(tmp_path: Path, site: Site) -> dict[str, Any]:
    return collect([site.define(tmp_path, "ECDC_TM")], tmp_path / "raw")["ECDC_TM"]


@pytest.mark.parametrize("etag", ['"v1"', 'W/"v1"', ""])
def test_a_download_that_is_cut_off_goes_on_where_it_stopped(tmp_path: Path, site: Site, etag: str) -> None:
    """Only where the server names the version of the bytes; a weak name does not."""
    site.serves(ARCHIVE, TMX, etag, cut=100)
    assert ecdc(tmp_path, site)["requests repeated"] == {"the answer was cut off": 1}
    ranges = [request.headers.get("range") for request in site.requests]
    assert ranges == [None, "bytes=100-" if etag == '"v1"' else None]
    assert (tmp_path / "raw" / "ECDC_TM" / "ECDC-TM.zip").read_bytes() == TMX
    assert len(records_of(tmp_path / "raw" / "ECDC_TM", format="ecdc_tm")) == 2


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(tmp_path: Path, site: Site) -> None:
    other = archive_of(("ECDC.tmx", files.TMX + b"\n"))
    headers = {"ETag": '"v1"'}
    site.answers(ARCHIVE, Response(TMX, 200, headers, send=50), Response(other, 200, {"ETag": '"v2"'}))
    ecdc(tmp_path, site)
    assert site.requests[1].headers["if-range"] == '"v1"'
    assert (tmp_path / "raw" / "ECDC_TM" / "ECDC-TM.zip").read_bytes() == other


@pytest.mark.parametrize(
    "bad",
    [
        Response(TMX[60:], 206, {"ETag": '"v1"', "Content-Range": f"bytes 60-{len(TMX) - 1}/{len(TMX)}"}),
        Response(b"", 206, {"Content-Range": "bytes */x"}),
        Response(b"", 416),
        Response(HTML, 200),
        Response(TMX[:90], length=False),
    ],
)
def test_parts_that_do_not_fit_are_not_put_together(tmp_path: Path, site: Site, bad: Response) -> None:
    site.answers(ARCHIVE, Response(TMX, 200, {"ETag": '"v1"'}, send=50), bad, Response(TMX, 200, {"ETag": '"v1"'}))
    ecdc(tmp_path, site)
    assert (tmp_path / "raw" / "ECDC_TM" / "ECDC-TM.zip").read_bytes() == TMX
    assert not list((tmp_path / "raw").rglob("*.partial*"))


@pytest.mark.parametrize(
    ("key", "path", "content"),
    [
        ("HAL", "/hal.science/1", files.pdf("Une thèse " * 30)),
        ("CERIMES", "/exports/json", files.RESOURCES),
        ("ECDC_TM", ARCHIVE, TMX),
    ],
)
@pytest.mark.parametrize("bad", [b"", b"<html>Maintenance</html>", b'<?xml version="1.0"?><!DOCTYPE html><x/>', None])
def test_half_a_file_without_a_length_is_noticed(
    tmp_path: Path, site: Site, key: str, path: str, content: bytes, bad: bytes | None
) -> None:
    """So is a page that stands in for the file."""
    record = files.HAL_RECORD | {"fileMain_s": f"{site.address}/hal.science/1"}
    page = {"response": {"docs": [record]}, "nextCursorMark": "*"}
    site.answers("/api.archives-ouvertes.fr/search/", json.dumps(page).encode())
    half = content[: len(content) // 2] if bad is None else bad
    site.answers(path, Response(half, length=False), Response(content, length=False))

    def at_path(how: dict[str, Any]) -> None:
        if key == "CERIMES":
            how["steps"][0]["files"]["urls"] = [site.address + path]

    counts = collect([site.define(tmp_path, key, at_path)], tmp_path / "raw")[key]
    assert sum(counts["requests repeated"].values()) == 1
    assert content in [each.read_bytes() for each in (tmp_path / "raw").rglob("*") if each.is_file()]


@pytest.mark.parametrize(
    ("length", "message"), [(True, "1,200 bytes; allowed: up to 1,199"), (False, "more than the 1,199 bytes that are")]
)
def test_a_file_may_have_as_many_bytes_as_allowed(tmp_path: Path, site: Site, length: bool, message: str) -> None:
    """Whether the server states their number or not, and whether it is kept in a file or in memory."""
    site.answers("/a.txt", Response(b"a" * 1200, length=length))
    url, transport = f"{site.address}/a.txt", Transport(Hosts([site.address], []), 0.0, "pdapt")
    with pytest.raises(Failed, match=message):
        Download(transport, url, tmp_path / "a.txt", Expected(most=1199)).run("a.txt")
    partial, answer = Download(transport, url, tmp_path / "a.txt", Expected(most=1200)).run("a.txt")
    assert transport.body(url, limit=1200)[0] == b"a" * 1200
    with pytest.raises(Failed, match="the answer has more than 1,199 bytes"):
        transport.body(url, limit=1199)
    transport.close()
    assert partial.read_bytes() == b"a" * 1200
    assert answer.file == "a.txt"


def test_two_files_of_one_name_do_not_replace_each_other(tmp_path: Path, site: Site) -> None:
    links = [{"key": key, "links": {"self": f"{site.address}/{key}"}} for key in ("a.zip", "A.zip")]
    site.answers("/zenodo.org/api/records/6524162", json.dumps({"files": links}).encode())
    with pytest.raises(Failed, match=r"two of its files are called 'A\.zip'"):
        collect([site.define(tmp_path, "PXCORPUS")], tmp_path / "raw")


def test_a_link_in_the_folder_is_not_followed_out_of_it(tmp_path: Path, site: Site) -> None:
    (tmp_path / "raw" / "ECDC_TM").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "raw" / "ECDC_TM" / "ECDC-TM").symlink_to(tmp_path / "elsewhere")
    site.serves(ARCHIVE, TMX)
    with pytest.raises(UserError, match="leads out of"):
        ecdc(tmp_path, site)
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("field", ["size", "checksum"])
def test_a_file_that_is_not_as_listed_never_stands_for_it(tmp_path: Path, site: Site, field: str) -> None:
    stated = {"size": len(TMX), "checksum": ""} | {"size": {"size": 7}, "checksum": {"checksum": "md5:" + "0" * 32}}[
        field
    ]
    link = {"self": f"{site.address}/pxslu.zip"}
    site.answers(
        "/zenodo.org/api/records/6524162",
        json.dumps({"files": [{"key": "pxslu.zip", "links": link} | stated]}).encode(),
    )
    site.serves("/pxslu.zip", TMX)
    with pytest.raises(
        Failed, match="another " + {"size": f"length: {len(TMX)} bytes of 7", "checksum": "hash: its md5"}[field]
    ):
        collect([site.define(tmp_path, "PXCORPUS")], tmp_path / "raw")
    assert not list((tmp_path / "raw").rglob("*.zip"))


def link(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = 0o120777 << 16
    return info


def encrypted() -> bytes:
    """An archive whose member says that it is encrypted."""
    content = bytearray(TMX)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    return bytes(content)


def damaged() -> bytes:
    content = bytearray(TMX)
    content[60] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: archive_of(("../../evil.tmx", b"x")), "leads out of"),
        (lambda: archive_of(("/evil.tmx", b"x")), "leads out of"),
        (lambda: archive_of(("a\\..\\evil.tmx", b"x")), "leads out of"),
        (lambda: archive_of((link("evil.tmx"), b"/etc/hostname")), "a link or a device"),
        (lambda: archive_of(("A.tmx", b"x"), ("a.tmx", b"y")), "same name"),
        (lambda: archive_of(("notice.pdf", b"x")), "none of its 1 members"),
        (lambda: archive_of(("bomb.tmx", bytes(2**25))), "like a zip bomb"),
        (encrypted, "is encrypted"),
        (damaged, "damaged"),
    ],
)
def test_archives_that_could_do_harm_are_not_unpacked(
    tmp_path: Path, site: Site, make: Callable[[], bytes], message: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    site.serves(ARCHIVE, make())
    with pytest.raises(Failed, match=message):
        ecdc(tmp_path, site)
    made = {path.name for path in set(tmp_path.rglob("*")) - set(before)}
    assert made <= {"ECDC_TM.yaml", "raw", "ECDC_TM", "ECDC-TM.zip", "collected.jsonl", ".ECDC-TM.zip.unpacking", "0"}
    assert not (tmp_path.parent / "evil.tmx").exists()


def test_a_large_member_may_repeat_itself_as_text_does(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that is a hundred times the size of its compressed bytes is none of a bomb's."""
    monkeypatch.setattr(archives, "LARGE", 2**20)
    content = files.TMX.replace(b"<seg>Deux", b"<seg>" + b"Dose : 5 mg" * 200_000)
    archive = archive_of(("ECDC.tmx", content))
    assert len(content) > 100 * len(archive)
    site.serves(ARCHIVE, archive)
    ecdc(tmp_path, site)
    assert (tmp_path / "raw/ECDC_TM/ECDC-TM/ECDC.tmx").read_bytes() == content


def test_an_archive_of_too_many_bytes_is_refused(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(files.TMX)
    site.serves(ARCHIVE, TMX)
    monkeypatch.setattr(archives, "MOST_BYTES", size - 1)
    with pytest.raises(Failed, match=rf"ECDC-TM\.zip: {size:,} bytes once unpacked; allowed: {size - 1:,}"):
        ecdc(tmp_path, site)
    monkeypatch.setattr(archives, "MOST_BYTES", size)
    assert ecdc(tmp_path, site)["files"] == 2


def test_an_archive_of_too_many_members_is_refused(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.serves(ARCHIVE, archive_of(("ECDC.tmx", files.TMX), ("notice.pdf", b"x")))
    monkeypatch.setattr(archives, "MOST_MEMBERS", 1)
    with pytest.raises(Failed, match=r"ECDC-TM\.zip: the archive has 2 members; allowed: 1"):
        ecdc(tmp_path, site)
    monkeypatch.setattr(archives, "MOST_MEMBERS", 2)
    assert ecdc(tmp_path, site)["files"] == 2


def test_a_full_disk_is_said_and_the_next_run_goes_on(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.serves(ARCHIVE, TMX)

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device", "x")

    monkeypatch.setattr("pdapt.data_prep.collect.download.Download._write", full)
    with pytest.raises(UserError, match="the disk is full"):
        ecdc(tmp_path, site)
    monkeypatch.undo()
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert ecdc(tmp_path, site)["files"] == 2
