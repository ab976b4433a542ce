"""Claims of the paper's section 6 and its appendix on the results, computed again from the tables."""

from collections import Counter
from itertools import pairwise

import numpy as np
from scipy import stats

from ..statistics.multiple_testing import FALSE_POSITIVE_RATE, LEVEL, disjoint
from ..tasks.suite import TARGET_GROUP
from .appendix_claims import billions_of_parameters
from .corpus_claims import Check, Finding
from .tables import CHANGED, VARIANTS, ClearChanges, Tables, count_clear
from .tables_file import GROUPS

OTHER_GROUPS = tuple(group for group in GROUPS if group != TARGET_GROUP)


def _moves(tables: Tables, variant: str, groups: tuple[str, ...] = tuple(GROUPS)) -> dict[str, dict[str, float]]:
    """group -> model -> change of the weighted average, in points."""
    return {g: {m: tables.average_change(g, m, variant).difference for m in tables.models} for g in groups}


def _listed(moves: dict[str, float]) -> str:
    return ", ".join(
        f"{name.split('-')[1] if name.startswith('Qwen3') else name} {value:+.2f}" for name, value in moves.items()
    )


def other_below_medical(tables: Tables) -> Finding:
    """Are the averages of the other subjects far below the medical ones?"""
    gaps = []
    for language in ("FR", "EN"):
        for model in tables.models:
            for variant in VARIANTS:
                medical, other = (tables.average(f"{language}-{kind}", model, variant) for kind in ("MEDICAL", "OTHER"))
                gaps.append(
                    (disjoint(other.score, other.stderr, medical.score, medical.stderr), medical.score - other.score)
                )
    below = sum(sign == 1 for sign, _ in gaps)
    return Finding(below == len(gaps), {"below": below, "pairs": len(gaps), "least": min(gap for _, gap in gaps)})


def _averages_unmoved(tables: Tables, variants: tuple[str, ...]) -> Finding:
    """Do no more averages change significantly than chance allows (95th percentile of the binomial)?"""
    changes = [tables.average_change(g, m, v) for g in GROUPS for m in tables.models for v in variants]
    moved = [change for change in changes if change.sign]
    chance = int(stats.binom.ppf(1 - LEVEL, len(changes), FALSE_POSITIVE_RATE))
    by_group = Counter(change.group for change in moved)
    values = {"moved": len(moved), "averages": len(changes), "chance": chance}
    values |= {"groups": ", ".join(f"{group} {by_group[group]}" for group in GROUPS)}
    return Finding(len(moved) <= chance, values)


def adaptation_averages_unmoved(tables: Tables) -> Finding:
    """Does adaptation hardly change the averages?"""
    return _averages_unmoved(tables, ("PDAPT",))


def all_averages_unmoved(tables: Tables) -> Finding:
    """Do adaptation and merge hardly change the averages?"""
    return _averages_unmoved(tables, CHANGED)


def _falling(values: list[float]) -> bool:
    return all(later < earlier for earlier, later in pairwise(values))


def changes_shrink_with_size(tables: Tables) -> Finding:
    """Does the mean size of the averages' changes fall from each model to the next larger one?"""
    moves = _moves(tables, "PDAPT")
    means = {
        m: float(np.mean([abs(moves[g][m]) for g in GROUPS])) for m in sorted(tables.models, key=billions_of_parameters)
    }
    return Finding(_falling(list(means.values())), {"means": _listed(means).replace("+", "")})


def changes_shrink_in_each_group(tables: Tables) -> Finding:
    """Does it in each of the four groups?"""
    moves, order = _moves(tables, "PDAPT"), sorted(tables.models, key=billions_of_parameters)
    shrinking = [g for g in GROUPS if _falling([abs(moves[g][m]) for m in order])]
    listed = "; ".join(f"{g}: {_listed(moves[g])}" for g in GROUPS)
    return Finding(len(shrinking) == len(GROUPS), {"shrinking": len(shrinking), "changes": listed})


def other_falls(tables: Tables) -> Finding:
    """Do all averages of the other subjects fall with adaptation?"""
    moves = _moves(tables, "PDAPT", ("FR-OTHER", "EN-OTHER"))
    fallen = sum(value < 0 for group in moves.values() for value in group.values())
    listed = "; ".join(f"{g}: {_listed(m)}" for g, m in moves.items())
    return Finding(
        fallen == 2 * len(tables.models), {"fallen": fallen, "averages": 2 * len(tables.models), "changes": listed}
    )


def falls_without_medical_gain(tables: Tables) -> Finding:
    """Is there a fall elsewhere without a rise of the medical average of the same language?"""
    moves = _moves(tables, "PDAPT")
    falls = [
        f"{model.split('-')[1]} {language}"
        for language in ("FR", "EN")
        for model in tables.models
        if moves[f"{language}-OTHER"][model] < 0 and moves[f"{language}-MEDICAL"][model] <= 0
    ]
    return Finding(
        bool(falls), {"count": len(falls), "pairs": 2 * len(tables.models), "which": ", ".join(falls) or "-"}
    )


def smallest_gains_most(tables: Tables) -> Finding:
    """Does the smallest model gain most in the target group?"""
    moves = _moves(tables, "PDAPT", (TARGET_GROUP,))[TARGET_GROUP]
    smallest = min(tables.models, key=billions_of_parameters)
    holds = moves[smallest] > 0 and moves[smallest] == max(moves.values())
    return Finding(holds, {"changes": _listed(moves)})


def best_checkpoint(tables: Tables) -> Finding:
    """Does the chosen checkpoint improve more tasks than it worsens? Else step 0 would be better by that count.

    That is all the tables can say: of the six checkpoints they hold one.
    """
    changes = [change.difference for group in GROUPS for change in tables.changes(group, "PDAPT")]
    up, down = sum(d > 0 for d in changes), sum(d < 0 for d in changes)
    return Finding(
        up > down, {"up": up, "down": down, "comparisons": len(changes)} | {"chosen": tables.stated.checkpoint}
    )


def comparisons(tables: Tables) -> Finding:
    """Are there 56 comparisons a group?"""
    made = {len(tables.changes(g, "PDAPT")) + len(tables.changes(g, "SLERP")) for g in GROUPS}
    stated = tables.stated.comparisons
    values = {
        "models": len(tables.models),
        "tasks": len(tables.topics(TARGET_GROUP)),
        "made": max(made),
        "stated": stated,
    }
    return Finding(made == {stated}, values)


def _clear_changes(tables: Tables, group: str) -> ClearChanges:
    return count_clear([change for variant in CHANGED for change in tables.changes(group, variant)])


def target_changes(tables: Tables) -> Finding:
    """Are there eight significant changes in the target group?"""
    counts, stated = _clear_changes(tables, TARGET_GROUP), tables.stated.fr_medical_changes
    chance = FALSE_POSITIVE_RATE * tables.stated.comparisons
    values = {"positive": counts.positive, "negative": counts.negative, "total": counts.total}
    return Finding(counts.total == stated, values | {"stated": stated, "chance": chance})


def target_negative(tables: Tables) -> Finding:
    """Is one of them negative?"""
    negative, stated = _clear_changes(tables, TARGET_GROUP).negative, tables.stated.fr_medical_negative
    return Finding(negative == stated, {"negative": negative, "stated": stated})


def _positive_elsewhere(tables: Tables) -> list[tuple[str, str, str, str]]:
    changes = [c for g in OTHER_GROUPS for variant in CHANGED for c in tables.changes(g, variant)]
    return [(c.group, c.model, c.variant, c.topic) for c in changes if c.sign == 1]


def one_positive_elsewhere(tables: Tables) -> Finding:
    """Is there one significant rise in the other three groups?"""
    positive, stated = _positive_elsewhere(tables), tables.stated.positive_elsewhere
    return Finding(len(positive) == stated, {"positive": len(positive), "stated": stated})


def which_positive_elsewhere(tables: Tables) -> Finding:
    """Is it the one that the text names?"""
    positive, stated = _positive_elsewhere(tables), tables.stated.positive
    group, model, variant, topic = stated
    named = next(c for c in tables.changes(group, variant) if (c.model, c.topic) == (model, topic))
    which = "; ".join(" ".join(names) for names in positive) or "-"
    values = {
        "found": which,
        "named": " ".join(stated),
        "change": named.difference,
        "reach": named.before.stderr + named.after.stderr,
    }
    return Finding(positive == [stated], values)


def other_groups_bleak(tables: Tables) -> Finding:
    """Are there more significant falls than rises in each of the other groups?"""
    counts = {group: _clear_changes(tables, group) for group in OTHER_GROUPS}
    holds = all(of_group.negative > of_group.positive for of_group in counts.values())
    listed = "; ".join(f"{g} +{of_group.positive} −{of_group.negative}" for g, of_group in counts.items())
    return Finding(holds, {"counts": listed})


def no_fall_after_merge(tables: Tables) -> Finding:
    """Is there no significant fall after the merge?"""
    fallen = [c for group in GROUPS for c in tables.changes(group, "SLERP") if c.sign == -1]
    which = "; ".join(f"{c.group} {c.model} {c.topic} {c.difference:+.1f}" for c in fallen)
    return Finding(not fallen, {"falls": len(fallen), "which": which or "-"})


def merged_stays_above(tables: Tables) -> Finding:
    """Is every merged model above its base in the target group?"""
    moves = _moves(tables, "SLERP", (TARGET_GROUP,))[TARGET_GROUP]
    above = sum(value > 0 for value in moves.values())
    return Finding(above == len(moves), {"above": above, "models": len(moves), "changes": _listed(moves)})


def merged_small_gain_more(tables: Tables) -> Finding:
    """Do the two smaller models keep more of the gain than the two larger?"""
    moves, order = (
        _moves(tables, "SLERP", (TARGET_GROUP,))[TARGET_GROUP],
        sorted(tables.models, key=billions_of_parameters),
    )
    small, large = (float(np.mean([moves[m] for m in part])) for part in (order[:2], order[2:]))
    return Finding(small > large, {"small": small, "large": large, "changes": _listed(moves)})


def gains_cancelled(tables: Tables) -> Finding:
    """Do losses bring the target average back within its error wherever tasks rose significantly?"""
    kept, looked = [], []
    for model in tables.models:
        for variant in CHANGED:
            changes = [c for c in tables.changes(TARGET_GROUP, variant) if c.model == model]
            if any(c.sign == 1 for c in changes):
                average = tables.average_change(TARGET_GROUP, model, variant)
                lost = sum(c.difference < 0 for c in changes)
                looked.append(f"{model.split('-')[1]} {variant} {average.difference:+.2f} ({lost} −)")
                if average.sign == 1 or not lost:
                    kept.append(looked[-1])
    return Finding(not kept, {"looked": "; ".join(looked) or "-", "kept": len(kept), "cases": len(looked)})


def baselines_agree(tables: Tables) -> Finding:
    """Do the bases have the same scores in Tables 3 and 4 as in Tables 8 to 11?"""
    off = []
    for model in tables.models:
        for group in ("FR-MEDICAL", "EN-MEDICAL"):
            for topic in tables.topics(group):
                here, there = tables.cell(group, model, "base", topic), tables.baseline(model, topic, group[:2])
                # Printed to 0.1 here, to 0.01 there.
                if abs(here.score - there.score) > 0.05 + 1e-9:
                    off.append(f"{model} {topic} {group[:2]} {here.score:g} / {there.score:g}")
    cells = 2 * 7 * len(tables.models)
    return Finding(not off, {"cells": cells, "off": len(off), "which": "; ".join(off) or "-"})


CHECKS: dict[str, Check] = {
    "other-below-medical": other_below_medical,
    "adaptation-changes-averages-little": adaptation_averages_unmoved,
    "changes-shrink-with-size": changes_shrink_with_size,
    "changes-shrink-in-each-group": changes_shrink_in_each_group,
    "other-falls": other_falls,
    "falls-without-medical-gain": falls_without_medical_gain,
    "smallest-gains-most": smallest_gains_most,
    "best-checkpoint": best_checkpoint,
    "comparisons-per-group": comparisons,
    "fr-medical-changes": target_changes,
    "fr-medical-negative": target_negative,
    "one-positive-elsewhere": one_positive_elsewhere,
    "positive-elsewhere-named": which_positive_elsewhere,
    "other-groups-bleak": other_groups_bleak,
    "no-decrease-after-merge": no_fall_after_merge,
    "merged-stays-above-base": merged_stays_above,
    "merged-small-gain-more": merged_small_gain_more,
    "averages-little-changed": all_averages_unmoved,
    "gains-cancelled-in-average": gains_cancelled,
    "baselines-agree": baselines_agree,
}
