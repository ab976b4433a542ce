"""Output for any terminal: characters of any encoding, tables of any width, and a first sign of life."""

import codecs
import io
import os
import sys
from collections.abc import Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from ..core import log

LONGEST = 10_000
"""Characters of a line, of whatever table."""
SLOW = {"torch", "transformers", "datasets", "lm_eval", "mergekit", "megatron", "tokenizers", "scipy", "matplotlib"}
"""Packages that take seconds to load where the disk is a network's."""


Marked = Sequence[tuple[str, bool]]
"""Stretches of a line, and whether each is the same in another text."""


def prepare() -> None:
    """Let any text be printed, and say what is being loaded before it is."""
    codecs.register_error("pdapt-escape", _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="pdapt-escape")
    sys.meta_path.insert(0, _Announcer())


def use_utf8() -> None:
    """Start this command again in Python's UTF-8 mode where the locale has another encoding for names of files.

    Libraries in C++ and Rust take names as UTF-8 whatever the locale is. What is printed keeps the locale's encoding.
    """
    if sys.getfilesystemencoding() == "utf-8" or sys.flags.utf8_mode:
        return
    os.environ["PYTHONUTF8"] = "1"
    os.environ["PYTHONIOENCODING"] = os.environ.get("PYTHONIOENCODING") or sys.stdout.encoding
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - the same command, no shell


def _escape(error: UnicodeError) -> tuple[str, int]:
    r"""Write characters that an encoding lacks as \uXXXX: readable in a text, and the same value in JSON."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    escaped = (f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
    return "".join(escaped), error.end


class _Announcer(MetaPathFinder):
    """Finds no module; says once that a slow one is being loaded."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        del path, target
        if fullname in SLOW and self in sys.meta_path:
            sys.meta_path.remove(self)
            log.info(f"loading {fullname}")
        return None


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, section: int | None = None
) -> None:
    """Print a table: rows below each other where the terminal is wide enough, else one value a line; nothing is cut.

    Args:
        title: above it.
        columns: their names; the first names the rows, the others are figures.
        rows: a text for each column.
        section: number of the row that a line is drawn before.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(title, style="italic"), title_justify="left")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left", no_wrap=True)
    for number, row in enumerate(rows):
        if number == section:
            table.add_section()
        table.add_row(*map(Text, row))
    needed = Console(width=LONGEST).measure(table).maximum
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else needed)
    if needed <= console.width:
        console.print(table)
        return
    print(title)
    for row in rows:
        print(row[0])
        print("\n".join(f"  {name}: {value}" for name, value in zip(columns[1:], row[1:], strict=True)))


def print_side_by_side(columns: tuple[str, str], lines: Iterable[tuple[Marked, Marked]]) -> None:
    """Print lines of two texts side by side, wrapped; what differs is marked, by ⟦ ⟧ where there are no colours.

    Args:
        columns: the texts' names.
        lines: of each text, the stretches of a line, and whether the other one has each.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(file=sys.stdout)
    begin, end = ("", "") if console.is_terminal else ("⟦", "⟧")
    table = Table(*columns, show_lines=True, expand=True)
    for both in lines:
        cells = [[text if same else (f"{begin}{text}{end}", "reverse") for text, same in side] for side in both]
        table.add_row(*(Text.assemble(*cell) for cell in cells))
    console.print(table)
