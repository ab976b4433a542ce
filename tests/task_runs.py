"""Commands whose tasks are watched while they run, and killed."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def start_build(paths: object, out: Path, *options: str, environment: dict[str, str] | None = None) -> "Build":
    """Start `pdapt corpus build` of a source called notes."""
    return start("corpus", "build", f"notes={paths}", "--out", str(out), *options, environment=environment)


def start(*arguments: str, environment: dict[str, str] | None = None) -> "Build":
    """Start a command of `pdapt`."""
    command = [sys.executable, "-m", "pdapt.cli.main", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


type Build = subprocess.Popen[str]


def finish(process: Build) -> str:
    """Messages of a process that ends well."""
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return said


def wait(condition: Callable[[], bool], seconds: float = 120) -> None:
    """Wait until a condition holds; a failure after so many seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def completed(folder: Path) -> dict[Path, int]:
    """Files below a folder by which datatrove notes the finished tasks, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob(".*/.tasks/*/logs/*/completions/*")}
