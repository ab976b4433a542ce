"""Requests to a source's servers: paced, retried if that may help, and limited to named hosts."""

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.metadata import version
from ssl import SSLContext

import httpx
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt

from ...core import log
from ...core.errors import Failed, StoppedEarly, UserError
from ...core.jsonio import MAX_BYTES
from .hosts import Astray, Hosts
from .names import shown

ATTEMPTS = 7
FIRST_WAIT, LONGEST_WAIT = 1.0, 60.0
"""Seconds before the second attempt; they double up to the longest, with as much as a second of chance."""
LONGEST_PAUSE = 900.0
"""Seconds that a server may ask to wait; where it asks for more, the run ends, to be started again."""
TIMEOUT = httpx.Timeout(60.0, connect=30.0)
REDIRECTS = 5
PASSING = {408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524}
"""HTTP's codes of a transient state."""
HTML = re.compile(
    rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.*?-->\s*)*<(?:!doctype\s+html|html|head|body|title)\b", re.IGNORECASE | re.DOTALL
)


class Passing(Exception):
    """A transient failure, which is retried.

    Attributes:
        wait: seconds that the server asks to wait; None where it does not say.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Refused(Exception):
    """A permanent failure, which is not retried.

    Attributes:
        status: HTTP's.
    """

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


def user_agent(contact: str) -> str:
    """Value of the header that names pdapt, and who to write to.

    Raises:
        UserError: the contact is neither an e-mail address nor a page.
    """
    if contact and not re.fullmatch(r"(?:[!-'*-~]+@[!-'*-~]+|https?://[!-'*-~]+)", contact[:200]):
        allowed = "an e-mail address, or the address of a page"
        raise UserError(f"{contact[:60]!r} is not a contact", where="--contact", allowed=allowed)
    return f"pdapt/{version('pdapt')}" + (f" ({contact})" if contact else "")


@cache
def _certificates() -> SSLContext:
    """Those that httpx trusts. Reading them takes longer than a small page."""
    return httpx.create_ssl_context()


class Transport:
    """A client of a source's servers.

    Attributes:
        retries: reason -> how often a request was repeated for it.
    """

    def __init__(self, hosts: Hosts, delay: float, agent: str) -> None:
        """Prepare a client.

        Args:
            hosts: that may be asked.
            delay: seconds between two requests to a host.
            agent: see `user_agent`.
        """
        self.hosts, self.delay = hosts, delay
        self.retries: Counter[str] = Counter()
        headers = {"User-Agent": agent}
        self._client = httpx.Client(headers=headers, timeout=TIMEOUT, follow_redirects=False, verify=_certificates())
        self._next: dict[str, float] = {}

    def close(self) -> None:
        """Close its connections."""
        self._client.close()

    def repeat[T](self, action: Callable[[], T], url: str) -> T:
        """The action's result; transient failures are retried.

        Raises:
            Failed: they did not pass.
            StoppedEarly: the server asks for a longer wait than a run should sleep.
        """
        retrying = Retrying(
            retry=retry_if_exception_type(Passing),
            stop=stop_after_attempt(ATTEMPTS),
            wait=_wait,
            before_sleep=lambda state: self._say(state, url),
            sleep=time.sleep,
            reraise=True,
        )
        try:
            return retrying(action)
        except Passing as error:
            raise Failed(f"{shown(url)}: {error} ({ATTEMPTS} attempts)") from error

    def _say(self, state: RetryCallState, url: str) -> None:
        error = _error(state)
        self.retries[str(error).split(":")[0]] += 1
        seconds = state.next_action.sleep if state.next_action else 0
        log.info(f"collect: {shown(url)}: {error}; attempt {state.attempt_number + 1} in {seconds:.0f} s")

    @contextmanager
    def open(
        self, url: str, headers: dict[str, str] | None = None, *, accept: tuple[int, ...] = ()
    ) -> Iterator[httpx.Response]:
        """An answer, whose body is not read yet; redirects are followed to hosts that are named.

        Args:
            url: what is asked for.
            headers: beside the client's.
            accept: codes of errors that are an answer, too.

        Raises:
            Passing, Refused, Astray: there is none.
        """
        target = url
        try:
            for _ in range(REDIRECTS + 1):
                self._pace(self.hosts.check(target).host)
                with self._client.stream("GET", target, headers=headers) as response:
                    if response.is_redirect and "location" in response.headers:
                        target = _joined(response)
                        continue
                    _check(response, accept)
                    yield response
                    return
        except httpx.TransportError as error:
            raise Passing(f"{_words(error)}: {str(error)[:200] or 'no answer'}") from error
        except httpx.DecodingError as error:
            raise Passing(f"the answer's packing is damaged: {error}") from error
        raise Astray(f"{shown(url)} leads through more than {REDIRECTS} redirects")

    def _pace(self, host: str) -> None:
        """Wait until a host may be asked again."""
        wait = self._next.get(host, 0.0) - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        self._next[host] = time.monotonic() + self.delay

    def body(self, url: str, limit: int = MAX_BYTES) -> tuple[bytes, httpx.Headers]:
        """The body of an answer, in memory, and the answer's headers.

        Raises:
            Passing, Refused, Astray: there is none.
            Failed: it is longer than `limit` bytes.
        """
        with self.open(url) as response:
            content = bytearray()
            for chunk in response.iter_bytes():
                content += chunk
                if len(content) > limit:
                    raise Failed(f"{shown(url)}: the answer has more than {limit:,} bytes")
            return bytes(content), response.headers


def _check(response: httpx.Response, accept: tuple[int, ...]) -> None:
    """Raise what an answer other than a success stands for."""
    status = response.status_code
    if status in (200, 206) or status in accept:
        return
    if status in PASSING:
        raise Passing(f"HTTP {status}", _retry_after(response))
    raise Refused(status, f"{shown(str(response.url))}: HTTP {status}")


def _retry_after(response: httpx.Response) -> float | None:
    """Seconds that a server asks to wait, as a number or until a date; by its own clock where it shows that."""
    value = response.headers.get("retry-after", "").strip()
    if not value:
        return None
    if value.isdigit():
        seconds = float(value[:12])
    else:
        until, here = _date(value), _date(response.headers.get("date", "")) or datetime.now(UTC)
        seconds = max(0.0, (until - here).total_seconds()) if until else None
    if seconds is not None and seconds > LONGEST_PAUSE:
        where = shown(str(response.url))
        raise StoppedEarly(
            f"{where}: the server asks to come back in {seconds:,.0f} s (HTTP {response.status_code}, Retry-After)\n"
            "  what was collected is kept; run the same command again after that"
        )
    return seconds


def _date(value: str) -> datetime | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError):
        return None
    return date if date.tzinfo else date.replace(tzinfo=UTC)


def _wait(state: RetryCallState) -> float:
    """Seconds before the next attempt: growing, at least those that the server asks for, and partly random."""
    asked = getattr(_error(state), "wait", None) or 0.0
    own = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (state.attempt_number - 1))
    return max(asked, own) + random.uniform(0, FIRST_WAIT)  # noqa: S311 - chance that spreads requests


def _error(state: RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _joined(response: httpx.Response) -> str:
    try:
        return str(response.url.join(response.headers["location"]))
    except (httpx.InvalidURL, ValueError) as error:
        raise Astray(f"{shown(str(response.url))} redirects to no address: {error}") from None


def _words(error: httpx.TransportError) -> str:
    """A failure of the connection, in words."""
    if isinstance(error, httpx.TimeoutException):
        return "no answer in time"
    if isinstance(error, httpx.RemoteProtocolError):
        return "the answer was cut off"
    return "no connection"


def is_html(head: bytes) -> bool:
    """Whether bytes are the beginning of an HTML page."""
    return HTML.match(head[:4096].removeprefix(b"\xef\xbb\xbf")) is not None
