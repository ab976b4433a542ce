"""The answer of a page in two sentences, written by rules from the comparisons with the base."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from ..models import ROLES
from ..statistics.compare import FamilyRole
from ..statistics.multiple_testing import LEVEL
from .texts import Words

NO_NAMES = {*ROLES, "benchmark", "scores", "tasks"}
"""Names of roles and of folders of results, after which no model is called in a sentence."""


class Unit(StrEnum):
    """Unit of a change: points of right answers, or per cent of perplexity, where lower is better."""

    POINTS = "points"
    PERPLEXITY = "perplexity"

    @property
    def margin(self) -> float:
        """The change that is as good as none, where the whole interval is within it."""
        return {Unit.POINTS: 2.0, Unit.PERPLEXITY: 1.0}[self]


class Outcome(StrEnum):
    """How a model compares with its base."""

    BETTER = "better"
    SAME = "same"
    UNCLEAR = "unclear"
    WORSE = "worse"


@dataclass(frozen=True)
class AreaChange:
    """One model against its base in one area.

    Attributes:
        family: name of the base and the models made of it.
        role: adapted or merged.
        model: its name.
        area: as a sentence has it: a group of tasks, or a domain of text.
        label: as a heading has it.
        change, low, high: with its 95 % interval, in `unit`.
        p: adjusted for all comparisons of the page.
        units: questions or documents that were compared.
        target: whether this is the area that training was for.
        colour: number of the colour that its family, or its area, has on the page.
        paired: whether the two models' answers were compared one by one.
    """

    family: str
    role: FamilyRole
    model: str
    area: str
    label: str
    change: float
    low: float
    high: float
    p: float
    units: int
    unit: Unit = Unit.POINTS
    target: bool = False
    colour: int = 0
    paired: bool = True

    @property
    def gain(self) -> float:
        """The change, more of which is better."""
        return -self.change if self.unit == Unit.PERPLEXITY else self.change

    @property
    def outcome(self) -> Outcome:
        """Better or worse where the adjusted p says so; the same where the interval is within the unit's margin."""
        if self.p < LEVEL:
            return Outcome.BETTER if self.gain > 0 else Outcome.WORSE
        return Outcome.SAME if max(abs(self.low), abs(self.high)) <= self.unit.margin else Outcome.UNCLEAR

    def size(self, w: Words) -> str:
        """The change in words."""
        return w(f"size_{self.unit}", change=self.change)

    def evidence(self, w: Words) -> str:
        """The change and its interval in words."""
        return w(f"evidence_{self.unit}", change=self.change, low=self.low, high=self.high)


def headline(changes: Sequence[AreaChange], w: Words) -> tuple[str, str]:
    """Two sentences on changes, of which there is one at least: on the adapted models, and on the merged ones."""
    families = dict.fromkeys(each.family for each in changes)
    adapted, merged = (
        [each for each in changes if each.role == role] for role in (FamilyRole.ADAPTED, FamilyRole.MERGED)
    )
    if len(families) == 1:
        first = _on_a_model(adapted, w) if adapted else _on_a_model(merged, w)
        second = _on_a_merge(adapted, merged, w) if adapted and merged else _on_the_basis(changes, w)
    else:
        first = _on_models(adapted or merged, w)
        second = _on_models(merged, w) if adapted and merged else _on_the_basis(changes, w)
    return first, second


def _on_a_model(changes: Sequence[AreaChange], w: Words) -> str:
    role, family, clauses = changes[0].role, changes[0].family, _clauses(changes, w)
    if family.casefold() in NO_NAMES:
        return w(f"head_{role}_unnamed", clauses=clauses)
    return w(f"head_{role}", family=family, clauses=clauses)


def _clauses(changes: Sequence[AreaChange], w: Words) -> str:
    """Clauses on what a model gains, keeps and loses, the areas with their changes."""
    clauses = []
    for outcome in Outcome:
        areas = [each for each in changes if each.outcome == outcome]
        if areas:
            shown = [
                w("area_change", area=each.area, size=each.size(w))
                if outcome in (Outcome.BETTER, Outcome.WORSE)
                else each.area
                for each in areas
            ]
            margin = w(f"margin_{areas[0].unit}", margin=areas[0].unit.margin)
            clauses.append(w(f"clause_{outcome}", areas=enumeration(shown, w), margin=margin))
    return enumeration(clauses, w)


def enumeration(items: Sequence[str], w: Words) -> str:
    """Items as a sentence lists them."""
    return w("list_and", first=", ".join(items[:-1]), last=items[-1]) if len(items) > 1 else items[0]


def _on_a_merge(adapted: Sequence[AreaChange], merged: Sequence[AreaChange], w: Words) -> str:
    """A sentence on what the merge makes of losses and gains, and on how it stands against the base."""
    clauses = _clauses(merged, w)
    effects = [effect for effect in (loss_effect(adapted, merged), gain_effect(adapted, merged)) if effect]
    if not effects:
        return w("head_merge_alone", clauses=clauses)
    effect = w("effects_and" if _agree(effects) else "effects_but", first=w(effects[0]), second=w(effects[-1]))
    return w("head_merge", effect=effect if len(effects) > 1 else w(effects[0]), clauses=clauses)


def _agree(effects: Sequence[str]) -> bool:
    """Whether both effects are welcome, or neither is."""
    welcome = {"loss_undone", "loss_reduced", "gain_kept"}
    return len({effect in welcome for effect in effects}) == 1


def loss_effect(adapted: Sequence[AreaChange], merged: Sequence[AreaChange]) -> str:
    """Key of the effect on the adapted model's clear losses; empty where there are none that both were measured on."""
    after = {each.area: each for each in merged}
    lost = [each for each in adapted if each.outcome == Outcome.WORSE and each.area in after]
    still = [each for each in lost if after[each.area].outcome == Outcome.WORSE]
    if not lost:
        return ""
    if not still:
        return "loss_undone"
    return "loss_reduced" if all(after[f.area].gain > f.gain for f in still) else "loss_left"


def gain_effect(adapted: Sequence[AreaChange], merged: Sequence[AreaChange]) -> str:
    """Key of the effect on the adapted model's clear gains; empty where there are none that both were measured on."""
    after = {each.area: each for each in merged}
    gained = [each for each in adapted if each.outcome == Outcome.BETTER and each.area in after]
    if not gained:
        return ""
    kept = all(after[each.area].outcome == Outcome.BETTER for each in gained)
    return "gain_kept" if kept else "gain_lost"


def _on_the_basis(changes: Sequence[AreaChange], w: Words) -> str:
    counts = {each.area: each.units for each in changes}
    key = f"head_basis_{changes[0].unit}" if all(each.paired for each in changes) else "head_basis_unpaired"
    return w(key, units=sum(counts.values()), areas=len(counts))


def _on_models(changes: Sequence[AreaChange], w: Words) -> str:
    """How many models of several gain in the target area, and how many lose elsewhere."""
    families = list(dict.fromkeys(each.family for each in changes))
    role = w(f"models_{changes[0].role}" if len(families) > 1 else f"model_{changes[0].role}")
    of_target = [each for each in changes if each.target]
    parts = []
    for outcome in (Outcome.BETTER, Outcome.WORSE):
        clear = [each for each in of_target if each.outcome == outcome]
        if of_target and (clear or outcome == Outcome.BETTER):
            count = _count(len(clear), len(of_target), role, w)
            parts.append(w(f"models_{outcome}", count=count, area=of_target[0].area, range=_span(clear, w)))
            role = ""
    losses = [f for f in changes if not f.target and f.outcome == Outcome.WORSE]
    if len(of_target) < len(changes):
        losing = len({each.family for each in losses})
        key = "models_lose" if of_target else "models_lose_anywhere"
        parts.append(w(key, count=_count(losing, len(families), role, w), range=_span(losses, w)))
    sentence = w("semicolon").join(parts)
    return w("sentence", text=sentence[0].upper() + sentence[1:])


def _count(count: int, of: int, role: str, w: Words) -> str:
    """`3 of the 4 adapted models`; without a role, `3 of them`."""
    if of == 1:
        key = "only" if count else "no"
    else:
        key = "none" if not count else "all" if count == of else "one" if count == 1 else "some"
    return w(f"count_{key}" if role else f"count_{key}_of_them", count=count, of=of, role=role)


def _span(changes: Sequence[AreaChange], w: Words) -> str:
    """The changes from the smallest to the largest, in brackets; empty where there are none."""
    if not changes:
        return ""
    ends = sorted(changes, key=lambda each: abs(each.change))
    if f"{ends[0].change:.1f}" == f"{ends[-1].change:.1f}":
        return w("span_one", size=ends[0].size(w))
    return w(f"span_{ends[0].unit}", low=ends[0].change, high=ends[-1].change)
