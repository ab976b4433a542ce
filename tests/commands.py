"""Commands in this process: a process of its own costs seconds of imports, and is for tests of a process."""

import json
from dataclasses import dataclass
from typing import Any

from typer.testing import CliRunner

from pdapt.cli.main import app


@dataclass(frozen=True)
class Said:
    """The outcome of a `main` run in this process: rooms are loaded once for all tests, not once for each."""

    code: object
    out: str
    err: str


def pdapt(*arguments: object) -> str:
    """Run `pdapt` with these arguments; return what it prints.

    Raises:
        UserError: a process would show it and end with code 2, as tests/cli/test_cli.py checks.
    """
    done = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def pdapt_json(*arguments: object) -> dict[str, Any]:
    """Run `pdapt ... --json`, and read the one object that stands on standard output, with nothing else there."""
    return json.loads(pdapt(*arguments, "--json"))
