"""The answer of a page: its sentences, the figure that shows them, and the table of decisions."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from matplotlib.axes import Axes

from ..statistics.compare import FamilyRole
from .decisions import decisions_table
from .headline import AreaChange, Outcome, headline
from .page import Picture, draw_picture
from .table_formats import Table
from .texts import Words
from .theme import Look, Theme, keyed_legend, short_names, themed_axes

ROW, HEADING, APART = 0.32, 0.26, 0.14
"""Inches of a figure for a family, for the name of an area, and between a family's models."""


@dataclass(frozen=True)
class Answer:
    """The answer of a page. `all_decisions` is the longer table, where the first one has the target area alone."""

    sentences: tuple[str, ...]
    picture: Picture | None = None
    decisions: Table | None = None
    all_decisions: Table | None = None


def answer(changes: Sequence[AreaChange], w: Words, figures: Path) -> Answer:
    """The answer that changes give, of which there is one at least; its figure is written to a folder."""
    several = len({each.family for each in changes}) > 1
    short = several and any(each.target for each in changes)
    draw = partial(_draw, changes, w)
    unit = changes[0].unit
    caption = w(f"answer_{unit}", basis=_basis(changes, w))
    alt = w("semicolon").join(
        w("alt_change", family=f.family, role=w(f.role), label=f.label, evidence=f.evidence(w)) for f in changes
    )
    return Answer(
        sentences=headline(changes, w),
        picture=draw_picture(draw, figures, "answer", caption=caption, w=w, alt=alt),
        decisions=decisions_table(changes, w, every_area=not short),
        all_decisions=_all_decisions(changes, w) if short else None,
    )


def _all_decisions(changes: Sequence[AreaChange], w: Words) -> Table:
    """The longer table of decisions, whose caption tells it from the short one."""
    table = decisions_table(changes, w)
    return replace(table, caption=w("of", group=w("all_decisions"), what=table.caption))


def _basis(changes: Sequence[AreaChange], w: Words) -> str:
    """The number of questions or documents of each area; from the least to the most, where families differ."""
    by_label: dict[str, list[int]] = {}
    for each in changes:
        by_label.setdefault(each.label, []).append(each.units)
    key = f"basis_{changes[0].unit}"
    parts = [w(key, label=label, units=span(units, w)) for label, units in by_label.items()]
    return w("sentence", text=w("semicolon").join(parts))


def span(counts: Sequence[int], w: Words) -> str:
    """Counts from the least to the most, or the one that all are."""
    low, high = min(counts), max(counts)
    return w("units_span" if low < high else "units_equal", low=low, high=high)


def _draw(changes: Sequence[AreaChange], w: Words, theme: Theme, path: Path) -> None:
    """Draw changes with intervals, a block for each area and a row for each family, the first area on top."""
    areas = list(dict.fromkeys(each.label for each in changes))
    families = list(dict.fromkeys(each.family for each in changes))
    roles = [role for role in FamilyRole if any(each.role == role for each in changes)]
    height = 1.0 + len(areas) * (HEADING + ROW * len(families))
    with themed_axes(theme, path, (4.8, height)) as axes:
        places: dict[float, str] = {}
        for number, area in enumerate(areas):
            top = -number * (HEADING + ROW * len(families))
            axes.text(0.01, top, area, transform=axes.get_yaxis_transform(), weight="bold", va="center", size=8.5)
            rows = top - HEADING + ROW / 2, top - HEADING - ROW * (len(families) - 0.5)
            axes.vlines(0, *rows, color=theme.text, linewidth=0.8)  # a heading is not crossed
            for each in (each for each in changes if each.label == area):
                middle = top - HEADING - ROW * families.index(each.family)
                places[middle] = each.family
                _draw_change(axes, each, middle - APART * (roles.index(each.role) - (len(roles) - 1) / 2), theme)
        axes.set_ylim(min(places) - ROW, HEADING / 2)
        axes.grid(visible=False, axis="y")
        several = len(families) > 1
        shown = dict(zip(families, short_names(families), strict=True))
        named = [shown[family] for family in places.values()]
        axes.set_yticks(list(places) if several else [], named if several else [])
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(w(f"axis_answer_{changes[0].unit}"))
        keyed_legend(axes, theme, [], role_looks(roles, w))


def role_looks(roles: Sequence[FamilyRole], w: Words) -> list[tuple[str, Look]]:
    """The name and the marker of each role."""
    return [(w(role), Look(0, list(FamilyRole).index(role))) for role in roles]


def _draw_change(axes: Axes, each: AreaChange, place: float, theme: Theme) -> None:
    style = Look(each.colour, list(FamilyRole).index(each.role)).style(theme)
    if each.outcome in (Outcome.SAME, Outcome.UNCLEAR):
        style["markerfacecolor"] = "none"
    reach = [[max(0.0, each.change - each.low)], [max(0.0, each.high - each.change)]]
    axes.errorbar([each.change], [place], xerr=reach, linewidth=1.2, capsize=2.5, markersize=5.5, **style)
