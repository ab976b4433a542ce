"""The report's figures: drawn once for light and once for dark pages."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...core.errors import UserError
from ...core.files import read_jsonl
from ..scores import Scores

SIZE = (4.8, 3.2)
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


GAPS = 5
"""Of a curve, that are named."""


@dataclass
class Curve:
    """Losses of one training run: points (iteration, nats per token)."""

    name: str
    training: list[tuple[int, float]] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)


def read_curve(path: Path) -> Curve:
    """Read a `metrics.jsonl`; the run is named after its folder.

    Raises:
        UserError: a line is not a JSON object with an iteration, or no line has a loss.
    """
    curve = Curve(path.parent.name)
    try:
        for row in read_jsonl(path, nan=True):
            for key, points in (("loss", curve.training), ("valid_loss", curve.validation)):
                if key in row:  # null: a step whose loss was no number
                    points.append((row.integer("iteration"), row.number(key, nan=True)))
    except UserError as error:
        raise UserError(f"not a training record: {error.what}", where=error.where) from None
    if not curve.training:
        raise UserError("no losses here", where=str(path), allowed='lines such as {"iteration": 1, "loss": 9.1}')
    return curve


def lacking(curve: Curve) -> str:
    """What a training curve lacks, in words; empty where its points are as far apart as its closest ones."""
    places = sorted(iteration for iteration, _ in curve.training)
    apart = [after - before for before, after in pairwise(places)]
    step = min((gap for gap in apart if gap), default=1)
    gaps = [(before + step, after - step) for before, after in pairwise([0, *places]) if after - before > step]
    if not gaps:
        return ""
    named = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in gaps[:GAPS])
    more = f" and {len(gaps) - GAPS} more gaps" if len(gaps) > GAPS else ""
    return (
        f"The curve of {curve.name} lacks iterations {named}{more}: rows of the run's log.jsonl are lost, batches were "
        "left out, or their loss was not a number."
    )


def draw_loss(curve: Curve, theme: Theme, path: Path) -> None:
    """Training and validation loss over iterations."""
    with themed_axes(theme, path) as axes:
        axes.plot(*zip(*curve.training, strict=True), color=theme.series[0], linewidth=1, label="training")
        if curve.validation:
            points = zip(*curve.validation, strict=True)
            axes.plot(*points, color=theme.series[1], marker="o", markersize=4, linewidth=1, label="validation")
        axes.set_xlabel("iteration")
        axes.set_ylabel("loss (nats per token)")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        legend_above(axes, 2)


def draw_scores(scores: Scores, domains: list[str], metric: str, label: str, theme: Theme, path: Path) -> None:
    """A metric of every model, a series for each domain; the bars are one standard error to each side."""
    names = [name for name, _ in scores.models]
    with themed_axes(theme, path) as axes:
        for place, domain in enumerate(domains):
            rows = [scores.score(name, domain, metric) for name in names]
            shift = 0.12 * (place - (len(domains) - 1) / 2)
            look = scores.domains.index(domain)
            axes.errorbar(
                [position + shift for position in range(len(names))],
                [row.value for row in rows],
                yerr=[row.stderr or 0 for row in rows],
                color=theme.series[look % len(theme.series)],
                marker=MARKERS[look % len(MARKERS)],
                linestyle=":",
                linewidth=1,
                capsize=3,
                label=domain,
            )
        axes.set_xticks(range(len(names)), names, rotation=25 if len(names) > 3 else 0)
        axes.set_ylabel(label)
        legend_above(axes, len(domains))


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
        figure = Figure(figsize=SIZE, layout="constrained")
        yield figure.add_subplot()
        figure.savefig(path, dpi=220, transparent=True, metadata={"Software": None})


def legend_above(axes: Axes, columns: int) -> None:
    axes.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=columns)
