"""The table of decisions: the model to use for each purpose, its evidence and its certainty."""

from collections.abc import Sequence

from ..statistics.compare import FamilyRole
from .headline import AreaChange, Outcome
from .table_formats import Entry, Row, Table
from .texts import Words

CERTAIN, GOOD = 0.001, 0.01
"""Adjusted p-values below which a decision is called certain, and well supported."""


def decisions_table(changes: Sequence[AreaChange], w: Words, *, every_area: bool = True) -> Table:
    """A row for each area, and one for a model for everything.

    Args:
        changes: with the base, of one family or several.
        w: words.
        every_area: whether areas other than the target have rows, too.
    """
    families = list(dict.fromkeys(each.family for each in changes))
    rows: list[Row] = []
    for family in families:
        of_family = [each for each in changes if each.family == family]
        areas = {f.area: f for f in of_family if every_area or f.target}
        decisions = [_row(f.label, [g for g in of_family if g.area == area], w) for area, f in areas.items()]
        if len({f.area for f in of_family}) > 1:
            decisions.append(_row_for_everything(of_family, w))
        if len(families) > 1:
            decisions = [Row(w("of", group=family, what=row.head), row.entries) for row in decisions]
        rows += [Row(row.head, row.entries, begins=not number) for number, row in enumerate(decisions)]
    name = "decisions" if every_area else "decisions-target"
    return Table(name, w("decisions_caption"), [w(key) for key in ("for_what", "use", "evidence", "how_sure")], rows)


def best_in_area(changes: Sequence[AreaChange]) -> AreaChange | None:
    """The model that is clearly better than the base, by the larger gain; None where the base is as good."""
    better = [each for each in changes if each.outcome == Outcome.BETTER]
    return max(better, key=lambda each: each.gain, default=None)


def best_for_everything(changes: Sequence[AreaChange]) -> FamilyRole:
    """The model that clearly gains somewhere and clearly loses nowhere, by the gain in the target; else the base."""
    candidates = []
    for role in (FamilyRole.ADAPTED, FamilyRole.MERGED):
        of_role = [each for each in changes if each.role == role]
        outcomes = {each.outcome for each in of_role}
        if Outcome.BETTER in outcomes and Outcome.WORSE not in outcomes:
            candidates.append((sum(f.gain for f in of_role if f.target or len(of_role) == 1), role))
    return max(candidates, key=lambda candidate: candidate[0])[1] if candidates else FamilyRole.BASE


def _row(label: str, changes: Sequence[AreaChange], w: Words) -> Row:
    best = best_in_area(changes)
    evidence = w("semicolon").join(w("evidence_of", role=w(f.role), evidence=f.evidence(w)) for f in changes)
    if best:
        return Row(label, [Entry(_model(best, w), strong=True), Entry(evidence), Entry(_sure(best.p, w))])
    same = [each for each in changes if each.outcome == Outcome.SAME]
    use = w("base_or", model=_model(same[0], w)) if same else w("base")
    unclear = [each for each in changes if each.outcome == Outcome.UNCLEAR]
    if unclear:
        reach = max(max(abs(each.low), abs(each.high)) for each in unclear)
        sure = w(f"sure_open_{unclear[0].unit}", reach=reach)
    elif same:
        sure = w(f"sure_same_{same[0].unit}", margin=same[0].unit.margin)
    else:
        sure = _sure(max(each.p for each in changes), w)
    return Row(label, [Entry(use, strong=True), Entry(evidence), Entry(sure)])


def _row_for_everything(changes: Sequence[AreaChange], w: Words) -> Row:
    role = best_for_everything(changes)
    counts = []
    for of_role in (FamilyRole.ADAPTED, FamilyRole.MERGED):
        outcomes = [each.outcome for each in changes if each.role == of_role]
        if outcomes:
            up, down = outcomes.count(Outcome.BETTER), outcomes.count(Outcome.WORSE)
            counts.append(w("counts_of", role=w(of_role), up=up, down=down, areas=len(outcomes)))
    chosen = [each for each in changes if each.role == role]
    shown = chosen or list(changes)
    unclear = sum(each.outcome == Outcome.UNCLEAR for each in shown)
    clear = [f.p for f in shown if f.outcome in (Outcome.BETTER, Outcome.WORSE)]
    sure = w("sure_partly", unclear=unclear, areas=len(shown)) if unclear or not clear else _sure(max(clear), w)
    use = _model(chosen[0], w) if chosen else w("base")
    return Row(w("for_everything"), [Entry(use, strong=True), Entry(w("semicolon").join(counts)), Entry(sure)])


def _model(each: AreaChange, w: Words) -> str:
    role = w(each.role)
    return role if each.model in (each.role, each.family) else f"{role} ({each.model})"


def _sure(p: float, w: Words) -> str:
    key = "sure_high" if p < CERTAIN else "sure_good" if p < GOOD else "sure_fair"
    return w(key, p=p)
