"""Estimates with standard errors, and paired comparisons.

Held-out text is sampled by document, and a score is a ratio of two totals over documents: nats over bytes or words,
right answers over questions. A benchmark is sampled by question.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from .multiple_testing import LEVEL

RESAMPLES = 9999
"""Draws of a bootstrap."""


@dataclass(frozen=True)
class Estimate:
    """A value, its standard error (None from one document) and the number of documents it is computed from."""

    value: float
    stderr: float | None
    documents: int


@dataclass(frozen=True)
class Difference:
    """A paired difference with its 95 % interval and two-sided p-value; `documents` counts questions of a benchmark."""

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
    estimate = ratio(np.subtract(first, second).tolist(), denominators)
    value, stderr, documents = estimate.value, estimate.stderr, estimate.documents
    assert stderr is not None, "a comparison needs two documents"
    student = stats.t(documents - 1)
    reach = stderr * float(student.ppf(0.975))
    p = 2 * float(student.sf(abs(value) / stderr)) if stderr else float(value == 0)
    return Difference(value=value, stderr=stderr, low=value - reach, high=value + reach, p=p, documents=documents)


def weighted_mean(values: Sequence[float], sizes: Sequence[int]) -> float:
    """sum(n x) / sum(n): lm-eval's score of a group of tasks."""
    return float(np.average(values, weights=sizes))


def pooled_stderr(stderrs: Sequence[float], sizes: Sequence[int]) -> float:
    """Standard error of `weighted_mean` from the tasks' own, pooled as lm-eval does (`pooled_sample_stderr`)."""
    n, s = np.asarray(sizes, float), np.asarray(stderrs, float)
    variance = float(((n - 1) * n * s**2).sum() / (n.sum() - len(n)))
    return math.sqrt(variance / float(n.sum()))


@dataclass(frozen=True)
class Flips:
    """Counts of questions that two models answered: those that became right, those that became wrong, and all."""

    gained: int
    lost: int
    questions: int

    @property
    def difference(self) -> float:
        """Change of the accuracy."""
        return (self.gained - self.lost) / self.questions


def mcnemar(flips: Flips) -> float:
    """Two-sided p-value of McNemar's exact test, by which gained and lost answers are equally likely."""
    return min(1.0, 2 * float(stats.binom.cdf(min(flips.gained, flips.lost), flips.gained + flips.lost, 0.5)))


def paired_bootstrap(tasks: Sequence[Flips], seed: int, resamples: int = RESAMPLES) -> Difference:
    """Change of the accuracy over all questions of one or several tasks, with questions resampled within each task.

    Resampling a task's questions draws how many of them were gained, lost and neither: a multinomial, which is drawn
    directly, without an approximation. The interval is the percentile one; the p-value counts draws that lie as far
    from the change as the change from zero.

    Of few questions a resample knows only what it was drawn from. Where all answers moved alike, or none did, every
    draw is the same: the interval is then the exact one of the share that may have moved otherwise. And the p-value is
    never below that of McNemar's exact test on all tasks together, which takes each moved answer as likely either way.
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
    # Draws are multiples of 1 / questions: rounding must not decide which of two equal distances is larger.
    as_far = np.abs(draws - value) >= abs(value) - 0.5 / questions
    p = (1 + int(as_far.sum())) / (resamples + 1)
    stderr = float(draws.std(ddof=1))
    gained, lost = sum(task.gained for task in tasks), sum(task.lost for task in tasks)
    p = max(p, mcnemar(Flips(gained, lost, questions)))
    if np.ptp(draws) == 0:
        unseen = 1 - (LEVEL / 2) ** (1 / questions)  # Clopper-Pearson's upper end for none of so many
        low, high = max(-1.0, value - unseen * (1 + value)), min(1.0, value + unseen * (1 - value))
    return Difference(value=value, stderr=stderr, low=low, high=high, p=p, documents=questions)


def _stderr(residuals: np.ndarray, x: np.ndarray) -> float | None:
    n = len(x)
    if n < 2:
        return None
    return math.sqrt(n / (n - 1) * float(residuals @ residuals)) / float(x.sum())
