"""Files at fixed addresses, and files that an answer lists: of data.gouv.fr, of Zenodo, and of the Hugging Face Hub."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import quote

from ...core.errors import Failed, UserError
from ...core.files import read_bytes
from ...core.jsonio import JsonObject
from ..sources.collection import Files, Listing, RowPages
from .archives import unpack
from .download import Expected
from .names import name_of, safe_name, safe_path
from .paging import MOST_OF_A_TEXT
from .transport import Passing, Refused
from .visit import Visit

LIST = "listing/answer.json"
HASHES = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
"""Algorithm -> hexadecimal digits."""
HUB = re.compile(r"(https?://[^/]+)/api/(datasets/[^/]+/[^/]+)/revision/")


@dataclass(frozen=True)
class Listed:
    """A file that an answer lists.

    Attributes:
        name: its name there.
        url: its address.
        expected: what is stated of it.
    """

    name: str
    url: str
    expected: Expected


def collect_files(step: Files, visit: Visit) -> None:
    """Fetch files at fixed addresses.

    Raises:
        Failed: one does not come.
    """
    _check_names([step.name or name_of(url) for url in step.urls], "the definition")
    for url in step.urls:
        _fetch(url, step.name or name_of(url), Expected(), visit, unpacked=step.unpack)


def _fetch(url: str, name: str, expected: Expected, visit: Visit, *, unpacked: Sequence[str]) -> None:
    visit.needed(url, name, expected)
    if unpacked and name.lower().endswith(".zip"):
        unpack(name, unpacked, visit.raw)


def collect_listing(kind: str, step: Listing, visit: Visit) -> None:
    """Fetch the files of a listing whose names the definition wants.

    Raises:
        Failed: the listing is not one, lists none of them, or a file does not come.
    """
    read = LISTINGS[kind]

    def check(value: Any) -> None:
        try:
            list(read(value, step.url))
        except UserError as error:
            raise Passing(f"a broken page: {error.what} ({error.where})") from None

    try:
        answer = visit.page(step.url, LIST, check)
    except Refused as error:
        raise Failed(str(error)) from error
    every = list(read(answer, step.url))
    wanted = [each for each in every if any(fnmatchcase(each.name.lower(), name.lower()) for name in step.names)]
    visit.counts["files listed"] += len(every)
    visit.counts["files listed that the definition does not want"] += len(every) - len(wanted)
    if not wanted:
        names = ", ".join(each.name for each in every[:20]) or "none"
        raise Failed(f"{step.url}: none of its files is called {' or '.join(step.names)}; there are: {names}")
    _check_names([safe_path(each.name) for each in wanted], step.url)
    for each in visit.first(wanted):
        _fetch(each.url, safe_path(each.name), each.expected, visit, unpacked=step.unpack)


def _check_names(names: Sequence[str], where: str) -> None:
    """Check that files are called differently, whatever case counts.

    Raises:
        Failed: two are called alike, and one would take the other's place.
    """
    seen: set[str] = set()
    for name in names:
        if name.lower() in seen or not name:
            raise Failed(f"{where}: two of its files are called {name!r}" if name else f"{where}: a file has no name")
        seen.add(name.lower())


def _datagouv(answer: Any, where: str) -> Iterator[Listed]:
    """Resources of a data set; size and hash hold for those that are kept there."""
    for number, resource in enumerate(JsonObject(_object(answer, where), where).list("resources")):
        stated = JsonObject(_object(resource, where), f"{where}: resources[{number}]")
        url, values = stated.text("url"), stated.values
        name = f"{stated.text('id')[:8]}-{name_of(url)}"
        ending = str(values.get("format") or "").lower()
        if "." not in name_of(url) and ending.isalnum():  # an address that ends in an id
            name += f".{ending}"
        checksum = values.get("checksum") if values.get("filetype") == "file" else None
        parts = (checksum.get("type"), checksum.get("value")) if isinstance(checksum, dict) else ("", "")
        size = values.get("filesize") if values.get("filetype") == "file" else None
        yield Listed(name, url, _expected(size, *parts))


def _zenodo(answer: Any, where: str) -> Iterator[Listed]:
    for number, file in enumerate(JsonObject(_object(answer, where), where).list("files")):
        stated = JsonObject(_object(file, where), f"{where}: files[{number}]")
        algorithm, _, value = str(stated.values.get("checksum") or "").partition(":")
        links = stated.object("links")
        yield Listed(stated.text("key"), links.text("self"), _expected(stated.values.get("size"), algorithm, value))


def _hub(answer: Any, where: str) -> Iterator[Listed]:
    """Files of a data set's revision; what is fetched names the commit that the revision stood for."""
    stated = JsonObject(_object(answer, where), where)
    address, commit = HUB.match(where), stated.text("sha")
    if address is None or not re.fullmatch(r"[0-9a-f]{40}", commit):
        raise UserError("the answer names no commit of the data set", where=where)
    for number, file in enumerate(stated.list("siblings")):
        entry = JsonObject(_object(file, where), f"{where}: siblings[{number}]")
        name, large = entry.text("rfilename"), entry.values.get("lfs")
        parts = ("sha256", large.get("sha256")) if isinstance(large, dict) else ("", "")
        url = f"{address[1]}/{address[2]}/resolve/{commit}/{quote(name)}"
        yield Listed(name, url, _expected(entry.values.get("size"), *parts))


LISTINGS: dict[str, Callable[[Any, str], Iterator[Listed]]] = {
    "datagouv": _datagouv,
    "zenodo": _zenodo,
    "hub": _hub,
}
"""Scheme -> the files that its answer lists."""


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError("not a JSON object", where=where)
    return value


def _expected(size: Any, algorithm: Any, value: Any) -> Expected:
    """Size and hash that a listing states, as far as they can be compared."""
    known = isinstance(value, str) and re.fullmatch(r"[0-9a-f]+", value) and HASHES.get(str(algorithm)) == len(value)
    stated = size if type(size) is int and size >= 0 else None
    return Expected(stated, str(algorithm) if known else "", value if known else "")


def collect_row_pages(step: RowPages, visit: Visit) -> None:
    """Fetch a page for each row of a table that is there.

    Raises:
        Failed: the table has no such column, or many pages in a row do not come.
    """
    content = read_bytes(visit.raw.folder / step.table).removeprefix(b"\xef\xbb\xbf")
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = content.decode(step.encoding, "replace")
    rows = [line.split("\t") for line in text.splitlines() if line.strip()]
    if not rows or min(map(len, rows)) <= step.column:
        raise Failed(f"{visit.raw.folder / step.table}: a row has no column {step.column}")
    codes = list(dict.fromkeys(row[step.column].strip() for row in rows))
    visit.counts["entries"] += len(codes)
    for code in visit.first(codes):
        name, url = safe_name(step.name.replace("{}", code)), step.url.replace("{}", quote(code, safe=""))
        visit.one_of_many(url, f"pages/{name}", Expected(most=MOST_OF_A_TEXT))
