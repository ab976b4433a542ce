"""Rules for many comparisons at once: p-values adjusted for their number, and the paper's rule."""

import math
from collections.abc import Sequence
from enum import StrEnum

from scipy import stats
from statsmodels.stats.multitest import multipletests

LEVEL = 0.05
"""A change is called clear where its p-value is below; intervals cover 1 - LEVEL."""
FALSE_POSITIVE_RATE = 2 * float(stats.norm.sf(math.sqrt(2)))
"""Probability that two intervals of one standard error do not overlap although nothing differs, 15.7 %: scores of equal
error s from different questions differ by more than 2 s, which is sqrt(2) standard errors of their difference."""


class ClearRule(StrEnum):
    """A rule by which a change is called clear.

    McNemar's p-value after Holm or Benjamini-Hochberg, or unadjusted, or the paper's intervals that do not overlap.
    """

    HOLM = "holm"
    BENJAMINI_HOCHBERG = "fdr_bh"
    MCNEMAR = "mcnemar"
    PAPER = "paper"


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
    return adjusted(p_values, ClearRule.HOLM)


def disjoint(before: float, before_stderr: float, after: float, after_stderr: float) -> int:
    """The paper's rule: 1 or -1 where the intervals of one standard error do not even touch, else 0."""
    difference, reach = after - before, before_stderr + after_stderr
    if abs(difference) <= reach or math.isclose(abs(difference), reach, rel_tol=0, abs_tol=1e-9):
        return 0
    return 1 if difference > 0 else -1
