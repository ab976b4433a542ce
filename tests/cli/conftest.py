"""The command line in the tests' own process, with what a terminal shows and the exit code."""

import sys
from collections.abc import Callable

import pytest
from commands import Said

from pdapt.cli import main as face


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    """`say("merge", "run", ...)`: a command in this process."""

    def run(*arguments: object) -> Said:
        monkeypatch.setattr(sys, "argv", ["pdapt", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            face.main()
        out, err = capfd.readouterr()
        return Said(stop.value.code, out, err)

    return run
