"""A corpus whose parts are jobs of a real Slurm's."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pdapt.core.exit_codes import ExitCode
from pdapt.core.manifest import Manifest
from pdapt.data_prep.corpus import build_corpus, discover

SITE = ("--slurm", "partition=p", "--slurm", "time=10")


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    """Files that each take a second or so to clean."""
    folder = tmp_path / "notes"
    folder.mkdir()
    for number in range(4):
        lines = (f"Patient {number}.{n} : hyper-\ntension <b>à</b> {n} mmHg." for n in range(300))
        (folder / f"{number}.txt").write_text("\n".join(lines))
    return folder


def start(notes: Path, out: Path, environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "pdapt.cli.main", "corpus", "build", f"notes={notes}", "--out", str(out)]
    command += ["--tasks", "4", *(options or SITE)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def completed(folder: Path) -> dict[Path, int]:
    """Files by which datatrove notes the finished tasks, and when they were written."""
    return {path: path.stat().st_mtime_ns for path in folder.glob(".*/.tasks/*/logs/*/completions/*")}


@pytest.mark.slow
def test_parts_run_on_slurm_and_a_kill_costs_those_at_work(slurm: dict[str, str], notes: Path, tmp_path: Path) -> None:
    """The jobs of the killed command are ended before others begin, and no finished task is done again."""
    whole = build_corpus(discover([f"notes={notes}"]), tmp_path / "whole")
    out = tmp_path / "killed" / "corpus"
    process = start(notes, out, slurm)
    wait(lambda: len(completed(out.parent)) >= 1)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    before = completed(out.parent)
    again = start(notes, out, slurm)
    wait(lambda: len(completed(out.parent)) > len(before) or again.poll() is not None)
    assert before.items() <= completed(out.parent).items()
    _, said = again.communicate(timeout=300)
    assert again.returncode == 0, said
    assert "corpus: pdapt-finish: submitted as job " in said
    manifest = Manifest.read(out)
    assert (manifest.outputs, manifest.counts) == (whole.outputs, whole.counts)
    asked = subprocess.run(["squeue", "-h"], env=slurm, capture_output=True, text=True, check=True)
    assert asked.stdout == ""


@pytest.mark.slow
def test_a_job_that_slurm_does_not_take_or_ends_is_said(slurm: dict[str, str], notes: Path, tmp_path: Path) -> None:
    refused = start(notes, tmp_path / "corpus", slurm, "--slurm", "partition=none")
    _, said = refused.communicate(timeout=60)
    assert refused.returncode == ExitCode.USER_ERROR
    assert "sbatch does not take the job" in said
    process = start(notes, tmp_path / "corpus", slurm)
    queued = ["squeue", "-h", "-o", "%A"]
    wait(lambda: bool(subprocess.run(queued, env=slurm, capture_output=True, check=True).stdout))
    subprocess.run(["scancel", "-u", "root"], env=slurm, check=True)
    _, said = process.communicate(timeout=120)
    assert process.returncode == ExitCode.FAILED, said
    assert "tasks to do" in said
    assert not (tmp_path / "corpus").exists()
