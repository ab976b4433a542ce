"""Progress and messages: always on standard error, so that standard output stays free for results."""

import sys
import time

_START = time.monotonic()


def info(message: str) -> None:
    """One line of progress, with the seconds since the program started."""
    print(f"[{time.monotonic() - _START:7.1f} s] {message}", file=sys.stderr, flush=True)


def warn(message: str) -> None:
    """Something the user should know, such as a fast path that is not taken."""
    info(f"warning: {message}")
