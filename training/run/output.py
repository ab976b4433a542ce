"""The terminal output of a training run: lines for people. All that torch and Megatron print goes into a log."""

import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ...core import log
from ...core.log import counted

LOGS = "logs"
"""Subfolder of a run for the output of each rank, if the user's own torchrun started the ranks."""
OF_OURS = ("save: ", "guard: ", "straggler: ", "hang: ", "tracker: ")
"""How a rank begins the lines that are shown to the user."""
_LOGGED = re.compile(r"\[ *\d+\.\d s\] ")
_WARNING = re.compile("warning", re.IGNORECASE)
EVERY = 5.0
"""Seconds between progress lines while nothing else happens."""


class Follower:
    """Shows the lines of a log that are for people, and counts the libraries' warnings among the others."""

    def __init__(self, path: Path, offset: int, say: Callable[[str], None]) -> None:
        """Begin at an offset in the log; `say` shows a line."""
        self.path, self.say, self.warnings = path, say, 0
        self._offset, self._rest, self._shown = offset, b"", time.monotonic()

    def show(self) -> None:
        """Show what has been written since the last time."""
        lines = [line for line in self._new() if self._is_ours(line)]
        important = [line for line in lines if "iteration" not in line or "validation loss" in line]
        if lines and (important or time.monotonic() - self._shown > EVERY):
            for line in important or lines[-1:]:
                self.say(_brief(line))
            self._shown = time.monotonic()

    def end(self) -> None:
        """Show the rest, and the number of warnings that were not shown."""
        self.show()
        if self.warnings:
            warnings = counted(self.warnings, "warning of torch or Megatron is", "warnings of torch and Megatron are")
            self.say(f"train: {warnings} in {self.path}")

    def _new(self) -> list[str]:
        """Read the complete lines since the last time."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        self._offset += len(text)
        *whole, self._rest = (self._rest + text).split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def _is_ours(self, line: str) -> bool:
        if ("lm loss" in line and "iteration" in line) or line.startswith(OF_OURS) or _LOGGED.match(line):
            return True
        self.warnings += bool(_WARNING.search(line)) and "warnings.warn" not in line
        return False


def _brief(line: str) -> str:
    """Keep pdapt's own lines as they are; of Megatron's, keep the step and the loss."""
    if logged := _LOGGED.match(line):
        return line[logged.end() :]
    if line.startswith(OF_OURS):
        return f"train: {line}"
    if "validation loss" in line:
        return "train: " + line.strip(" -|").split(" | lm loss PPL")[0]
    fields = [part.strip() for part in line.split("|")]
    step = " ".join(fields[0].split("]")[-1].split())
    return "train: " + ", ".join([step, *(part for part in fields if part.startswith(("lm loss", "elapsed")))])


@contextmanager
def kept_apart(path: Path) -> Iterator[None]:
    """Redirect the output of this process, its libraries and its children to a log; show the lines for people."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _flush()
    kept = [os.dup(number) for number in (1, 2)]
    over = threading.Event()
    with path.open("ab") as file, os.fdopen(kept[1], "w", closefd=False) as terminal:
        follower = Follower(path, file.tell(), lambda line: print(log.line(line), file=terminal, flush=True))
        thread = threading.Thread(target=_follow, args=(follower, over), name="output", daemon=True)
        for number in (1, 2):
            os.dup2(file.fileno(), number)
        thread.start()
        try:
            yield
        finally:
            _flush()
            over.set()
            thread.join()
            for number, before in zip((1, 2), kept, strict=True):
                os.dup2(before, number)
                os.close(before)


def _follow(follower: Follower, over: threading.Event) -> None:
    while not over.wait(0.5):
        follower.show()
    follower.end()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
