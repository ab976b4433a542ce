"""What happened, in a table and in sentences."""

from math import exp
from pathlib import Path
from typing import Any

from ..scores import Comparison, Scores

PERPLEXITY, ACCURACY = "byte_perplexity", "acc"


def summary_table(scores: Path) -> list[dict[str, Any]]:
    """The main scores of a finished evaluation, a row for each model in the order given.

    A row holds `model`, `role`, and for each domain D `D` -> {`perplexity`, `perplexity_stderr`, `accuracy`,
    `accuracy_stderr`}: perplexity per byte, and the fraction of right continuations.
    """
    found = Scores.read(scores)
    return [
        {"model": name, "role": role} | {domain: _cell(found, name, domain) for domain in found.domains}
        for name, role in found.models
    ]


def _cell(scores: Scores, model: str, domain: str) -> dict[str, float | None]:
    perplexity, accuracy = (scores.score(model, domain, metric) for metric in (PERPLEXITY, ACCURACY))
    return {
        "perplexity": perplexity.value,
        "perplexity_stderr": perplexity.stderr,
        "accuracy": accuracy.value,
        "accuracy_stderr": accuracy.stderr,
    }


def verdict(scores: Path) -> list[str]:
    """Sentences on what happened: adaptation by domain, then what the merge changed, as far as there are such models.

    Each states its claim, then after a colon the evidence.
    A change is called better or worse only if its p-value, from the paired difference over documents and adjusted by
    Holm's rule for all comparisons of the evaluation, is below 0.05.
    """
    found = Scores.read(scores)
    bases, last, merged = found.named("base"), found.named("checkpoint")[-1:], found.named("merged")
    pairs = [(model, base) for model in last + merged for base in bases]
    sentences = [_change(found, model, base, domain) for model, base in pairs for domain in found.domains]
    return sentences + [_trade(found, model, against) for model in merged for against in last]


def outcome(comparison: Comparison) -> str:
    """`better`, `worse`, or `no clear change`."""
    if not comparison.clear:
        return "no clear change"
    return "better" if comparison.better else "worse"


def change(comparison: Comparison) -> str:
    """Relative change of the perplexity in percent, or of the accuracy in points, with its 95 % interval."""
    values = (comparison.difference, comparison.low, comparison.high)
    if comparison.metric == PERPLEXITY:
        middle, low, high = (_signed(100 * (exp(value) - 1)) for value in values)
        return f"{middle} % (95 % interval {low} to {high})"
    middle, low, high = (_signed(100 * value) for value in values)
    return f"{middle} points (95 % interval {low} to {high})"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−") if round(value, 1) else "0.0"


def _p(comparison: Comparison) -> str:
    return "adjusted p < 0.001" if comparison.p_holm < 0.001 else f"adjusted p = {comparison.p_holm:.2g}"


def _change(scores: Scores, model: str, base: str, domain: str) -> str:
    perplexity, accuracy = (scores.comparison(model, base, domain, metric) for metric in (PERPLEXITY, ACCURACY))
    before, after = (scores.score(name, domain, PERPLEXITY).value for name in (base, model))
    claim = {"better": "improved", "worse": "degraded", "no clear change": "shows no clear change"}[outcome(perplexity)]
    return (
        f"{domain.capitalize()} {claim} from {base} to {model}: perplexity per byte {before:.3f} to {after:.3f}, "
        f"{change(perplexity)}, {_p(perplexity)}, {perplexity.documents} documents. "
        f"Choosing the continuation: {outcome(accuracy)}, {change(accuracy)}, {_p(accuracy)}."
    )


def _trade(scores: Scores, merged: str, last: str) -> str:
    """Whether the merge gave up something of one domain for something of another."""
    compared = [scores.comparison(merged, last, domain, PERPLEXITY) for domain in scores.domains]
    outcomes = {outcome(comparison) for comparison in compared}
    if {"better", "worse"} <= outcomes:
        claim = "traded one domain for another"
    elif "better" in outcomes:
        claim = "gained, and lost clearly in no domain"
    elif "worse" in outcomes:
        claim = "lost, and gained clearly in no domain"
    else:
        claim = "changed no domain clearly"
    changes = "; ".join(f"{c.domain} {outcome(c)}, {change(c)}, {_p(c)}" for c in compared)
    return f"The merge {claim}, by the perplexity of {merged} against {last}: {changes}."
