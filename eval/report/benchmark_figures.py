"""Figures of a benchmark report: averages along training, averages of models, domain against the rest."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .theme import Look, Named, Theme, keyed_legend, name_places, themed_axes

Bar = tuple[float, float, float]
"""A value and the ends of its interval."""


@dataclass(frozen=True)
class Series:
    """A line or a set of points: its name, places on the horizontal axis, values with intervals, and its look.

    `across` are the intervals of the places, where they have any.
    """

    name: str
    places: list[float]
    values: list[Bar]
    look: Look
    across: list[Bar] = field(default_factory=list)


@dataclass(frozen=True)
class Panel:
    """Axes that neighbouring figures share: labels of both, the ends of the vertical one, and of the other."""

    labels: tuple[str, str]
    up: tuple[float, float]
    across: tuple[float, float] | None = None


def draw_progress(series: Sequence[Series], panel: Panel, theme: Theme, path: Path) -> None:
    """Draw averages over training steps, a line for each family."""
    with themed_axes(theme, path) as axes:
        for line in series:
            _draw_series(axes, line, theme, linestyle="-")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        _set_panel(axes, panel)
        keyed_legend(axes, theme, _families(series), [] if len(series) > 1 else _families(series))


def draw_averages(
    names: Sequence[str], series: Sequence[Series], panel: Panel, roles: Named, theme: Theme, path: Path
) -> None:
    """Draw averages of families, a marker for base, adapted and merged."""
    with themed_axes(theme, path) as axes:
        for points in series:
            _draw_series(axes, points, theme, linestyle="none")
        name_places(axes, names)
        axes.set_xlim(-0.5, len(names) - 0.5)
        _set_panel(axes, panel)
        keyed_legend(axes, theme, [], roles)


def draw_tradeoff(points: Sequence[Series], panel: Panel, roles: Named, theme: Theme, path: Path) -> None:
    """Draw change in the domain (up) against change elsewhere (right), a point for each model."""
    with themed_axes(theme, path) as axes:
        axes.axhline(0, color=theme.text, linewidth=0.6)
        axes.axvline(0, color=theme.text, linewidth=0.6)
        for point in points:
            _draw_series(axes, point, theme, linestyle="none")
        _set_panel(axes, panel)
        keyed_legend(axes, theme, _families(points), roles)


def _families(series: Sequence[Series]) -> list[tuple[str, Look]]:
    """Each family's name and colour."""
    return list({line.name: (line.name, Look(line.look.colour, line.look.marker)) for line in series}.values())


def _set_panel(axes: Axes, panel: Panel) -> None:
    axes.set_xlabel(panel.labels[0])
    axes.set_ylabel(panel.labels[1])
    axes.set_ylim(*panel.up)
    if panel.across:
        axes.set_xlim(*panel.across)


def _draw_series(axes: Axes, series: Series, theme: Theme, *, linestyle: str) -> None:
    """Draw a series with its intervals."""
    axes.errorbar(
        series.places,
        [value for value, _, _ in series.values],
        yerr=_reach(series.values),
        xerr=_reach(series.across) if series.across else None,
        linestyle=linestyle,
        linewidth=1,
        markersize=5,
        capsize=2.5,
        **series.look.style(theme),
    )


def _reach(values: Sequence[Bar]) -> list[list[float]]:
    """Lengths of the intervals below and above each value."""
    return [[max(0.0, value - low) for value, low, _ in values], [max(0.0, high - value) for value, _, high in values]]
