"""Passes as datatrove's tasks: what a kill costs, and that nothing of it is seen in the corpus."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pdapt.core.exit_codes import ExitCode
from pdapt.core.manifest import Manifest

FILES = 8


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Files that each take a second or so to clean."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(FILES):
        texts = (f"Patient {number}.{n} : hyper-\ntension <b>à</b> {n} mmHg.\n" * 40 for n in range(500))
        text = "".join(json.dumps({"text": text}) + "\n" for text in texts)
        (folder / f"{number}.jsonl").write_text(text)
    return folder


def start(notes: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pdapt.cli.main", "corpus", "build", f"notes={notes}", "--out", str(out), *options]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finish(process: subprocess.Popen[str]) -> str:
    """Messages of a process that ends well."""
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    return said


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def completed(folder: Path) -> dict[Path, int]:
    """Files by which datatrove notes the finished tasks, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob(".*/.tasks/*/logs/*/completions/*")}


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["the command", "a worker"])
def test_a_kill_costs_the_tasks_at_work_and_no_other(notes: Path, tmp_path: Path, victim: str) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "killed" / "parts"
    finish(start(notes, whole))
    process = start(notes, parts, "--tasks", str(FILES), "--workers", "2")
    wait(lambda: len(completed(parts.parent)) >= 2)
    workers = psutil.Process(process.pid).children(recursive=True)
    if victim == "a worker":
        next(worker for worker in workers if "spawn_main" in " ".join(worker.cmdline())).kill()
        _, said = process.communicate(timeout=60)
        assert process.returncode == ExitCode.FAILED
        assert "a worker was killed" in said
        assert "The same command goes on" in said
    else:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    _, alive = psutil.wait_procs(workers, timeout=10)
    assert not alive, alive
    assert not parts.exists()
    before = completed(parts.parent)
    assert 2 <= len(before) < 3 * FILES
    again = start(notes, parts, "--tasks", str(FILES), "--workers", "2")
    wait(lambda: len(completed(parts.parent)) > len(before) or again.poll() is not None)
    assert before.items() <= completed(parts.parent).items()
    said = finish(again)
    assert f"tasks of {FILES}, 2 workers" in said
    assert Manifest.read(parts).outputs == Manifest.read(whole).outputs
    assert Manifest.read(parts).counts == Manifest.read(whole).counts
    assert not list(parts.glob(".*"))


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_named_as_in_one_piece(notes: Path, tmp_path: Path) -> None:
    """Two files are damaged where no beginning shows it; the error names both, and mended ones are read."""
    for number in (2, 5):
        path = notes / f"{number}.jsonl"
        path.write_bytes(path.read_bytes() + b"\xff\n")
    said = []
    for name, options in (("one", ()), ("parts", ("--tasks", "4", "--workers", "2"))):
        process = start(notes, tmp_path / name, *options)
        _, messages = process.communicate(timeout=120)
        assert process.returncode == ExitCode.USER_ERROR, messages
        said.append(messages[messages.index("2 files cannot be read") :])
    assert said[0] == said[1]
    for number in (2, 5):
        path = notes / f"{number}.jsonl"
        path.write_bytes(path.read_bytes().removesuffix(b"\xff\n"))
    finish(start(notes, tmp_path / "parts", "--tasks", "4", "--workers", "2"))
    assert Manifest.read(tmp_path / "parts").counts["notes"]["kept"] == 500 * FILES
