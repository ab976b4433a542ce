"""Estimates with standard errors, paired comparisons, and rules for many of them at once.

Of held-out text the document is the unit that was sampled, and a score is a ratio of two totals over documents: nats
over bytes or words, right answers over questions. Of a benchmark the question is the unit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.multitest import multipletests

LEVEL = 0.05
"""A p-value below it is called clear; intervals cover 1 - LEVEL."""
FALSE_POSITIVE_RATE = 2 * float(stats.norm.sf(math.sqrt(2)))
"""How often two intervals of one standard error miss each other although nothing differs, 15.7 %: scores of equal error
s from different questions differ by more than 2 s, which is sqrt(2) standard errors of their difference."""
RESAMPLES = 9999


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


def adjusted(p_values: Sequence[float], rule: str) -> list[float]:
    """P-values adjusted for their number.

    Args:
        p_values: of one family of comparisons.
        rule: statsmodels' name: `holm` (the chance of any false alarm) or `fdr_bh` (Benjamini and Hochberg: the
            expected share of false alarms among the alarms).
    """
    return multipletests(p_values, method=rule)[1].tolist() if len(p_values) else []


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm's step-down rule (Scandinavian Journal of Statistics 6, 1979)."""
    return adjusted(p_values, "holm")


def weighted_mean(values: Sequence[float], sizes: Sequence[int]) -> float:
    """sum(n x) / sum(n): what lm-eval makes of a group's tasks."""
    return float(np.average(values, weights=sizes))


def pooled_stderr(stderrs: Sequence[float], sizes: Sequence[int]) -> float:
    """Standard error of that mean from the tasks' own, pooled as lm-eval does (`pooled_sample_stderr`)."""
    n, s = np.asarray(sizes, float), np.asarray(stderrs, float)
    variance = float(((n - 1) * n * s**2).sum() / (n.sum() - len(n)))
    return math.sqrt(variance / float(n.sum()))


def disjoint(before: float, before_stderr: float, after: float, after_stderr: float) -> int:
    """The paper's rule: 1 or -1 where the intervals of one standard error do not even touch, else 0."""
    difference, reach = after - before, before_stderr + after_stderr
    if abs(difference) <= reach or math.isclose(abs(difference), reach, rel_tol=0, abs_tol=1e-9):
        return 0
    return 1 if difference > 0 else -1


@dataclass(frozen=True)
class Flips:
    """The same questions, answered by two models: how many became right, how many wrong, among how many."""

    gained: int
    lost: int
    questions: int

    @property
    def difference(self) -> float:
        """Change of the accuracy."""
        return (self.gained - self.lost) / self.questions


def mcnemar(flips: Flips) -> float:
    """Two-sided p-value of McNemar's exact test: were gained and lost answers equally likely?"""
    return min(1.0, 2 * float(stats.binom.cdf(min(flips.gained, flips.lost), flips.gained + flips.lost, 0.5)))


def paired_bootstrap(tasks: Sequence[Flips], seed: int, resamples: int = RESAMPLES) -> Difference:
    """Change of the accuracy over all questions of one or several tasks, questions drawn again within each task.

    To draw a task's questions again is to draw how many of them were gained, lost and neither: a multinomial, so
    nothing is approximated by drawing that. The interval is the percentile one; the p-value counts draws that lie as
    far from the change as the change from zero.
    """
    questions = sum(task.questions for task in tasks)
    random = np.random.default_rng(seed)
    moved = np.zeros(resamples)
    for task in tasks:
        chances = np.array([task.gained, task.lost, task.questions - task.gained - task.lost]) / task.questions
        drawn = random.multinomial(task.questions, chances, size=resamples)
        moved += drawn[:, 0] - drawn[:, 1]
    draws = moved / questions
    value = sum(task.gained - task.lost for task in tasks) / questions
    low, high = np.quantile(draws, [LEVEL / 2, 1 - LEVEL / 2]).tolist()
    # Draws are multiples of 1 / questions: what is equally far must not fall to either side by rounding.
    as_far = np.abs(draws - value) >= abs(value) - 0.5 / questions
    p = (1 + int(as_far.sum())) / (resamples + 1)
    return Difference(value, float(draws.std(ddof=1)), low, high, p, questions)


def _stderr(residuals: np.ndarray, x: np.ndarray) -> float | None:
    n = len(x)
    if n < 2:
        return None
    return math.sqrt(n / (n - 1) * float(residuals @ residuals)) / float(x.sum())
