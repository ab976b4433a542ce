"""Standard errors and paired comparisons against scipy."""

import numpy as np
import pytest
from scipy import stats

from pdapt.eval.statistics import holm, paired_difference, ratio


def test_equal_denominators_give_the_standard_error_of_a_mean():
    values = np.random.default_rng(0).normal(size=50)
    estimate = ratio(values.tolist(), [1.0] * 50)
    assert estimate.value == pytest.approx(values.mean())
    assert estimate.stderr == pytest.approx(stats.sem(values))
    assert estimate.documents == 50


def test_ratio_has_the_standard_error_of_a_bootstrap_over_documents():
    random = np.random.default_rng(1)
    lengths = random.lognormal(6, 1, size=200)
    nats = lengths * random.normal(1.2, 0.2, size=200)

    def resampled(y, x, axis):
        return y.sum(axis) / x.sum(axis)

    reference = stats.bootstrap((nats, lengths), resampled, paired=True, vectorized=True, n_resamples=4000, rng=random)
    assert ratio(nats.tolist(), lengths.tolist()).stderr == pytest.approx(reference.standard_error, rel=0.08)


def test_one_document_has_no_standard_error():
    assert ratio([3.0], [2.0]).stderr is None


def test_paired_difference_is_the_paired_t_test_when_documents_are_equally_long():
    random = np.random.default_rng(2)
    first, second = random.normal(size=(2, 30)) + random.normal(size=30)
    found = paired_difference(first.tolist(), second.tolist(), [1.0] * 30)
    reference = stats.ttest_rel(first, second)
    interval = reference.confidence_interval(0.95)
    assert found.p == pytest.approx(reference.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_interval_covers_the_truth_as_often_as_it_says():
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(1000):
        lengths = random.uniform(50, 500, size=40)
        change = lengths * random.normal(0.1, 0.3, size=40)
        found = paired_difference(change.tolist(), [0.0] * 40, lengths.tolist())
        covered += found.low <= 0.1 <= found.high
    assert 0.93 <= covered / 1000 <= 0.97


def test_the_same_scores_differ_by_nothing():
    found = paired_difference([1.0, 2.0], [1.0, 2.0], [3.0, 4.0])
    assert (found.value, found.p) == (0, 1)


def test_holm():
    # Reference: statsmodels.stats.multitest.multipletests(..., method="holm").
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
