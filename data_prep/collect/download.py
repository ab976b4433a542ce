"""Downloads that continue where they stopped, and are compared with the stated length and hash."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

import httpx

from ...core.errors import Failed, UserError
from ...core.files import LONG, read_blocks, read_object, write_json
from ...core.log import Progress
from ...core.system.disk import check_space, disk_errors
from .names import shown
from .raw_folder import Answer, now
from .transport import Passing, Transport, is_html

LARGEST = 2**36
"""Bytes of a file. The largest that a source publishes has some gigabytes."""
RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")
ENDS = 2**16 + 22
"""Bytes at a file's beginning and end that are looked at: the longest last record of a zip archive."""
WHOLE: dict[str, Callable[[bytes, bytes], bool]] = {
    ".pdf": lambda head, tail: b"%PDF-" in head[:1024] and b"%%EOF" in tail,
    ".zip": lambda head, tail: head.startswith(b"PK") and b"PK\x05\x06" in tail,
    ".json": lambda head, tail: head.lstrip(JSON_SPACE)[:1] in (b"{", b"[") and tail.rstrip()[-1:] in (b"}", b"]"),
}
"""Ending of a file's name -> whether its first and last bytes are those of a whole file of its kind: where the server
states no length, nothing else tells that a download was cut off."""
PAGES = (".html", ".htm")
JSON_SPACE = b"\xef\xbb\xbf \t\r\n"


@dataclass(frozen=True)
class Expected:
    """Size and hash that a listing states of a file.

    Attributes:
        size: bytes; None where it does not say.
        algorithm: of the hash, as hashlib names it; empty where none is stated.
        hash: in hexadecimal digits.
        most: bytes that the file may have.
    """

    size: int | None = None
    algorithm: str = ""
    hash: str = ""
    most: int = LARGEST


@dataclass(frozen=True)
class Begun:
    """Facts about a file whose download has begun.

    Attributes:
        url: its address.
        etag: its version, as the server names it.
        modified: when it was last changed, as the server says.
        total: its bytes; None where the server does not say.
    """

    url: str
    etag: str = ""
    modified: str = ""
    total: int | None = None

    @property
    def validator(self) -> str:
        """Value of If-Range that stands for these bytes; a weak ETag does not."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


class Download:
    """One file's download, in attempts that go on where the one before stopped."""

    def __init__(self, transport: Transport, url: str, target: Path, expected: Expected) -> None:
        """Prepare it; `target` is the file's final path, and an unfinished download lies beside it."""
        self.transport, self.url, self.expected = transport, url, expected
        self.name = target.name
        self.partial = target.with_name(f".{target.name}.partial")
        self.record = target.with_name(f".{target.name}.partial.json")

    def run(self, file: str) -> tuple[Path, Answer]:
        """The finished file under its temporary name, and the answer that it is.

        Raises:
            Failed: it did not come whole.
            Refused, Astray: the server does not have it, or it is on another host.
            UserError: the disk is full.
        """
        with disk_errors(self.partial):
            begun = self.transport.repeat(self._attempt, self.url)
        self.record.unlink(missing_ok=True)
        answer = Answer(file, shown(self.url), now(), etag=begun.etag, modified=begun.modified)
        return self.partial, answer

    def _attempt(self) -> Begun:
        have, before = self._half()
        headers = {"Accept-Encoding": "identity"}
        if before:
            headers |= {"Range": f"bytes={have}-", "If-Range": before.validator}
        with self.transport.open(self.url, headers, accept=(416,)) as response:
            begin, begun = self._begin(response, have)
            self._check_size(begun.total)
            write_json(self.record, asdict(begun))
            self._receive(response, begin, begun.total)
        self._check(begun)
        return begun

    def _half(self) -> tuple[int, Begun | None]:
        """Bytes that an earlier attempt left, and facts about them; none if they cannot be continued."""
        try:
            stated = read_object(self.record)
            total = stated.integer("total") if "total" in stated else None
            begun = Begun(stated.text("url"), stated.text("etag", ""), stated.text("modified", ""), total)
            have = self.partial.stat().st_size
        except (UserError, FileNotFoundError):
            return 0, None
        return (have, begun) if have and begun.url == shown(self.url) and begun.validator else (0, None)

    def _begin(self, response: httpx.Response, have: int) -> tuple[int, Begun]:
        """The byte that an answer begins with, and its facts about the file."""
        begin, total = 0, _number(response.headers.get("content-length"))
        if response.status_code == 416:
            self._drop("the server does not have the rest of the file")
        if response.status_code == 206:
            stated = RANGE.fullmatch(response.headers.get("content-range", "").strip())
            if not have or stated is None or int(stated[1]) != have:
                self._drop("the server sent another part of the file")
            begin, total = have, _number(stated[3])
        packed = response.headers.get("content-encoding", "identity") != "identity"
        if packed:  # though it was asked not to be: its length is not that of the file
            return begin, Begun(shown(self.url))
        etag, modified = response.headers.get("etag", ""), response.headers.get("last-modified", "")
        return begin, Begun(shown(self.url), etag, modified, total)

    def _check_size(self, total: int | None) -> None:
        if total is not None and total > self.expected.most:
            raise Failed(f"{shown(self.url)}: {total:,} bytes; allowed: up to {self.expected.most:,}")
        check_space(self.partial, total or 0, left=self.partial.stat().st_size if self.partial.exists() else 0)

    def _receive(self, response: httpx.Response, begin: int, total: int | None) -> None:
        progress = Progress(f"collect: {self.name}", total or 0) if (total or 0) >= LONG else None
        packed = response.headers.get("content-encoding", "identity") != "identity"
        with self.partial.open("r+b" if begin else "wb") as file:
            file.truncate(begin)
            file.seek(begin)
            self._write(response.iter_bytes() if packed else response.iter_raw(), file, begin, progress)

    def _write(self, chunks: Iterator[bytes], file: IO[bytes], begin: int, progress: Progress | None) -> None:
        count = begin
        for chunk in chunks:
            count += len(chunk)
            if count > self.expected.most:
                raise Failed(f"{shown(self.url)}: more than the {self.expected.most:,} bytes that are allowed")
            file.write(chunk)
            if progress:
                progress.add(len(chunk))

    def _check(self, begun: Begun) -> None:
        """Compare the file with what the listing states; one that differs is dropped, and fetched again."""
        size = self.partial.stat().st_size
        for stated in (begun.total, self.expected.size):
            if stated is not None and size != stated:
                self._drop(f"the download has another length: {size:,} bytes of {stated:,}")
        if self.expected.algorithm and _hash(self.partial, self.expected.algorithm) != self.expected.hash:
            self._drop(f"the download has another hash: its {self.expected.algorithm} is not the stated one")
        if not size:
            self._drop("an empty file")
        with self.partial.open("rb") as file:
            head = file.read(ENDS)
            file.seek(-min(size, ENDS), os.SEEK_END)
            tail = file.read()
        ending = Path(self.name).suffix.lower()
        if is_html(head) and ending not in PAGES:
            self._drop(f"an HTML page in place of the file: {self.name}")
        if ending in WHOLE and not WHOLE[ending](head, tail):
            self._drop(f"not a complete {ending[1:].upper()} file: {self.name}")

    def _drop(self, reason: str) -> NoReturn:
        """Forget what has come, so that the next attempt begins from the start."""
        self.partial.unlink(missing_ok=True)
        self.record.unlink(missing_ok=True)
        raise Passing(reason)


def _hash(path: Path, algorithm: str) -> str:
    value: Any = hashlib.new(algorithm, usedforsecurity=False)
    for block in read_blocks(path):
        value.update(block)
    return value.hexdigest()


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None
