"""What libraries say while a task runs: all of it in a file, and their warnings counted."""

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

LENGTH = 500
"""Characters of a warning that are kept apart; the file has all of them."""


class Warnings(logging.Handler):
    """Counts warnings and errors that differ in more than their numbers."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._seen: dict[tuple[str, str], dict[str, Any]] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Note one; `logging` calls this."""
        message = " ".join(record.getMessage().split())
        row = {"from": record.name.partition(".")[0], "message": message[:LENGTH], "times": 0}
        self._seen.setdefault((record.name, re.sub(r"\d+", "#", message)), row)["times"] += 1

    def take(self) -> list[dict[str, Any]]:
        """Those since the last call: `from` (a library), `message` (the first of its kind), `times`."""
        taken, self._seen = list(self._seen.values()), {}
        return taken


def listen() -> Warnings:
    """Have every library's messages go to standard error, and its warnings be counted, too."""
    found = Warnings()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.captureWarnings(True)
    logging.getLogger("lm_eval").setLevel(logging.INFO)
    loggers = [logging.getLogger(), *map(logging.getLogger, ("transformers", "datasets", "vllm"))]
    for logger in loggers:
        if logger.parent is None or not logger.propagate:
            logger.addHandler(found)
    return found


@contextmanager
def written_to(path: Path) -> Iterator[None]:
    """Put what this process and its libraries print into a file; where the block fails, on standard error as well."""
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
