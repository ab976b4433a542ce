"""Figures on light and dark pages: drawn once for each theme."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

FIGURE_SIZE = (4.8, 3.2)
"""Inches: as narrow as a telephone shows, so that the text of a figure stays readable there."""
MARKERS = ("o", "s", "^", "D")


@dataclass(frozen=True)
class Theme:
    """Colours of a page: text, lines of the grid, and series that differ for the colour-blind too (Okabe and Ito)."""

    name: str
    text: str
    grid: str
    series: tuple[str, ...]


THEMES = (
    Theme("light", "#1f2328", "#d8dbe0", ("#0072b2", "#d55e00", "#009e73", "#aa4499")),
    Theme("dark", "#e6e8eb", "#3d434b", ("#56b4e9", "#e69f00", "#2fbf94", "#dd88cc")),
)


def draw_twice(draw: Callable[[Theme, Path], None], folder: Path, name: str) -> dict[str, Path]:
    """Draw a figure for each theme: theme -> PNG file."""
    paths = {theme.name: folder / f"{name}-{theme.name}.png" for theme in THEMES}
    for theme in THEMES:
        draw(theme, paths[theme.name])
    return paths


@contextmanager
def themed_axes(theme: Theme, path: Path) -> Iterator[Axes]:
    """Axes in a theme's colours on a transparent ground; the figure is saved to `path` at the end."""
    style: Any = {
        "font.size": 9,
        "text.color": theme.text,
        "axes.labelcolor": theme.text,
        "axes.edgecolor": theme.grid,
        "xtick.color": theme.text,
        "ytick.color": theme.text,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": theme.grid,
        "grid.linewidth": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=FIGURE_SIZE, layout="constrained")
        yield figure.add_subplot()
        figure.savefig(path, dpi=220, transparent=True, metadata={"Software": None})


def legend_above(axes: Axes, columns: int) -> None:
    """Put the legend above the axes."""
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns)
