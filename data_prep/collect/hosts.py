"""Addresses that a collection may ask: those of the hosts that a source's definition names, over HTTPS."""

from collections.abc import Iterable
from fnmatch import fnmatchcase

import httpx

from .names import shown

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Hosts that may be asked without encryption: this machine."""


class Astray(Exception):
    """An address that must not be requested; the message says why."""


class Hosts:
    """Hosts that a source's definition names."""

    def __init__(self, addresses: Iterable[str], further: Iterable[str]) -> None:
        """Take the hosts of the definition's addresses, and patterns of further ones."""
        named = (parsed(address).host for address in addresses)
        self.patterns = tuple(dict.fromkeys([*named, *(pattern.lower() for pattern in further)]))

    def check(self, address: str) -> httpx.URL:
        """The address, parsed.

        Raises:
            Astray: it is not an address, is not encrypted, carries a user's name, or leads to a host that is not named.
        """
        url = parsed(address)
        if url.scheme != "https" and not (url.scheme == "http" and url.host in LOOPBACK):
            raise Astray(f"{shown(address)} is not an https address")
        if url.userinfo:
            raise Astray(f"{shown(address)} carries a user's name")
        if not any(fnmatchcase(url.host, pattern) for pattern in self.patterns):
            raise Astray(f"{shown(address)} leads to the host {url.host!r}, which the definition does not name")
        return url


def parsed(address: str) -> httpx.URL:
    """An address, parsed.

    Raises:
        Astray: it is none.
    """
    try:
        return httpx.URL(address)
    except (httpx.InvalidURL, ValueError) as error:
        raise Astray(f"{address[:200]!r} is not an address: {error}") from None
