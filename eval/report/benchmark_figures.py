"""Figures of a benchmark report: averages along training, averages of models, domain against the rest."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from .theme import MARKERS, Theme, legend_above, themed_axes

Bar = tuple[float, float, float]
"""A value and the ends of its interval."""


@dataclass(frozen=True)
class Series:
    """A line or a set of points: its name, places on the horizontal axis, and values with intervals."""

    name: str
    places: list[float]
    values: list[Bar]


def draw_progress(series: Sequence[Series], labels: tuple[str, str], theme: Theme, path: Path) -> None:
    """Draw averages over training steps, a line for each family."""
    with themed_axes(theme, path) as axes:
        for number, line in enumerate(series):
            _draw_series(axes, line, number, theme, linestyle="-")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        legend_above(axes, min(2, len(series)))


def draw_averages(names: list[str], series: Sequence[Series], label: str, theme: Theme, path: Path) -> None:
    """Draw averages of families, a marker for base, adapted and merged."""
    with themed_axes(theme, path) as axes:
        for number, points in enumerate(series):
            shift = 0.16 * (number - (len(series) - 1) / 2)
            shifted = replace(points, places=[place + shift for place in points.places])
            _draw_series(axes, shifted, number, theme, linestyle="none")
        axes.set_xticks(range(len(names)), names, rotation=20 if len(names) > 3 else 0)
        axes.set_ylabel(label)
        legend_above(axes, min(3, len(series)))


def draw_tradeoff(points: list[tuple[str, Bar, Bar]], labels: tuple[str, str], theme: Theme, path: Path) -> None:
    """Draw change in the domain (up) against change elsewhere (right), a point for each model."""
    with themed_axes(theme, path) as axes:
        axes.axhline(0, color=theme.text, linewidth=0.6)
        axes.axvline(0, color=theme.text, linewidth=0.6)
        for number, (name, across, up) in enumerate(points):
            axes.errorbar(
                [across[0]],
                [up[0]],
                xerr=_reach([across]),
                yerr=_reach([up]),
                color=theme.series[number % len(theme.series)],
                marker=MARKERS[(number + number // len(MARKERS)) % len(MARKERS)],
                capsize=2,
                linewidth=1,
                linestyle="none",
                label=name,
            )
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        legend_above(axes, 2)


def _draw_series(axes: Axes, series: Series, number: int, theme: Theme, *, linestyle: str) -> None:
    """Draw a series with its intervals; `number` decides colour and marker."""
    axes.errorbar(
        series.places,
        [value for value, _, _ in series.values],
        yerr=_reach(series.values),
        color=theme.series[number % len(theme.series)],
        marker=MARKERS[number % len(MARKERS)],
        linestyle=linestyle,
        linewidth=1,
        capsize=3,
        label=series.name,
    )


def _reach(values: Sequence[Bar]) -> list[list[float]]:
    """Lengths of the intervals below and above each value."""
    return [[max(0.0, value - low) for value, low, _ in values], [max(0.0, high - value) for value, _, high in values]]
