"""A table once, and from it HTML, CSV and LaTeX."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ...core.files import write_text
from .words import number

COLOURS = {"better": "green!20", "worse": "red!20", "near": "yellow!25"}
LATEX = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "±": r"$\pm$"}
LATEX |= {"−": "$-$", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "√": r"$\surd$"}


Mark = tuple[str, str]


@dataclass(frozen=True)
class Entry:
    """A cell.

    Attributes:
        text: as the reader sees it.
        value: the number behind it, for CSV; None for words.
        stderr: its standard error.
        mark: "", better, worse or near: a colour, with a symbol beside it.
        told: what mark and symbol say, in words for a screen reader.
        strong: whether it is set in bold.
    """

    text: str
    value: float | None = None
    stderr: float | None = None
    mark: str = ""
    told: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Row:
    """A row: its heading, its cells, and whether it begins a block of rows."""

    head: str
    entries: list[Entry]
    begins: bool = False


@dataclass(frozen=True)
class Table:
    """A table. `name` is its file's; `columns` has the heading of the first column, too."""

    name: str
    caption: str
    columns: list[str]
    rows: list[Row] = field(default_factory=list)


def scored(
    value: float, stderr: float | None, language: str, digits: int = 1, *, mark: Mark = ("", ""), strong: bool = False
) -> Entry:
    """A score in percent with its error; `mark` is a mark and its words."""
    text = number(value, f".{digits}f", language)
    if stderr is not None:
        text += f" ± {number(stderr, '.1f', language)}"
    return Entry(text, value, stderr, *mark, strong)


def plain(value: float | str, language: str, format_spec: str = "") -> Entry:
    """A number or words, without an error."""
    if isinstance(value, str):
        return Entry(value)
    return Entry(number(value, format_spec, language), float(value))


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
    """A `table` environment for booktabs and xcolor's `table` option."""
    lines = [
        r"% \usepackage{booktabs} \usepackage[table]{xcolor}",
        r"\begin{table}",
        r"\centering",
        rf"\begin{{tabular}}{{l{'r' * (len(table.columns) - 1)}}}",
        r"\toprule",
        " & ".join(map(_escape, table.columns)) + r" \\",
        r"\midrule",
    ]
    for number_, row in enumerate(table.rows):
        if row.begins and number_:
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
    return rf"\cellcolor{{{COLOURS[entry.mark]}}}{text}" if entry.mark else text


def _escape(text: str) -> str:
    return re.sub(r"[&%$#_{}±−~^\\√]", lambda match: LATEX[match.group()], text)


def _short(value: float) -> str:
    return f"{value:.12g}"
