"""Figures of the held-out report: losses of training runs, and scores of models."""

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from ...core.errors import UserError
from ...core.files import read_jsonl
from ..scores import Metric, Scores
from .texts import Words
from .theme import Look, Theme, legend_above, name_places, themed_axes

NAMED_GAPS = 5
"""Gaps of a curve that a sentence names."""


@dataclass
class LossCurve:
    """Losses of one training run: points (iteration, nats per token)."""

    name: str
    training: list[tuple[int, float]] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)


def read_loss_curve(path: Path) -> LossCurve:
    """Read a `metrics.jsonl`; the run is named after its folder.

    Raises:
        UserError: a line is not a JSON object with an iteration, or no line has a loss.
    """
    curve = LossCurve(path.parent.name)
    try:
        for row in read_jsonl(path, nan=True):
            for key, points in (("loss", curve.training), ("valid_loss", curve.validation)):
                if key in row:  # null: a step whose loss was not a number
                    points.append((row.integer("iteration"), row.number(key, nan=True)))
    except UserError as error:
        raise UserError(f"the file is not a training record: {error.what}", where=error.where) from None
    if not curve.training:
        raise UserError(
            "there are no losses here", where=str(path), allowed='lines such as {"iteration": 1, "loss": 9.1}'
        )
    return curve


def missing_iterations(curve: LossCurve, w: Words) -> str:
    """A sentence on gaps of a training curve; empty where all points are as far apart as the closest ones."""
    iterations = sorted(iteration for iteration, _ in curve.training)
    distances = [after - before for before, after in pairwise(iterations)]
    step = min((distance for distance in distances if distance), default=1)
    gaps = [(before + step, after - step) for before, after in pairwise([0, *iterations]) if after - before > step]
    if not gaps:
        return ""
    shown = (str(first) if first == last else w("gap", first=first, last=last) for first, last in gaps[:NAMED_GAPS])
    named, more = ", ".join(shown), len(gaps) - NAMED_GAPS
    return w("curve_gaps", run=curve.name, gaps=w("more_gaps", gaps=named, count=more) if more > 0 else named)


def loss_caption(curve: LossCurve, w: Words) -> str:
    """The caption of a figure of losses."""
    key = "figure_loss" if curve.validation else "figure_loss_alone"
    return w(key, run=curve.name, points=len(curve.training))


def draw_loss(curve: LossCurve, w: Words, theme: Theme, path: Path) -> None:
    """Draw training and validation loss over iterations, in the colour of text: colours are of domains."""
    with themed_axes(theme, path) as axes:
        alone = "o" if len(curve.training) == 1 else ""  # a line through one point is none
        points = zip(*curve.training, strict=True)
        label = w("curve_training")
        axes.plot(*points, color=theme.text, marker=alone, markersize=4, linewidth=0.8, label=label)
        if curve.validation:
            points = zip(*curve.validation, strict=True)
            label = w("curve_validation")
            axes.plot(*points, color=theme.text, linestyle="--", marker="o", markersize=4, linewidth=1, label=label)
        axes.set_xlabel(w("axis_iteration"))
        axes.set_ylabel(w("axis_loss"))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        legend_above(axes, 2)


def draw_scores(scores: Scores, domains: list[str], metric: Metric, label: str, theme: Theme, path: Path) -> None:
    """Draw a metric of every model, a series for each domain; the bars are one standard error to each side."""
    names = [name for name, _ in scores.models]
    scale = 100 if metric == Metric.ACCURACY else 1
    with themed_axes(theme, path) as axes:
        for place, domain in enumerate(domains):
            rows = [scores.score(name, domain, metric) for name in names]
            shift = 0.12 * (place - (len(domains) - 1) / 2)
            look = scores.domains.index(domain)
            axes.errorbar(
                [position + shift for position in range(len(names))],
                [scale * row.value for row in rows],
                yerr=[scale * (row.stderr or 0) for row in rows],
                linestyle=":",
                linewidth=1,
                capsize=3,
                label=domain,
                **Look(look, look).style(theme),
            )
        name_places(axes, names)
        axes.set_ylabel(label)
        legend_above(axes, min(3, len(domains)))
