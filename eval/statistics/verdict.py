"""The verdict on an evaluation of held-out text, in a table and in sentences."""

from dataclasses import asdict, dataclass
from enum import StrEnum
from math import exp
from pathlib import Path
from typing import Any

from ...core.log import counted
from ..models import Role
from ..scores import Comparison, Metric, Scores


class Change(StrEnum):
    """The outcome of a comparison."""

    BETTER = "better"
    WORSE = "worse"
    UNCLEAR = "no clear change"


MAIN_METRICS = (Metric.BYTE_PERPLEXITY, Metric.ACCURACY)
CLAIMS = {Change.BETTER: "improved", Change.WORSE: "degraded", Change.UNCLEAR: "shows no clear change"}
"""Change of a domain's perplexity -> verb of the sentence about it."""


@dataclass(frozen=True)
class DomainScores:
    """A model's main scores in a domain: perplexity per byte, and the fraction of right continuations."""

    perplexity: float
    perplexity_stderr: float | None
    accuracy: float
    accuracy_stderr: float | None


@dataclass(frozen=True)
class ModelRow:
    """A model's main scores in each domain."""

    model: str
    role: Role
    domains: dict[str, DomainScores]

    def to_json(self) -> dict[str, Any]:
        """As one object, the domains beside `model` and `role`."""
        return {"model": self.model, "role": self.role} | {name: asdict(row) for name, row in self.domains.items()}


def summary_table(scores: Path) -> list[ModelRow]:
    """Read the main scores of a finished evaluation, a row for each model in the order given."""
    read = Scores.read(scores)
    return [
        ModelRow(name, role, {domain: _domain_scores(read, name, domain) for domain in read.domains})
        for name, role in read.models
    ]


def _domain_scores(scores: Scores, model: str, domain: str) -> DomainScores:
    perplexity, accuracy = (scores.score(model, domain, metric) for metric in MAIN_METRICS)
    return DomainScores(perplexity.value, perplexity.stderr, accuracy.value, accuracy.stderr)


def verdict(scores: Path) -> list[str]:
    """Sentences on the changes by adaptation in each domain, then by the merge, as far as there are such models.

    Each states its claim, then after a colon the evidence.
    A change is called better or worse only if its p-value, from the paired difference over documents and adjusted by
    Holm's rule for all comparisons of the evaluation, is below 0.05.
    """
    read = Scores.read(scores)
    bases, checkpoints, merged = (read.with_role(role) for role in (Role.BASE, Role.CHECKPOINT, Role.MERGED))
    last = checkpoints[-1:]
    pairs = [(model, base) for model in last + merged for base in bases]
    sentences = [_change_sentence(read, model, base, domain) for model, base in pairs for domain in read.domains]
    return sentences + [_merge_sentence(read, model, against) for model in merged for against in last]


def change_of(comparison: Comparison) -> Change:
    """Whether a comparison shows a clear change, and which."""
    if not comparison.clear:
        return Change.UNCLEAR
    return Change.BETTER if comparison.better else Change.WORSE


def change_text(comparison: Comparison) -> str:
    """Relative change of the perplexity in percent, or of the accuracy in points, with its 95 % interval."""
    values = (comparison.difference, comparison.low, comparison.high)
    if comparison.metric == Metric.BYTE_PERPLEXITY:
        middle, low, high = (_signed(100 * (exp(value) - 1)) for value in values)
        return f"{middle} % (95 % interval {low} to {high})"
    middle, low, high = (_signed(100 * value) for value in values)
    return f"{middle} points (95 % interval {low} to {high})"


def _signed(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−") if round(value, 1) else "0.0"


def _p(comparison: Comparison) -> str:
    return "adjusted p < 0.001" if comparison.p_holm < 0.001 else f"adjusted p = {comparison.p_holm:.2g}"


def _change_sentence(scores: Scores, model: str, base: str, domain: str) -> str:
    perplexity, accuracy = (scores.comparison(model, base, domain, metric) for metric in MAIN_METRICS)
    before, after = (scores.score(name, domain, Metric.BYTE_PERPLEXITY).value for name in (base, model))
    return (
        f"{domain.capitalize()} {CLAIMS[change_of(perplexity)]} from {base} to {model}: "
        f"perplexity per byte {before:.3f} to {after:.3f}, "
        f"{change_text(perplexity)}, {_p(perplexity)}, {counted(perplexity.documents, 'document')}. "
        f"Choosing the continuation: {change_of(accuracy)}, {change_text(accuracy)}, {_p(accuracy)}."
    )


def _merge_sentence(scores: Scores, merged: str, last: str) -> str:
    """A sentence on whether the merge lost in one domain to gain in another."""
    compared = [scores.comparison(merged, last, domain, Metric.BYTE_PERPLEXITY) for domain in scores.domains]
    changes = {change_of(comparison) for comparison in compared}
    if {Change.BETTER, Change.WORSE} <= changes:
        claim = "traded one domain for another"
    elif Change.BETTER in changes:
        claim = "gained, and lost clearly in no domain"
    elif Change.WORSE in changes:
        claim = "lost, and gained clearly in no domain"
    else:
        claim = "changed no domain clearly"
    evidence = "; ".join(f"{c.domain} {change_of(c)}, {change_text(c)}, {_p(c)}" for c in compared)
    return f"The merge {claim}, by the perplexity of {merged} against {last}: {evidence}."
