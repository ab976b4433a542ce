"""Estimates with standard errors, and paired comparisons, where the document is the unit that was sampled.

Every score here is a ratio of two totals over documents: nats over bytes or words, right answers over questions.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error (None from one document) and the number of documents behind it."""

    value: float
    stderr: float | None
    documents: int


@dataclass(frozen=True)
class Difference:
    """A paired difference with its 95 % interval and two-sided p-value."""

    value: float
    stderr: float
    low: float
    high: float
    p: float
    documents: int


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Estimate:
    """Estimate sum(y) / sum(x) from n documents, with the linearised (delta method) standard error.

    With R the ratio and d_i = y_i - R x_i, the variance is n / (n - 1) * sum(d_i^2) / sum(x)^2 (Cochran, Sampling
    Techniques, 3rd edition, section 2.11, no finite population correction). Correlation within a document is in d_i.
    """
    y, x = np.asarray(numerators, float), np.asarray(denominators, float)
    value = y.sum() / x.sum()
    return Estimate(float(value), _stderr(y - value * x, x), len(x))


def paired_difference(first: Sequence[float], second: Sequence[float], denominators: Sequence[float]) -> Difference:
    """Difference of two such ratios over the same documents: (sum(first) - sum(second)) / sum(x).

    Interval and p-value are Student's with n - 1 degrees of freedom. All three sequences have one entry a document, in
    the same order; at least two documents.
    """
    both = ratio(np.subtract(first, second).tolist(), denominators)
    assert both.stderr is not None, "a comparison needs two documents"
    student = stats.t(both.documents - 1)
    reach = both.stderr * float(student.ppf(0.975))
    p = 2 * float(student.sf(abs(both.value) / both.stderr)) if both.stderr else float(both.value == 0)
    return Difference(both.value, both.stderr, both.value - reach, both.value + reach, p, both.documents)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's step-down rule (Scandinavian Journal of Statistics 6, 1979)."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, position in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[position]))
        adjusted[position] = highest
    return adjusted


def _stderr(residuals: np.ndarray, x: np.ndarray) -> float | None:
    n = len(x)
    if n < 2:
        return None
    return math.sqrt(n / (n - 1) * float(residuals @ residuals)) / float(x.sum())
