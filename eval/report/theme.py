"""Figures on light and dark pages: drawn once for each theme."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import ScalarFormatter

FIGURE_SIZE = (4.8, 3.2)
"""Inches: as narrow as a telephone shows, so that the text of a figure stays readable there."""
MARKERS = ("o", "s", "^", "D")


@dataclass(frozen=True)
class Theme:
    """Colours of a page, and the language of its numbers.

    Attributes:
        name: light or dark.
        text: colour of words.
        grid: colour of lines.
        series: colours that stay apart with every kind of colour blindness, and from the page. The first two are of
            Okabe and Ito; the others were searched for, so that the least distance of two, also as seen without one of
            the three cones (Machado et al. 2009), is as large as it gets.
        language: decides the decimal mark.
    """

    name: str
    text: str
    grid: str
    series: tuple[str, ...]
    language: str = "en"


THEMES = (
    Theme("light", "#1f2328", "#d8dbe0", ("#0072b2", "#d55e00", "#6f205b", "#ad5cff", "#8f0000", "#0000e0")),
    Theme("dark", "#e6e8eb", "#3d434b", ("#56b4e9", "#e69f00", "#e3d3a0", "#855cff", "#e00070", "#8e7529")),
)


@dataclass(frozen=True)
class Look:
    """Colour and marker of a series, by their numbers; the same in all figures of a page.

    Beyond the theme's colours they come again, with hollow markers.
    """

    colour: int
    marker: int = 0

    def style(self, theme: Theme) -> dict[str, Any]:
        """Matplotlib's names and values of it."""
        colour = theme.series[self.colour % len(theme.series)]
        hollow = self.colour >= len(theme.series)
        marker = MARKERS[self.marker % len(MARKERS)]
        return {"color": colour, "marker": marker, "markerfacecolor": "none" if hollow else colour}


LONGEST = 22
"""Characters of a name in a figure."""
CUTS = (12, 8, 16, 4)
"""Characters of a long name's beginning that a figure keeps; the first that tells the names apart counts."""


def short_names(names: Sequence[str]) -> list[str]:
    """Names as a figure has room for: of long ones the middle is left out."""
    for begin in CUTS:
        shown = [name if len(name) <= LONGEST else f"{name[:begin]}…{name[begin + 1 - LONGEST :]}" for name in names]
        if len(set(shown)) == len(set(names)):
            return shown
    return [f"{number}: {name[: LONGEST - 4]}" for number, name in enumerate(names, start=1)]


def name_places(axes: Axes, names: Sequence[str]) -> None:
    """Name the places 0, 1, … of the horizontal axis, slanted where the names are long or many."""
    shown = short_names(names)
    slanted = len(names) > 3 or max(map(len, shown)) * len(names) > 48
    turned: dict[str, Any] = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axes.set_xticks(range(len(names)), shown, **turned)


Named = Sequence[tuple[str, Look]]
"""Names with their looks, for a legend."""


def draw_twice(draw: Callable[[Theme, Path], None], folder: Path, name: str, language: str = "en") -> dict[str, Path]:
    """Draw a figure for each theme: theme -> PNG file. Beside them, `<name>.pdf` is the light one for print."""
    paths = {theme.name: folder / f"{name}-{theme.name}.png" for theme in THEMES}
    for theme in THEMES:
        draw(replace(theme, language=language), paths[theme.name])
    return paths


class _DecimalComma(ScalarFormatter):
    """Numbers along an axis as French writes them."""

    def __call__(self, x: float, pos: int | None = None) -> str:
        return super().__call__(x, pos).replace(".", ",")


@contextmanager
def themed_axes(theme: Theme, path: Path, size: tuple[float, float] = FIGURE_SIZE) -> Iterator[Axes]:
    """Axes in a theme's colours on a transparent ground, of a size in inches; saved to `path` at the end."""
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
        "pdf.fonttype": 42,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.add_subplot()
        yield axes
        for axis in (axes.xaxis, axes.yaxis):
            if theme.language == "fr" and type(axis.get_major_formatter()) is ScalarFormatter:
                axis.set_major_formatter(_DecimalComma())
        figure.savefig(path, dpi=220, transparent=True, metadata={"Software": None})
        if theme.name == THEMES[0].name:
            print_file = path.with_name(path.name.removesuffix(f"-{theme.name}.png") + ".pdf")
            figure.savefig(print_file, transparent=True, metadata={"CreationDate": None, "Producer": None})


def legend_above(axes: Axes, columns: int) -> None:
    """Put the legend above the axes."""
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns)


def keyed_legend(axes: Axes, theme: Theme, families: Named, roles: Named) -> None:
    """A legend of colours, one a family where there are several, and of markers, one a role."""
    handles = []
    if len(families) > 1:
        shown = short_names([name for name, _ in families])
        looks = [look.style(theme) for _, look in families]
        handles += [
            Line2D([], [], linestyle="none", label=name, **style) for name, style in zip(shown, looks, strict=True)
        ]
    for name, look in roles:
        style = look.style(theme)
        if len(families) > 1:
            style |= {"color": theme.text, "markerfacecolor": theme.text}
        handles.append(Line2D([], [], linestyle="none", label=name, **style))
    figure = axes.get_figure()
    assert figure is not None
    figure.legend(
        handles=handles, frameon=False, loc="outside upper center", ncols=min(_columns(handles), len(handles))
    )


def _columns(handles: Sequence[Line2D]) -> int:
    """Columns of a legend that fit beside each other on a figure of FIGURE_SIZE."""
    return max(1, min(3, 66 // (8 + max(len(str(handle.get_label())) for handle in handles))))
