"""Claims of the paper's appendix on its 35 models, computed again from Tables 7 to 11."""

from itertools import combinations

from ..statistics.estimates import pooled_stderr, weighted_mean
from ..statistics.multiple_testing import disjoint
from .corpus_claims import Check, Finding
from .tables import Tables


def billions_of_parameters(model: str) -> float:
    """Billions of parameters, read from a model's name; 0 where it states none."""
    for part in model.replace("Gemma3-270m", "Gemma3-0.27B").split("-"):
        if part.endswith("B") and part[:-1].replace(".", "").isdigit():
            return float(part[:-1])
    return 0.0


def ranks_follow(tables: Tables) -> Finding:
    """Do the mean ranks of Table 7 follow from Tables 8 to 11, however ties are broken?"""
    low, high = tables.ranks(ties="min"), tables.ranks(ties="max")
    printed = tables.file.ranks
    off = [model for model, rank in printed.items() if not low[model] - 0.005 <= rank <= high[model] + 0.005]
    tied = sum(low[name] < high[name] for name in low)
    return Finding(not off, {"models": len(printed), "off": len(off), "tied": tied})


def largest_are_best(tables: Tables) -> Finding:
    """Are the three best models the three largest?"""
    ranks = tables.ranks()
    best = sorted(ranks, key=lambda name: ranks[name])[:3]
    largest = sorted(ranks, key=billions_of_parameters, reverse=True)[:3]
    return Finding(set(best) == set(largest), {"best": ", ".join(best), "largest": ", ".join(largest)})


def overlaps_larger(tables: Tables) -> Finding:
    """On how many tasks is Qwen3-8B-Base within the errors of all three better models?"""
    best_base = tables.stated.best_base
    stated = tables.stated
    near = []
    for topic in tables.questions["MEDICAL"]:
        cell = tables.baseline(best_base, topic, "FR")
        rivals = [tables.baseline(name, topic, "FR") for name in stated.best_ranked]
        if all(disjoint(cell.score, cell.stderr, other.score, other.stderr) < 1 for other in rivals):
            near.append(topic)
    return Finding(
        len(near) == stated.overlaps, {"near": len(near), "stated": stated.overlaps, "which": ", ".join(near)}
    )


def four_b_beats_larger(tables: Tables) -> Finding:
    """Do the Qwen3-4B models rank above all models of 7 to 9 B except their own larger version?"""
    ranks = tables.ranks()
    rivals = [n for n in ranks if 7 <= billions_of_parameters(n) <= 9 and not n.startswith("Qwen3")]
    worst = max(ranks["Qwen3-4B"], ranks["Qwen3-4B-Base"])
    best = min(rivals, key=lambda name: ranks[name])
    return Finding(
        worst < ranks[best], {"worst": worst, "rival": best, "rival_rank": ranks[best], "rivals": len(rivals)}
    )


def base_beats_instruct(tables: Tables) -> Finding:
    """Do Qwen3's base models rank above the instruction-tuned ones, except at 4B?"""
    ranks = tables.ranks()
    pairs = {size: (ranks[f"Qwen3-{size}-Base"], ranks[f"Qwen3-{size}"]) for size in ("0.6B", "1.7B", "4B", "8B")}
    ahead = [size for size, (base, tuned) in pairs.items() if base < tuned]
    listed = "; ".join(f"{size} {base:.2f} / {tuned:.2f}" for size, (base, tuned) in pairs.items())
    return Finding(ahead == ["0.6B", "1.7B", "8B"], {"pairs": listed})


def gemma_instruct_gains(tables: Tables) -> Finding:
    """Are all instruction-tuned Gemma models significantly better than their bases, by the French average?"""
    sizes = list(tables.questions["MEDICAL"].values())
    signs: dict[str, int] = {}
    listed: list[str] = []
    for name in ("Gemma3-270m", "Gemma3-1B", "MedGemma-4B"):
        base, tuned = (
            [tables.baseline(f"{name}-{kind}", topic, "FR") for topic in tables.questions["MEDICAL"]]
            for kind in ("pt", "it")
        )
        values = [
            (weighted_mean([c.score for c in cells], sizes), pooled_stderr([c.stderr for c in cells], sizes))
            for cells in (base, tuned)
        ]
        signs[name] = disjoint(*values[0], *values[1])
        listed.append(f"{name} {values[1][0] - values[0][0]:+.2f} ({values[0][1] + values[1][1]:.2f})")
    return Finding(set(signs.values()) == {1}, {"changes": "; ".join(listed)})


def rows_distinct(tables: Tables) -> Finding:
    """Does no model have exactly another's scores on a task, in both languages?"""

    def row(model: str, topic: str) -> tuple[float, float]:
        return tables.baseline(model, topic, "EN").score, tables.baseline(model, topic, "FR").score

    twins: dict[str, list[str]] = {}
    for first, second in combinations(tables.baselines, 2):
        same = [topic for topic in tables.questions["MEDICAL"] if row(first, topic) == row(second, topic)]
        # One coincidence in small sets does not show a copied row.
        if len(same) > 1:
            twins[f"{first} = {second}"] = same
    which = "; ".join(f"{pair} ({', '.join(topics)})" for pair, topics in twins.items())
    return Finding(not twins, {"pairs": len(twins), "which": which or "-"})


def models_and_tasks(tables: Tables) -> Finding:
    """Are 35 models ranked over seven tasks?"""
    stated, models, tasks = tables.stated, len(tables.baselines), len(tables.questions["MEDICAL"])
    ranked = set(tables.file.ranks) == set(tables.baselines)
    holds = ranked and (models, tasks) == (stated.ranked_models, stated.ranked_tasks)
    return Finding(holds, {"models": models, "tasks": tasks})


CHECKS: dict[str, Check] = {
    "models-ranked": models_and_tasks,
    "ranks-follow": ranks_follow,
    "largest-are-best": largest_are_best,
    "8b-within-errors-of-larger": overlaps_larger,
    "4b-above-7-to-9b": four_b_beats_larger,
    "base-above-instruct": base_beats_instruct,
    "gemma-instruct-gains": gemma_instruct_gains,
    "rows-distinct": rows_distinct,
}
