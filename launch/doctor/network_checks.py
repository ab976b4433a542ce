"""Whether the hub that models and corpora come from answers, unless the environment forbids asking it."""

import os
import time
from collections.abc import Iterator
from threading import Thread

from .check import Check, Verdict

OFFLINE = "HF_HUB_OFFLINE"
HUB = "https://huggingface.co"
PATIENCE = 5.0
"""Seconds that an answer is waited for: one takes tenths of a second where there is a network."""


def check_network() -> Iterator[Check]:
    """Check the hub, unless the environment says that there is no network."""
    if os.environ.get(OFFLINE, "").upper() in {"1", "TRUE", "YES", "ON"}:
        yield Check("network", Verdict.OK, f"{OFFLINE} is set: pdapt does not ask the hub")
        return
    hub = os.environ.get("HF_ENDPOINT", HUB)
    answer: list[str] = []
    begin = time.monotonic()
    # A thread of its own, which dies with the command: resolving a name has no bound that can be set.
    thread = Thread(target=lambda: answer.append(_ask(hub)), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    problem = answer[0] if answer else f"no answer within {PATIENCE:g} s"
    if not problem:
        yield Check("network", Verdict.OK, f"{hub} answered in {time.monotonic() - begin:.1f} s")
        return
    meaning = "models and corpora cannot be fetched here, and libraries that ask the hub wait for their time-outs"
    yield Check(
        "network",
        Verdict.SLOW,
        f"{hub}: {problem}",
        meaning=meaning,
        fix=f"export {OFFLINE}=1 where there is no network",
    )


def _ask(hub: str) -> str:
    """Ask the hub for a page's head; the problem, or nothing where it answered, with whatever code."""
    import httpx

    try:
        httpx.head(hub, timeout=PATIENCE)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        return str(error) or type(error).__name__
    return ""
