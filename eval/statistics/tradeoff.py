"""The trade-off of merging: gain in a domain against loss in general, and the point that a rule proposes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import expm1
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from scipy import stats

from ...core.errors import UserError
from ...core.files import read_object, write_json
from ...core.integrity import AGAIN, check, stage_files
from ...core.jsonio import JsonObject
from ...core.manifest import Manifest, run_stage
from ..models import Role, check_name
from ..report.texts import Words
from ..report.theme import Theme, draw_twice, legend_above, themed_axes
from ..scores import SCORES_FILE, Comparison, Metric, Scores
from .loss_limit import check_max_loss

TRADEOFF_FILE = "tradeoff.json"
"""`Tradeoff`."""
DEFAULT_MAX_LOSS = 1.0
"""Per cent of perplexity per byte."""
ERROR_RATE = 0.05
"""The highest probability that any point is allowed that loses more than the limit."""
RULE = (
    "Of the points whose loss in {general} is at most {max_loss:g} % (the upper bound of the change of its perplexity "
    "per byte against the base, by the paired difference over held-out documents, one-sided at {error:g} shared by all "
    "{count} points), the one with the lowest perplexity in {domain}; the base if there is no such point, or if none "
    "is better."
)


@dataclass(frozen=True)
class Change:
    """Change of the perplexity per byte against the base, in per cent.

    Attributes:
        value: the change.
        low: lower end of its 95 % interval.
        high: upper end of its 95 % interval.
    """

    value: float
    low: float
    high: float

    @staticmethod
    def from_json(row: JsonObject) -> "Change":
        """Check and take over JSON values.

        Raises:
            UserError: a value is missing or of another type.
        """
        return Change(row.number("value"), row.number("low"), row.number("high"))


@dataclass(frozen=True)
class Point:
    """A model on the curve.

    Attributes:
        model: the model's name.
        domain: change in the domain; lower is better.
        general: change in general text; lower is better.
        general_bound: upper bound of the general change, which the rule compares with the allowed loss.
        allowed: whether the bound is within the allowed loss.
        pareto: whether no other point is at least as good in both and better in one.
    """

    model: str
    domain: Change
    general: Change
    general_bound: float
    allowed: bool
    pareto: bool

    @staticmethod
    def from_json(row: JsonObject) -> "Point":
        """Check and take over JSON values.

        Raises:
            UserError: a value is missing or of another type.
        """
        return Point(
            model=row.text("model"),
            domain=Change.from_json(row.object("domain")),
            general=Change.from_json(row.object("general")),
            general_bound=row.number("general_bound"),
            allowed=row.flag("allowed"),
            pareto=row.flag("pareto"),
        )


@dataclass(frozen=True)
class Tradeoff:
    """The points of a trade-off, and the model that the rule proposes among them.

    Attributes:
        rule: the rule, in a sentence.
        domain: the domain that is to gain.
        general: the domain that must not lose.
        proposed: name of the proposed model.
        points: all models on the curve.
    """

    rule: str
    domain: str
    general: str
    proposed: str
    points: list[Point]

    @staticmethod
    def read(folder: Path) -> "Tradeoff":
        """Read what `build_tradeoff` wrote.

        Raises:
            UserError: the folder has none, or it is damaged.
        """
        value = read_object(folder / TRADEOFF_FILE)
        check_name(value.text("proposed"), value.where)
        points = [Point.from_json(JsonObject(row, f"{value.where}: points")) for row in value.list("points")]
        if [point.model for point in points].count(value.text("proposed")) != 1:
            raise UserError(f"{value.text('proposed')} is not one of the points", where=value.where)
        return Tradeoff(
            rule=value.text("rule"),
            domain=value.text("domain"),
            general=value.text("general"),
            proposed=value.text("proposed"),
            points=points,
        )

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def build_tradeoff(
    scores: Path, out: Path, *, domain: str, general: str, max_loss: float = DEFAULT_MAX_LOSS
) -> Manifest:
    """Write `tradeoff.json` and the curve as PNG (stage `tradeoff`).

    Args:
        scores: folder of a finished evaluation of the base and of merges with it, on held-out text.
        out: the folder to make.
        domain: domain of the evaluation that is to gain.
        general: domain that must not lose.
        max_loss: the loss that is allowed there, in per cent of its perplexity per byte.

    Raises:
        UserError: no scores, no base or other model among them, no such domain, or a loss below 0.
    """
    check_max_loss(max_loss)
    check("tradeoff", stage_files([scores / SCORES_FILE]), fix=AGAIN)
    points = tradeoff_points(Scores.read(scores), domain, general, max_loss)
    rule = RULE.format(general=general, domain=domain, max_loss=max_loss, error=ERROR_RATE, count=len(points) - 1)
    proposed = propose(points)
    tradeoff = Tradeoff(rule=rule, domain=domain, general=general, proposed=proposed.model, points=points)

    def body(work: Path) -> dict[str, Any]:
        write_json(work / TRADEOFF_FILE, tradeoff.to_json())
        draw_twice(partial(draw_tradeoff, tradeoff, Words.read("en")), work, "tradeoff")
        counts = {"rule": rule, "domain": domain, "general": general, "proposed": proposed.model}
        return counts | {"sentence": proposal_sentence(proposed, points[0].model, domain, general)}

    config = {"domain": domain, "general": general, "max_loss": float(max_loss)}
    return run_stage("tradeoff", {"scores": scores / SCORES_FILE}, config, out=out, body=body)


def tradeoff_points(scores: Scores, domain: str, general: str, max_loss: float) -> list[Point]:
    """The points of the trade-off, the base first, then in the order of the evaluation.

    Raises:
        UserError: see `build_tradeoff`.
    """
    if domain == general or not {domain, general} <= set(scores.domains):
        raise UserError(
            f"{domain!r} against {general!r} cannot be compared",
            where="--domain, --general",
            allowed=f"two of the domains that were evaluated: {', '.join(scores.domains)}",
        )
    bases = scores.with_role(Role.BASE)
    others = [name for name, role in scores.models if role != Role.BASE]
    if len(bases) != 1 or not others:
        raise UserError(
            "a trade-off needs a base, and models to compare with it", allowed="one base, one model or more"
        )
    level = 1 - ERROR_RATE / len(others)
    changes = [(bases[0], Change(0, 0, 0), Change(0, 0, 0), 0.0)]
    for name in others:
        of_domain, of_general = (
            scores.comparison(name, bases[0], kind, Metric.BYTE_PERPLEXITY) for kind in (domain, general)
        )
        reach = of_general.stderr * float(stats.t(of_general.documents - 1).ppf(level))
        changes.append((name, _change(of_domain), _change(of_general), _percent(of_general.difference + reach)))
    best = pareto([(in_domain.value, in_general.value) for _, in_domain, in_general, _ in changes])
    return [
        Point(name, in_domain, in_general, bound, allowed=bound <= max_loss, pareto=flag)
        for (name, in_domain, in_general, bound), flag in zip(changes, best, strict=True)
    ]


def _change(comparison: Comparison) -> Change:
    return Change(*map(_percent, (comparison.difference, comparison.low, comparison.high)))


def _percent(nats: float) -> float:
    return 100 * expm1(nats)


def pareto(points: Sequence[tuple[float, float]]) -> list[bool]:
    """Whether, for each point, no other is at most as large in both coordinates and smaller in one."""

    def dominates(first: tuple[float, float], second: tuple[float, float]) -> bool:
        return first[0] <= second[0] and first[1] <= second[1] and first != second

    return [not any(dominates(other, point) for other in points) for point in points]


def propose(points: Sequence[Point]) -> Point:
    """The point that the rule proposes; the first is the base, and among equals the earlier is taken."""
    return min((point for point in points if point.allowed), key=lambda point: point.domain.value)


def proposal_sentence(proposed: Point, base: str, domain: str, general: str) -> str:
    """The proposal, and its evidence."""
    if proposed.model == base:
        return f"Proposed: {base}, unmerged: no point is better in {domain} and within the loss allowed in {general}."
    changes = f"{domain} {_change_text(proposed.domain)}, {general} {_change_text(proposed.general)}"
    return f"Proposed: {proposed.model}. Perplexity per byte against {base}: {changes}."


def choice_sentences(folder: Path) -> list[str]:
    """Sentences of a report on a choice that `build_tradeoff` has written: the point that was chosen, and the rule."""
    tradeoff, sentence = Tradeoff.read(folder), Manifest.read(folder).counts["sentence"]
    return [
        sentence,
        f"Rule of the choice: {tradeoff.rule} The rule was applied to the same documents as the scores, so the scores "
        "of the chosen merge are somewhat better than they would be on other documents.",
    ]


def _change_text(change: Change) -> str:
    values = [f"{value:+.2f}".replace("-", "−") for value in (change.value, change.low, change.high)]
    return f"{values[0]} % (95 % interval {values[1]} to {values[2]})"


def draw_tradeoff(tradeoff: Tradeoff, w: Words, theme: Theme, path: Path) -> None:
    """Draw general change to the right, domain change upwards: the lower left is better in both."""
    points = tradeoff.points
    (proposed,) = (point for point in points if point.model == tradeoff.proposed)
    with themed_axes(theme, path) as axes:
        best, dominated = ([point for point in points if point.pareto == kept] for kept in (True, False))
        _draw_points(axes, best, color=theme.series[0], marker="o", label=w("tradeoff_best"))
        _draw_points(axes, dominated, color=theme.series[1], marker="x", label=w("tradeoff_dominated"))
        place, label = (proposed.general.value, proposed.domain.value), w("tradeoff_proposed")
        axes.plot(*place, "o", markersize=11, markerfacecolor="none", color=theme.series[2], label=label)
        for point in points:
            where = (point.general.value, point.domain.value)
            axes.annotate(point.model, where, xytext=(4, 4), textcoords="offset points", fontsize=7)
        axes.set_xlabel(w("axis_tradeoff_general", domain=tradeoff.general))
        axes.set_ylabel(w("axis_tradeoff_domain", domain=tradeoff.domain))
        legend_above(axes, 3)


def _draw_points(axes: Axes, points: Sequence[Point], color: str, marker: str, label: str) -> None:
    if not points:
        return
    general, domain = [point.general for point in points], [point.domain for point in points]
    axes.errorbar(
        [change.value for change in general],
        [change.value for change in domain],
        xerr=_error_bars(general),
        yerr=_error_bars(domain),
        color=color,
        marker=marker,
        markersize=4,
        linestyle="none",
        elinewidth=0.7,
        label=label,
    )


def _error_bars(changes: Sequence[Change]) -> list[list[float]]:
    """Lengths of the intervals below and above each value."""
    return [[c.value - c.low for c in changes], [c.high - c.value for c in changes]]
