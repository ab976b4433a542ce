"""Servers on a bad day: errors, throttling, broken pages, circles, cut downloads, hostile names and archives."""

import json
import re
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import source_files as files
from local_site import Request, Response, Site
from reading_helpers import records_of

from pdapt.core.errors import Failed, StoppedEarly, UserError
from pdapt.data_prep.collect import visit
from pdapt.data_prep.collect.collect import collect
from pdapt.data_prep.collect.names import safe_name, safe_path, shown
from pdapt.data_prep.collect.transport import user_agent

SEARCH = "/api.archives-ouvertes.fr/search/"
HTML = b"<!DOCTYPE html><html><body>Maintenance</body></html>"


def page(cursor: str, *records: dict[str, Any]) -> bytes:
    return json.dumps({"response": {"numFound": 1, "docs": list(records)}, "nextCursorMark": cursor}).encode()


LAST = page("*", files.HAL_RECORD | {"fileMain_s": None})
"""A page whose cursor is the one that it was asked for with: the end."""


def hal(tmp_path: Path, site: Site) -> dict[str, Any]:
    return collect([site.define(tmp_path, "HAL")], tmp_path / "raw")["HAL"]


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (Response(b"", 500), "HTTP 500"),
        (Response(b"", 503), "HTTP 503"),
        (Response(HTML), "an HTML page in place of JSON"),
        (Response(LAST[:-9]), "a broken page"),
        (Response(b'{"response": {"docs": []}}'), "a broken page"),
        (Response(b"[]"), "a broken page"),
        (Response(b""), "a broken page"),
        (Response(LAST, send=20), "the answer was cut off"),
        (Response(LAST, headers={"Content-Encoding": "gzip"}), "the answer's packing is damaged"),
    ],
)
def test_a_failure_that_passes_is_met_by_another_attempt(
    tmp_path: Path, site: Site, bad: Response, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    site.answers(SEARCH, bad, bad, LAST)
    counts = hal(tmp_path, site)
    said = [line for line in capsys.readouterr().err.splitlines() if reason in line]
    assert [re.findall(r"; attempt (\d+) in \d+ s$", line) for line in said] == [["2"], ["3"]]
    assert counts["requests repeated"] == {reason: 2}
    assert len(records_of(tmp_path / "raw" / "HAL", format="hal")) == 1


@pytest.mark.parametrize("bad", [Response(b"", 502), Response(HTML), Response(LAST[:-9])])
def test_a_failure_that_stays_ends_the_run_and_the_next_goes_on(
    tmp_path: Path,
    site: Site,
    bad: Response,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pdapt.data_prep.collect.transport.ATTEMPTS", 3)
    first = page("AoE1", files.HAL_RECORD | {"halId_s": "hal-00", "fileMain_s": None})
    site.answers(SEARCH, first, bad)
    with pytest.raises(Failed, match=r"\(3 attempts\)"):
        hal(tmp_path, site)
    assert len(site.requests) == 1 + 3
    list(records_of(tmp_path / "raw" / "HAL", format="hal"))
    assert "its collection is unfinished" in capsys.readouterr().err
    site.answers(SEARCH, page("AoE1", files.HAL_RECORD | {"fileMain_s": None}))
    assert hal(tmp_path, site)["entries"] == 2
    assert len(site.requests) == 2 + 3, "the page that was there is not asked for again"


def test_a_refusal_is_not_repeated(tmp_path: Path, site: Site) -> None:
    site.answers(SEARCH, Response(b'{"error": {"msg": "undefined field"}}', 400))
    with pytest.raises(Failed, match="HTTP 400"):
        hal(tmp_path, site)
    assert len(site.requests) == 1
    site.answers(SEARCH, b'{"error": {"msg": "undefined field", "code": 400}}')
    with pytest.raises(Failed, match="undefined field"):
        hal(tmp_path, site)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(tmp_path: Path, site: Site, waits: list[float], status: int) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    date = {"Retry-After": format_datetime(now + timedelta(seconds=40), usegmt=True)}
    clock = {"Date": format_datetime(now, usegmt=True)}
    site.answers(
        SEARCH,
        Response(b"", status, {"Retry-After": "7"}),
        Response(b"", status, {"Retry-After": "600"}),
        Response(b"", status, date | clock),
        Response(b"", status, {"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT"}),
        Response(b"", status, {"Retry-After": "soon"}),
        LAST,
    )
    hal(tmp_path, site)
    assert [round(seconds) for seconds in waits] == [7, 600, 40, 0, 0]


def test_waits_grow_and_are_not_all_alike(
    tmp_path: Path, site: Site, waits: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pdapt.data_prep.collect.transport.FIRST_WAIT", 1.0)
    monkeypatch.setattr("pdapt.data_prep.collect.transport.ATTEMPTS", 5)
    site.answers(SEARCH, Response(b"", 500))
    with pytest.raises(Failed):
        hal(tmp_path, site)
    assert len(waits) == 4
    assert all(2**n <= seconds <= 2**n + 1 for n, seconds in enumerate(waits))
    assert len({seconds % 1 for seconds in waits}) > 1


def test_progress_is_said(
    tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(visit, "EVERY", 0.0)
    site.answers(SEARCH, page("AoE1", files.HAL_RECORD | {"fileMain_s": None}), LAST.replace(b'"*"', b'"AoE1"'))
    hal(tmp_path, site)
    said = capsys.readouterr().err
    assert "collect: HAL: 1 file, 0.0 MB" in said
    assert "collect: HAL: 2 files, 0.0 MB" in said


def test_a_server_that_asks_for_hours_ends_the_run(tmp_path: Path, site: Site) -> None:
    site.answers(SEARCH, Response(b"", 429, {"Retry-After": "7200"}))
    with pytest.raises(StoppedEarly, match="7,200 s"):
        hal(tmp_path, site)
    assert len(site.requests) == 1


def test_requests_to_a_host_keep_their_distance(tmp_path: Path, site: Site, waits: list[float]) -> None:
    first = page("AoE1", files.HAL_RECORD | {"fileMain_s": None})
    site.answers(SEARCH, first, page("AoE1", files.HAL_RECORD | {"fileMain_s": None}))
    collect([site.define(tmp_path, "HAL", lambda how: how.update(delay=3.0))], tmp_path / "raw")
    assert len(waits) == 1
    assert 2.5 < waits[0] <= 3.0


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ([page("A", files.HAL_RECORD), page("B", files.HAL_RECORD), page("A", files.HAL_RECORD)], "an earlier page"),
        ([page("A"), page("B")], "is empty, but names another cursor"),
    ],
)
def test_a_cursor_without_end_is_noticed(tmp_path: Path, site: Site, pages: list[bytes], message: str) -> None:
    site.answers(SEARCH, *pages)
    with pytest.raises(Failed, match=message):
        collect([site.define(tmp_path, "HAL", lambda how: how["steps"][0]["solr"].pop("full_texts"))], tmp_path / "raw")


def test_scrolls_and_continuations_without_end_are_noticed(tmp_path: Path, site: Site) -> None:
    following = f"{site.address}/api.istex.fr/document/?scrollId=x"
    site.answers(
        "/api.istex.fr/document/", json.dumps({"hits": [files.ISTEX_HIT], "nextScrollURI": following}).encode()
    )
    with pytest.raises(Failed, match="repeats an earlier page"):
        collect([site.define(tmp_path, "ISTEX")], tmp_path / "raw")
    members = {"query": {"categorymembers": []}, "continue": {"cmcontinue": "x"}}
    site.answers("/fr.wikipedia.org/w/api.php", json.dumps(members).encode())
    with pytest.raises(Failed, match="in a circle"):
        collect([site.define(tmp_path, "WIKIPEDIA")], tmp_path / "raw", contact="a@b.fr")


def test_entries_that_an_index_states_and_does_not_list_are_counted(tmp_path: Path, site: Site) -> None:
    site.answers(SEARCH, json.dumps({"response": {"numFound": 9, "docs": []}, "nextCursorMark": "*"}).encode())
    assert hal(tmp_path, site)["entries that the server counts but does not list"] == 9


@pytest.mark.parametrize(
    "target",
    [
        "https://elsewhere.example/page",
        "http://hal.science/page",
        "http://127.0.0.2/page",
        "file:///etc/hostname",
        "https://user:pass@hal.science/x",
        "http://[",
    ],
)
def test_nobody_leads_us_elsewhere(tmp_path: Path, site: Site, target: str) -> None:
    """Neither a redirect nor an address in an answer is followed to what the definition does not name."""
    site.answers(SEARCH, Response(b"", 302, {"Location": target}))
    with pytest.raises(Failed):
        hal(tmp_path, site)
    site.answers("/api.istex.fr/document/", json.dumps({"hits": [files.ISTEX_HIT], "nextScrollURI": target}).encode())
    with pytest.raises(Failed):
        collect([site.define(tmp_path, "ISTEX")], tmp_path / "raw")
    assert len(site.requests) == 2


def test_redirects_within_the_source_are_followed_but_not_without_end(tmp_path: Path, site: Site) -> None:
    site.answers(SEARCH, Response(b"", 301, {"Location": "/moved"}))
    site.answers("/moved", LAST)
    assert hal(tmp_path, site)["entries"] == 1
    site.answers("/moved", Response(b"", 307, {"Location": "/moved"}))
    with pytest.raises(Failed, match="more than 5 redirects"):
        collect([site.define(tmp_path, "HAL")], tmp_path / "again")
    assert len(site.asked("/moved")) == 1 + 5


def test_many_files_that_do_not_come_end_the_run(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pdapt.data_prep.collect.visit.IN_A_ROW", 4)
    records = [
        files.HAL_RECORD | {"halId_s": f"hal-{n}", "fileMain_s": f"{site.address}/hal.science/{n}"} for n in range(99)
    ]
    site.answers(SEARCH, page("*", *records))
    with pytest.raises(Failed, match="4 files in a row could not be fetched"):
        hal(tmp_path, site)
    assert len(site.requests) == 1 + 4


def test_one_file_that_does_not_come_is_named_and_asked_for_again(tmp_path: Path, site: Site) -> None:
    records = [
        files.HAL_RECORD | {"halId_s": f"hal-{n}", "fileMain_s": f"{site.address}/hal.science/{n}"} for n in range(3)
    ]
    site.answers(SEARCH, page("*", *records))
    for number in range(3):
        site.serves(f"/hal.science/{number}", files.pdf(f"These {number}"))
    site.answers("/hal.science/1", Response(b"", 500))
    with pytest.raises(Failed, match="1 file not fetched"):
        hal(tmp_path, site)
    asked = len(site.requests)
    site.serves("/hal.science/1", files.pdf("These 1"))
    hal(tmp_path, site)
    assert len(site.requests) == asked + 1
    assert len(records_of(tmp_path / "raw" / "HAL", format="hal")) == 3


def test_names_that_a_server_gives_stay_in_the_folder(tmp_path: Path, site: Site) -> None:
    names = ["../../evil", "/etc/passwd", "..", ".hidden", "a/b", "x" * 999, "é" * 300, "a\0b", "", "\ud800"]
    made = [safe_name(name) for name in names]
    assert len(set(made)) == len(names)
    for name in made:
        assert name == Path(name).name
        assert not name.startswith(".")
        assert 0 < len(name.encode()) <= 255
    assert safe_name("hal-01234567v2.pdf") == "hal-01234567v2.pdf"
    assert ".." not in safe_path("../a/../../b").split("/")
    record = files.HAL_RECORD | {"halId_s": "../../evil", "fileMain_s": f"{site.address}/hal.science/1"}
    site.answers(SEARCH, page("*", record))
    site.serves("/hal.science/1", files.pdf("These"))
    hal(tmp_path, site)
    assert not list(tmp_path.glob("evil*"))
    (text,) = (tmp_path / "raw" / "HAL" / "full_texts").iterdir()
    assert text.suffix == ".pdf"


def test_secrets_are_neither_written_nor_said(tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    def with_token(how: dict[str, Any]) -> None:
        how["steps"][0]["solr"]["params"].append("access_token=s3cr3t")

    site.answers(SEARCH, Response(b"", 500), LAST)
    collect([site.define(tmp_path, "HAL", with_token)], tmp_path / "raw")
    site.answers(SEARCH, Response(b"", 403))
    with pytest.raises(Failed) as raised:
        collect([site.define(tmp_path, "HAL", with_token)], tmp_path / "other")
    assert site.requests[0].get("access_token") == "s3cr3t"
    said = "".join(path.read_text() for path in tmp_path.rglob("collected.jsonl"))
    assert "s3cr3t" not in said + str(raised.value) + "".join(capsys.readouterr())
    assert "access_token=***" in said
    assert shown("https://u:p@h.fr/a?X-Amz-Signature=1&q=2") == "https://h.fr/a?X-Amz-Signature=***&q=2"


@pytest.mark.parametrize("contact", ["nobody", "a@b\r\nX-Evil: 1", "a@b.fr (x)", "ftp://x"])
def test_a_contact_that_is_none_is_refused(contact: str) -> None:
    with pytest.raises(UserError, match="is not a contact"):
        user_agent(contact)


def test_a_damaged_journal_is_refused(tmp_path: Path, site: Site) -> None:
    site.answers(SEARCH, LAST)
    hal(tmp_path, site)
    path = tmp_path / "raw" / "HAL" / "collected.jsonl"
    whole = path.read_text()
    outside = whole.replace("pages/000001.json", "../../../x")
    for text in ("[]\n", "{}\n", whole.replace('"file"', '"fiel"'), '{"source":\n', outside):
        path.write_text(text)
        with pytest.raises(UserError):
            hal(tmp_path, site)


def test_a_second_run_into_the_same_folder_is_refused(tmp_path: Path, site: Site) -> None:
    def second(request: Request) -> Response:
        del request
        with pytest.raises(UserError, match="another process is collecting"):
            hal(tmp_path, site)
        return Response(LAST)

    site.routes[SEARCH] = second
    assert hal(tmp_path, site)["entries"] == 1
    assert len(site.requests) == 1
