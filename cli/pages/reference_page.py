"""Writes docs/cli.md: every verb of the command line with its options, as `--help` has them.

`python -m pdapt.cli.pages.reference_page > docs/cli.md`.
"""

import inspect
from collections.abc import Iterator
from typing import Any

import typer
from typer.core import TyperGroup

from ..main import app

COMMAND = "python -m pdapt.cli.pages.reference_page > docs/cli.md"
HEAD = f"""# Command line

<!-- Written by `{COMMAND}`. -->

Every verb and option, as its `--help` has them. All verbs end with the same [exit codes](run.md#exit-codes).
"""


def document() -> str:
    """docs/cli.md."""
    root: Any = typer.main.get_command(app)
    verbs = [part for name, command in root.commands.items() for part in _pages(command, f"pdapt {name}", root)]
    return "\n".join([HEAD, *verbs])


def _pages(command: Any, name: str, parent: Any) -> Iterator[str]:
    """The sections of a verb, and of the verbs under it."""
    context = typer.Context(command, info_name=name, parent=None)
    heading = "##" if isinstance(parent, TyperGroup) and " " not in name.removeprefix("pdapt ") else "###"
    text = inspect.cleandoc((command.help or "").replace("\b", ""))
    yield f"{heading} `{name}`\n\n{text}\n"
    if isinstance(command, TyperGroup):
        for verb, under in command.commands.items():
            yield from _pages(under, f"{name} {verb}", command)
        return
    usage = " ".join([name, *command.collect_usage_pieces(context)])
    rows = [_row(param, context) for param in command.params]
    yield f"```\n{usage}\n```\n"
    yield "\n".join(["| | |", "|---|---|", *(row for row in rows if row), ""])


def _row(param: Any, context: Any) -> str:
    """The row of an argument or an option; none for one that is hidden."""
    record = param.get_help_record(context)
    if record is None:
        return ""
    names, text = (" ".join(part.split()).replace("|", r"\|") for part in record)
    return f"| `{names}` | {text} |"


if __name__ == "__main__":
    print(document(), end="")
