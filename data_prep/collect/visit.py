"""A visit to a source's servers: answers and files that are fetched once, and found in the folder afterwards."""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from ...core import log
from ...core.errors import Failed, UserError
from ...core.files import read_bytes
from ...core.jsonio import parse_json
from ...core.log import counted
from .download import Download, Expected
from .hosts import Astray
from .names import shown
from .raw_folder import Answer, Raw, now
from .transport import Passing, Refused, Transport, is_html

GONE = (401, 403, 404, 410, 451)
"""HTTP's codes of a file that a server does not give, or not to everybody."""
EVERY = 15.0
"""Seconds between two lines of progress."""
IN_A_ROW = 10
"""Files that a server may refuse one after the other before the run ends: it refuses us, not them."""
Check = Callable[[Any], None]


class Visit:
    """One source's collection.

    Attributes:
        raw: the source's folder.
        limit: entries and files that are taken of each list; None for all.
        counts: what was listed, fetched and left out, by kind.
    """

    def __init__(self, raw: Raw, transport: Transport, limit: int | None) -> None:
        self.raw, self.transport, self.limit = raw, transport, limit
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self._in_a_row = 0
        self._said = time.monotonic()

    def page(self, url: str, name: str, check: Check) -> Any:
        """A JSON answer.

        Args:
            url: its address.
            name: the file that it is kept in.
            check: raises Passing or Failed where it is not what was asked for.

        Raises:
            Failed: it is not, whatever is tried.
            Refused: the server does not give it.
        """
        known = self.raw.find(name, shown(url))
        if known and known.file:
            value = parse_json(read_bytes(self.raw.folder / name), name)
            check(value)
            return value
        try:
            return self.transport.repeat(lambda: self._fetch_page(url, name, check), url)
        except Astray as error:
            raise Failed(str(error)) from None

    def _fetch_page(self, url: str, name: str, check: Check) -> Any:
        content, headers = self.transport.body(url)
        value = _json(content)
        check_pause(value, headers)
        check(value)
        partial = self.raw.place(name).with_name(f".{name.rpartition('/')[2]}.partial")
        partial.write_bytes(content)
        answer = Answer(
            name, shown(url), now(), etag=headers.get("etag", ""), modified=headers.get("last-modified", "")
        )
        self._keep(partial, answer)
        return value

    def _keep(self, partial: Path, answer: Answer) -> None:
        """Keep an answer; say from time to time how many there are."""
        self.raw.keep([(partial, answer)])
        if time.monotonic() - self._said >= EVERY:
            self._said = time.monotonic()
            answers = [each for each in self.raw.answers.values() if each.file]
            megabytes = sum(each.bytes for each in answers) / 1e6
            log.info(f"collect: {self.raw.folder.name}: {counted(len(answers), 'file')}, {megabytes:,.1f} MB")

    def file(self, url: str, name: str, expected: Expected = Expected()) -> Path:  # noqa: B008 - it is frozen
        """A file, fetched unless it is there.

        Raises:
            Refused, Astray, Failed: it cannot be fetched.
        """
        if not (known := self.raw.find(name, shown(url))) or not known.file:
            download = Download(self.transport, url, self.raw.place(name), expected)
            partial, answer = download.run(name)
            self._keep(partial, answer)
        return self.raw.folder / name

    def needed(self, url: str, name: str, expected: Expected = Expected()) -> Path:  # noqa: B008 - it is frozen
        """A file that the source cannot do without.

        Raises:
            Failed: it cannot be fetched.
        """
        try:
            return self.file(url, name, expected)
        except (Refused, Astray) as error:
            raise Failed(str(error)) from None

    def one_of_many(self, url: str, name: str, expected: Expected) -> None:
        """A file of a long list, which goes on without it: what does not come is counted and reported.

        Raises:
            Failed: many in a row do not come.
        """
        known = self.raw.find(name, shown(url))
        if known:
            self.counts["files that the server does not give"] += not known.file
            return
        try:
            self.file(url, name, expected)
            self._in_a_row = 0
            return
        except Refused as error:
            self._refused(error, url)
        except Astray as error:
            self._say("files at hosts that the definition does not name", str(error))
            return
        except Failed as error:
            self.failures.append(str(error))
            self._say("files that could not be fetched", str(error))
        self._in_a_row += 1
        if self._in_a_row == IN_A_ROW:
            raise Failed(
                f"{shown(url)}: {IN_A_ROW} files in a row could not be fetched; the server may refuse this client"
            )

    def _refused(self, error: Refused, url: str) -> None:
        if error.status not in GONE:
            self.failures.append(str(error))
            self._say("files that could not be fetched", str(error))
            return
        self.raw.note(Answer("", shown(url), now(), status=error.status))
        self._say("files that the server does not give", str(error))

    def _say(self, kind: str, message: str) -> None:
        self.counts[kind] += 1
        log.info(f"collect: left out: {message}")

    def first[T](self, items: Sequence[T]) -> Sequence[T]:
        """The items, as many as the limit allows."""
        return items if self.limit is None else items[: self.limit]


def _json(content: bytes) -> Any:
    if is_html(content):
        raise Passing("an HTML page in place of JSON")
    try:
        return parse_json(content, "the answer")
    except UserError as error:
        raise Passing(f"a broken page: {error.what}") from None


def check_pause(value: Any, headers: Mapping[str, str] | httpx.Headers) -> None:
    """Check an answer for a transient error, which the MediaWiki API reports with a code of success.

    Raises:
        Passing: it is one.
    """
    error = value.get("error") if isinstance(value, dict) else None
    code = error.get("code") if isinstance(error, dict) else None
    if code in ("maxlag", "ratelimited", "readonly", "internal_api_error_DBQueryError"):
        asked = headers.get("retry-after", "")
        raise Passing(f"the server is busy ({code})", float(asked) if asked.isdigit() else None)


def with_params(url: str, *params: tuple[str, str]) -> str:
    """An address with further parameters."""
    return str(httpx.URL(url, params=[*httpx.URL(url).params.multi_items(), *params]))


def pairs(params: Sequence[str]) -> list[tuple[str, str]]:
    """Names and values of `NAME=VALUE`."""
    return [(name, value) for name, _, value in (each.partition("=") for each in params)]
