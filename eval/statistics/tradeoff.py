"""What merging gains in a domain against what it loses in general, and which point to take, by a rule."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import expm1
from pathlib import Path
from typing import Any

from scipy import stats

from ...core.errors import UserError
from ...core.files import read_object, write_json
from ...core.integrity import AGAIN, check, stage_files
from ...core.jsonio import JsonObject
from ...core.manifest import Manifest, run_stage
from ..report.figures import Theme, draw_twice, legend_above, themed_axes
from ..scores import SCORES, Comparison, Scores, check_name
from .verdict import PERPLEXITY

CURVE = "tradeoff.json"
MAX_LOSS = 1.0
"""Per cent of perplexity per byte."""
ERROR = 0.05
"""Chance, at most, that any point is let through which loses more than is allowed."""
RULE = (
    "Of the points whose loss in {general} is at most {max_loss:g} % (the upper bound of the change of its perplexity "
    "per byte against the base, by the paired difference over held-out documents, one-sided at {error:g} shared by all "
    "{count} points), the one with the lowest perplexity in {domain}; the base where there is none, or none is better."
)


@dataclass(frozen=True)
class Change:
    """Change of the perplexity per byte against the base, in per cent, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Point:
    """A model on the curve.

    Attributes:
        model: its name.
        domain: what changed in the domain; less is better.
        general: the same in general.
        general_bound: upper bound of the general change, of which the rule speaks.
        allowed: whether that bound is within the loss that is allowed.
        pareto: whether no other point is at least as good in both, and better in one.
    """

    model: str
    domain: Change
    general: Change
    general_bound: float
    allowed: bool
    pareto: bool


def build_tradeoff(scores: Path, out: Path, *, domain: str, general: str, max_loss: float = MAX_LOSS) -> Manifest:
    """Write `tradeoff.json` and the curve as PNG (stage `tradeoff`).

    Args:
        scores: folder of a finished evaluation of the base and of merges with it, on held-out text.
        out: the folder to make.
        domain: domain of the evaluation that is to gain.
        general: domain that must not lose.
        max_loss: what it may lose: per cent of its perplexity per byte.

    Raises:
        UserError: no scores, no base or other model among them, no such domain, or a loss below 0.
    """
    if not 0 <= max_loss < 100:
        raise UserError(f"the loss allowed is {max_loss} %", where="--max-loss", allowed="from 0 to below 100")
    check("tradeoff", stage_files([scores / SCORES]), mend=AGAIN)
    found = Scores.read(scores)
    points = curve(found, domain, general, max_loss)
    rule = RULE.format(general=general, domain=domain, max_loss=max_loss, error=ERROR, count=len(points) - 1)
    chosen = propose(points)

    def body(work: Path) -> dict[str, Any]:
        told = {"rule": rule, "domain": domain, "general": general, "proposed": chosen.model}
        write_json(work / CURVE, told | {"points": [asdict(point) for point in points]})
        draw_twice(partial(_draw, points, chosen, domain, general), work, "tradeoff")
        return told | {"sentence": sentence(chosen, points[0].model, domain, general)}

    config = {"domain": domain, "general": general, "max_loss": float(max_loss)}
    return run_stage("tradeoff", {"scores": scores / SCORES}, config, out, body)


def read_tradeoff(folder: Path) -> JsonObject:
    """What `build_tradeoff` wrote: `rule`, `domain`, `general`, `proposed`, and `points` as `Point`.

    Raises:
        UserError: there is none, or it is damaged.
    """
    found = read_object(folder / CURVE)
    found.text("rule"), found.text("domain"), found.text("general")
    check_name(found.text("proposed"), found.where)
    for value in found.list("points"):
        point = JsonObject(value, f"{found.where}: points")
        point.text("model"), point.flag("allowed"), point.flag("pareto")
        for name in ("domain", "general"):
            change = point.object(name)
            change.number("value"), change.number("low"), change.number("high")
    return found


def curve(scores: Scores, domain: str, general: str, max_loss: float) -> list[Point]:
    """The points of the curve, the base first, then in the order of the evaluation.

    Raises:
        UserError: see `build_tradeoff`.
    """
    if domain == general or not {domain, general} <= set(scores.domains):
        raise UserError(
            f"{domain!r} against {general!r} cannot be compared",
            where="--domain, --general",
            allowed=f"two of the domains that were evaluated: {', '.join(scores.domains)}",
        )
    bases = scores.named("base")
    others = [name for name, role in scores.models if role != "base"]
    if len(bases) != 1 or not others:
        raise UserError(
            "a trade-off needs a base, and models to compare with it", allowed="one base, one model or more"
        )
    level = 1 - ERROR / len(others)
    found = [(bases[0], Change(0, 0, 0), Change(0, 0, 0), 0.0)]
    for name in others:
        of_domain, of_general = (scores.comparison(name, bases[0], kind, PERPLEXITY) for kind in (domain, general))
        reach = of_general.stderr * float(stats.t(of_general.documents - 1).ppf(level))
        found.append((name, _change(of_domain), _change(of_general), _percent(of_general.difference + reach)))
    best = pareto([(domain.value, general.value) for _, domain, general, _ in found])
    return [Point(*point, allowed=point[3] <= max_loss, pareto=flag) for point, flag in zip(found, best, strict=True)]


def _change(comparison: Comparison) -> Change:
    return Change(*map(_percent, (comparison.difference, comparison.low, comparison.high)))


def _percent(nats: float) -> float:
    return 100 * expm1(nats)


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each point whether no other is at most as large in both coordinates and smaller in one."""

    def beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
        return one[0] <= other[0] and one[1] <= other[1] and one != other

    return [not any(beats(other, point) for other in points) for point in points]


def propose(points: Sequence[Point]) -> Point:
    """The point that the rule takes; the first is the base, and of equals the earlier is taken."""
    return min((point for point in points if point.allowed), key=lambda point: point.domain.value)


def sentence(chosen: Point, base: str, domain: str, general: str) -> str:
    """What is proposed, and on what evidence."""
    if chosen.model == base:
        return f"Proposed: {base}, unmerged: no point is better in {domain} and within the loss allowed in {general}."
    own = f"{domain} {_told(chosen.domain)}, {general} {_told(chosen.general)}"
    return f"Proposed: {chosen.model}. Perplexity per byte against {base}: {own}."


def _told(change: Change) -> str:
    values = [f"{value:+.2f}".replace("-", "−") for value in (change.value, change.low, change.high)]
    return f"{values[0]} % (95 % interval {values[1]} to {values[2]})"


def _draw(points: Sequence[Point], chosen: Point, domain: str, general: str, theme: Theme, path: Path) -> None:
    """General change to the right, domain change upwards: the lower left is better in both."""
    with themed_axes(theme, path) as axes:
        for flag, label in ((True, "Pareto"), (False, "dominated")):
            shown = [point for point in points if point.pareto is flag]
            if not shown:
                continue
            reach = [
                [[c.value - c.low for c in changes], [c.high - c.value for c in changes]]
                for changes in ([point.general for point in shown], [point.domain for point in shown])
            ]
            axes.errorbar(
                [point.general.value for point in shown],
                [point.domain.value for point in shown],
                xerr=reach[0],
                yerr=reach[1],
                color=theme.series[0] if flag else theme.series[1],
                marker="o" if flag else "x",
                markersize=4,
                linestyle="none",
                elinewidth=0.7,
                label=label,
            )
        place = chosen.general.value, chosen.domain.value
        axes.plot(*place, "o", markersize=11, markerfacecolor="none", color=theme.series[2], label="proposed")
        for point in points:
            where = (point.general.value, point.domain.value)
            axes.annotate(point.model, where, xytext=(4, 4), textcoords="offset points", fontsize=7)
        axes.set_xlabel(f"{general}: change of perplexity (%)")
        axes.set_ylabel(f"{domain}: change (%)")
        legend_above(axes, 3)
