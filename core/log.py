"""Progress and messages, always on standard error: standard output stays free for results."""

import sys
import threading
import time

_START = time.monotonic()


def info(message: str) -> None:
    """Log a line of progress, with the seconds since the program started."""
    print(line(message), file=sys.stderr, flush=True)


def line(message: str) -> str:
    """Format a line of progress."""
    return f"[{time.monotonic() - _START:7.1f} s] {message}"


def warn(message: str) -> None:
    """Log something that the user should know, such as a fast path that is not used."""
    info(f"warning: {message}")


def counted(count: int, noun: str, plural: str = "") -> str:
    """Format a count with its noun: `1 file`, `2,000 files`.

    Args:
        count: the number.
        noun: the singular, perhaps with its verb: `file`, `file is`.
        plural: the plural, unless it is the singular with an s: `files are`.
    """
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


class Progress:
    """Progress of a stage in bytes, logged every few seconds."""

    EVERY = 5.0
    """Seconds."""

    def __init__(self, stage: str, total: int) -> None:
        """Begin.

        Args:
            stage: name of the stage.
            total: number of all bytes.
        """
        self.stage, self.total = stage, total
        self._done, self._begin = 0, time.monotonic()
        self._said = self._begin
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count more bytes as done; any thread may call this."""
        with self._lock:
            self._done += count
            now = time.monotonic()
            if now - self._said < self.EVERY:
                return
            self._said = now
        rate = self._done / (now - self._begin)
        info(f"{self.stage}: {self._done / 1e9:.1f} of {self.total / 1e9:.1f} GB, {rate / 1e9:.2f} GB/s")
