"""A measured process: its output in a log, which a failure shows."""

import os
import sys
from pathlib import Path
from subprocess import Popen

import pytest

from pdapt.bench.processes import run_logged

CODE = "import os, pathlib; print(os.environ['WORD'], pathlib.Path.cwd().name)"


def test_a_command_works_in_its_folder_and_prints_into_its_log(tmp_path: Path) -> None:
    environment = os.environ | {"WORD": "seen"}
    assert run_logged([sys.executable, "-c", CODE], tmp_path / "log", Popen.wait, cwd=tmp_path, env=environment) == 0
    assert (tmp_path / "log").read_text() == f"seen {tmp_path.name}\n"


def test_a_failure_is_raised_with_the_end_of_the_log(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('x' * 5000); raise SystemExit('the last words')"]
    with pytest.raises(RuntimeError, match=r"^a way failed:\nx{2900,3000}\n?(.|\n)*the last words") as failed:
        run_logged(command, tmp_path / "log", Popen.wait, cwd=tmp_path, name="a way")
    assert len(str(failed.value)) < 3100
