"""CSV files and figures of scaling, simulated and measured."""

import csv
from pathlib import Path
from typing import Any

from ..core.files import atomic_path


def write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write rows as CSV, with every column that any row has."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with atomic_path(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, columns)
        writer.writeheader()
        writer.writerows(rows)


def new_figure(size: tuple[float, float], columns: int = 1) -> Any:
    """Make a figure of `size` inches with axes side by side: matplotlib's `subplots`, without a display."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    return pyplot.subplots(1, columns, figsize=size, layout="constrained")


def save_figure(figure: Any, path: Path, note: str = "") -> None:
    """Write a figure as PNG, with a note below it, and close it."""
    from matplotlib import pyplot

    if note:
        figure.supxlabel(note, fontsize=8, color="dimgray")
    with atomic_path(path) as partial:
        figure.savefig(partial, format="png", dpi=120)
    pyplot.close(figure)
