"""A collection that is killed with SIGKILL, wherever, and started again, ends with the same folder."""

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import source_files as files
from local_site import Request, Response, Site

from pdapt.core.files import sha256

SEARCH = "/api.archives-ouvertes.fr/search/"
RECORDS = 6


class Halting:
    """HAL's search, two records a page, and its texts; at one request half of the answer comes, and then nothing."""

    def __init__(self, site: Site) -> None:
        self.site, self.at = site, 0
        self.reached, self.done = threading.Event(), threading.Event()
        site.routes[SEARCH] = self.search
        for number in range(RECORDS):
            site.serves(f"/hal.science/{number}", files.pdf(f"These {number} " * 50))
        for path, route in list(site.routes.items()):
            site.routes[path] = lambda request, route=route: self.halting(route(request))

    def search(self, request: Request) -> Response:
        begin = 0 if request.get("cursorMark") == "*" else int(request.get("cursorMark"))
        docs = [
            files.HAL_RECORD | {"halId_s": f"hal-{n:02}", "fileMain_s": f"{self.site.address}/hal.science/{n}"}
            for n in range(begin, min(begin + 2, RECORDS))
        ]
        cursor = str(begin + 2) if begin < RECORDS else request.get("cursorMark")
        answer = {"response": {"numFound": RECORDS, "docs": docs}, "nextCursorMark": cursor}
        return Response(json.dumps(answer).encode())

    def halting(self, response: Response) -> Response:
        if len(self.site.requests) != self.at:
            return response
        self.reached.set()
        half = len(response.body) // 2
        return Response(response.body, response.status, response.headers, send=half, hang=self.done)


def start(definition: str, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "pdapt.cli.main", "corpus", "collect", definition, "--out", str(out), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | {"NO_PROXY": "127.0.0.1"})


def contents(folder: Path) -> dict[str, Any]:
    """SHA-256 of each file; of the journal its lines without their dates."""
    hashes: dict[str, Any] = {
        str(path.relative_to(folder)): sha256(path) for path in folder.rglob("*") if path.is_file()
    }
    lines = map(json.loads, (folder / "collected.jsonl").read_text().splitlines())
    hashes["collected.jsonl"] = [{name: value for name, value in line.items() if name != "date"} for line in lines]
    return hashes


@pytest.mark.slow
def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, site: Site) -> None:
    halting = Halting(site)
    definition = site.define(tmp_path, "HAL", lambda how: how["steps"][0]["solr"].update(rows=2))
    whole = start(definition, tmp_path / "whole")
    counts = json.loads(whole.communicate()[0])["sources"]["HAL"]
    assert (whole.returncode, counts["entries"], counts["files"]) == (0, RECORDS, RECORDS + 4)
    asked = len(site.requests)
    for at in (2, 6):  # half of a text, half of a page further on
        halting.at = len(site.requests) + at
        halting.reached.clear()
        run = start(definition, tmp_path / "killed")
        assert halting.reached.wait(60)
        run.kill()
        run.communicate()
    halting.done.set()
    halting.at = 0
    last = start(definition, tmp_path / "killed")
    assert json.loads(last.communicate()[0])["sources"]["HAL"] == counts
    assert contents(tmp_path / "killed" / "HAL") == contents(tmp_path / "whole" / "HAL")
    assert len(site.requests) == 2 * asked + 2, "only the two answers that were cut off are asked for twice"
