"""Messages of libraries while a task runs: all of them in a file, and their warnings counted."""

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from .result_files import LibraryWarning

WARNING_CHARACTERS = 500
"""Characters of a warning that are kept with its count; the file has all of them."""


class WarningCounter(logging.Handler):
    """Counts warnings and errors that differ in more than their numbers."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._counted: dict[tuple[str, str], LibraryWarning] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Count a message; `logging` calls this."""
        message = " ".join(record.getMessage().split())
        key = (record.name, re.sub(r"\d+", "#", message))
        first = LibraryWarning(record.name.partition(".")[0], message[:WARNING_CHARACTERS], 0)
        counted = self._counted.get(key, first)
        self._counted[key] = replace(counted, times=counted.times + 1)

    def take(self) -> list[LibraryWarning]:
        """Warnings since the last call."""
        taken, self._counted = list(self._counted.values()), {}
        return taken


def count_warnings() -> WarningCounter:
    """Send every library's messages to standard error, and count its warnings."""
    counter = WarningCounter()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.captureWarnings(True)
    logging.getLogger("lm_eval").setLevel(logging.INFO)
    loggers = [logging.getLogger(), *map(logging.getLogger, ("transformers", "datasets", "vllm"))]
    for logger in loggers:
        if logger.parent is None or not logger.propagate:
            logger.addHandler(counter)
    return counter


@contextmanager
def written_to(path: Path) -> Iterator[None]:
    """Redirect this process's output, libraries' too, to a file; to standard error as well where the block fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [os.dup(number) for number in (1, 2)]
    with path.open("ab") as file:
        _flush()
        for number in (1, 2):
            os.dup2(file.fileno(), number)
    try:
        yield
    except BaseException:
        _restore(kept)
        sys.stderr.write(path.read_text(encoding="utf-8", errors="replace"))
        raise
    else:
        _restore(kept)


def _restore(kept: list[int]) -> None:
    _flush()
    for number, descriptor in zip((1, 2), kept, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
