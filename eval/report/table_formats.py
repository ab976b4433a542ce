"""A report's table, and its formats: CSV and LaTeX here, HTML in `parts.html.jinja`."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from ...core.files import write_text
from .texts import format_number

LATEX_COLOURS = {"better": "green!20", "worse": "red!20", "near": "yellow!25"}
LATEX_ESCAPES = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "±": r"$\pm$"}
LATEX_ESCAPES |= {
    "−": "$-$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "\\": r"\textbackslash{}",
    "√": r"$\surd$",
    "▲": r"$\blacktriangle$",
    "▼": r"$\blacktriangledown$",
    "≈": r"$\approx$",
    "≥": r"$\geq$",
    "→": r"$\rightarrow$",
    "✓": r"\checkmark{}",
    "✗": r"$\times$",
    "…": r"\ldots{}",
    "\u00a0": "~",
    "\u202f": r"\,",
}
WIDE = 4
"""Columns of a table that wraps on every screen."""


class Mark(StrEnum):
    """A mark of a cell: better or worse than the base, or near the best."""

    NONE = ""
    BETTER = "better"
    WORSE = "worse"
    NEAR = "near"

    @staticmethod
    def of_sign(sign: int) -> "Mark":
        """The mark of a clear change: 1, -1, or 0 where there is none."""
        return {1: Mark.BETTER, -1: Mark.WORSE, 0: Mark.NONE}[sign]


@dataclass(frozen=True)
class Entry:
    """A cell.

    Attributes:
        text: as the reader sees it.
        value: the number of the text, for CSV; None for words.
        stderr: its standard error.
        mark: a colour, with a symbol beside it.
        mark_words: the mark's meaning, for a screen reader.
        strong: whether it is set in bold.
    """

    text: str
    value: float | None = None
    stderr: float | None = None
    mark: Mark = Mark.NONE
    mark_words: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Row:
    """A row: its heading, its cells, and whether it begins a block of rows."""

    head: str
    entries: list[Entry]
    begins: bool = False


@dataclass(frozen=True)
class Table:
    """A table. Its files are called `name`; `columns` are headings, that of the first column included."""

    name: str
    caption: str
    columns: list[str]
    rows: list[Row] = field(default_factory=list)

    @property
    def wide(self) -> bool:
        """Whether it may be wider than a telephone, and then says that it scrolls."""
        return len(self.columns) > WIDE

    def has_numbers(self, column: int) -> bool:
        """Whether a column holds numbers, which stand to the right; columns after the first are counted from 0."""
        return any(row.entries[column].value is not None for row in self.rows)


def score_entry(
    value: float,
    stderr: float | None,
    language: str,
    *,
    digits: int = 1,
    mark: Mark = Mark.NONE,
    mark_words: str = "",
    strong: bool = False,
) -> Entry:
    """A score in percent with its error."""
    text = format_number(value, f".{digits}f", language)
    if stderr is not None:
        text += f" ± {format_number(stderr, '.1f', language)}"
    return Entry(text, value, stderr, mark=mark, mark_words=mark_words, strong=strong)


def number_entry(value: float | str, language: str, format_spec: str = "") -> Entry:
    """A number or words, without an error."""
    if isinstance(value, str):
        return Entry(value)
    return Entry(format_number(value, format_spec, language), float(value))


def to_csv(table: Table) -> str:
    """Comma-separated: numbers with a decimal point in either language, errors and marks in columns of their own."""
    with_error = [any(row.entries[i].stderr is not None for row in table.rows) for i in range(len(table.columns) - 1)]
    with_mark = [any(row.entries[i].mark for row in table.rows) for i in range(len(table.columns) - 1)]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = [table.columns[0]]
    for name, error, mark in zip(table.columns[1:], with_error, with_mark, strict=True):
        head += [name, *([f"{name} stderr"] if error else []), *([f"{name} mark"] if mark else [])]
    writer.writerow(head)
    for row in table.rows:
        values: list[object] = [row.head]
        for entry, error, mark in zip(row.entries, with_error, with_mark, strict=True):
            values.append(entry.text if entry.value is None else _short(entry.value))
            values += ["" if entry.stderr is None else _short(entry.stderr)] if error else []
            values += [entry.mark] if mark else []
        writer.writerow(values)
    return out.getvalue()


def to_latex(table: Table) -> str:
    """A `table` environment for booktabs, amssymb and xcolor's `table` option."""
    lines = [
        r"% \usepackage{booktabs,amssymb} \usepackage[table]{xcolor}",
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\toprule",
        " & ".join(map(_escape, table.columns)) + r" \\",
        r"\midrule",
    ]
    for number, row in enumerate(table.rows):
        if row.begins and number:
            lines.append(r"\midrule")
        lines.append(" & ".join([_escape(row.head), *map(_latex_entry, row.entries)]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", rf"\caption{{{_escape(table.caption)}}}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def write_tables(tables: Sequence[Table], folder: Path) -> None:
    """Write `<name>.csv` and `<name>.tex` of each table."""
    for table in tables:
        write_text(folder / f"{table.name}.csv", to_csv(table))
        write_text(folder / f"{table.name}.tex", to_latex(table))


def _latex_entry(entry: Entry) -> str:
    text = _escape(entry.text)
    text = rf"\textbf{{{text}}}" if entry.strong else text
    return rf"\cellcolor{{{LATEX_COLOURS[entry.mark]}}}{text}" if entry.mark else text


def _escape(text: str) -> str:
    return "".join(LATEX_ESCAPES.get(character, character) for character in text)


def _short(value: float) -> str:
    return f"{value:.12g}"
