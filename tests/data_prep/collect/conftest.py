"""A site of this machine for each test, and waits that take no time."""

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from local_site import Site, serving

from pdapt.data_prep.collect import transport


def _only_here(resolve: Callable[..., Any]) -> Callable[..., Any]:
    """A resolver that knows this machine alone: no test asks anybody else."""

    def resolved(host: Any, *arguments: Any, **options: Any) -> Any:
        assert host in ("127.0.0.1", b"127.0.0.1"), f"a test asks {host!r}"
        return resolve(host, *arguments, **options)

    return resolved


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(transport, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(socket, "getaddrinfo", _only_here(socket.getaddrinfo))
    with serving() as local:
        yield local


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that a run would have slept."""
    slept: list[float] = []
    monkeypatch.setattr(transport.time, "sleep", slept.append)
    return slept
