"""Standard errors, paired comparisons and families of them, against scipy, statsmodels, lm-eval and known truth."""

from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats import contingency_tables
from statsmodels.stats.multitest import multipletests

from pdapt.eval.statistics.estimates import (
    Flips,
    mcnemar,
    paired_bootstrap,
    paired_difference,
    pooled_stderr,
    ratio,
    weighted_mean,
)
from pdapt.eval.statistics.multiple_testing import FALSE_POSITIVE_RATE, adjusted, disjoint, holm

SIZES = [135, 265, 144, 173, 687, 100, 272]
"""Questions of the medical group's tasks."""


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


@pytest.mark.slow
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


def test_families_are_adjusted_as_by_statsmodels_and_scipy():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
    p_values = np.random.default_rng(4).uniform(size=56) ** 3
    assert adjusted(p_values.tolist(), "holm") == pytest.approx(multipletests(p_values, method="holm")[1])
    assert adjusted(p_values.tolist(), "fdr_bh") == pytest.approx(stats.false_discovery_control(p_values))


def test_group_averages_are_lm_eval_s():
    from lm_eval.api.metrics import aggregate_subtask_metrics, mean_stderr, pooled_sample_stderr

    random = np.random.default_rng(5)
    answers = [(random.uniform(size=size) < 0.4).astype(float) for size in SIZES]
    means, errors = [float(a.mean()) for a in answers], [mean_stderr(a.tolist()) for a in answers]
    assert weighted_mean(means, SIZES) == pytest.approx(aggregate_subtask_metrics(means, SIZES))
    assert weighted_mean(means, SIZES) == pytest.approx(np.concatenate(answers).mean())
    assert pooled_stderr(errors, SIZES) == pytest.approx(pooled_sample_stderr(errors, SIZES))


@pytest.mark.parametrize(("gained", "lost"), [(12, 3), (3, 12), (0, 0), (1, 0), (40, 40), (0, 9)])
def test_mcnemar_is_statsmodels_exact_one(gained, lost):
    reference: Any = contingency_tables.mcnemar([[50, lost], [gained, 30]], exact=True)
    assert mcnemar(Flips(gained, lost, 200)) == pytest.approx(min(1.0, reference.pvalue))


def test_paired_bootstrap_is_scipy_s_over_questions():
    change = np.repeat([1.0, -1.0, 0.0], [30, 12, 158])
    reference = stats.bootstrap((change,), np.mean, method="percentile", n_resamples=9999, rng=np.random.default_rng(6))
    found = paired_bootstrap([Flips(30, 12, 200)], seed=0)
    assert found.value == pytest.approx(0.09)
    assert found.stderr == pytest.approx(reference.standard_error, rel=0.03)
    interval = reference.confidence_interval
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.006)
    assert paired_bootstrap([Flips(30, 12, 200)], seed=0) == found, "the same seed, the same draws"


def test_stratified_bootstrap_has_the_standard_error_of_the_strata():
    tasks = [Flips(20, 8, 135), Flips(30, 40, 687), Flips(5, 5, 100)]
    variances = [
        t.questions * ((t.gained + t.lost) / t.questions - ((t.gained - t.lost) / t.questions) ** 2) for t in tasks
    ]
    found = paired_bootstrap(tasks, seed=1)
    assert found.stderr == pytest.approx(np.sqrt(sum(variances)) / 922, rel=0.03)
    assert found.value == pytest.approx((12 - 10) / 922)


def _drawn(random: np.random.Generator, gain: float, lose: float) -> list[Flips]:
    """A group of tasks whose answers change for the better and the worse with given chances."""
    moved = [random.multinomial(size, [gain, lose, 1 - gain - lose]) for size in SIZES]
    return [Flips(int(m[0]), int(m[1]), size) for m, size in zip(moved, SIZES, strict=True)]


@pytest.mark.slow
def test_nothing_changed_is_seldom_called_a_change():
    """Without a change, 600 groups raise no more alarms than stated, by McNemar, by the bootstrap and after Holm."""
    random = np.random.default_rng(7)
    cells = groups = families = cell_count = 0
    for number in range(600):
        tasks = _drawn(random, 0.08, 0.08)
        p_values = [mcnemar(task) for task in tasks]
        cells += sum(p < 0.05 for p in p_values)
        cell_count += len(p_values)
        families += len(SIZES) * min(p_values) < 0.05
        # Holm's smallest; statsmodels collects garbage at each call, so not for all of them.
        assert number % 200 or min(holm(p_values)) == pytest.approx(min(1.0, len(SIZES) * min(p_values)))
        groups += paired_bootstrap(tasks, seed=number, resamples=999).p < 0.05
    assert 0.01 < cells / cell_count <= 0.05, "exact: never above its level, and of use"
    assert families / 600 <= 0.05
    # Two standard errors of 600 draws are 1.8 points.
    assert 0.03 <= groups / 600 <= 0.07


def test_the_papers_rule_calls_16_percent_of_nothing_a_change():
    random = np.random.default_rng(8)
    n, share = 500, 0.5
    first, second = random.binomial(n, share, size=(2, 20_000)) / n
    errors = [np.sqrt(x * (1 - x) / (n - 1)) for x in (first, second)]
    alarms = [disjoint(*cell) != 0 for cell in zip(first, errors[0], second, errors[1], strict=True)]
    assert pytest.approx(0.1573, abs=1e-4) == FALSE_POSITIVE_RATE
    assert np.mean(alarms) == pytest.approx(FALSE_POSITIVE_RATE, abs=0.01)


@pytest.mark.parametrize("questions", [5, 40, 1000])
def test_of_answers_that_all_moved_alike_the_interval_is_exact(questions: int) -> None:
    """Resamples would say that nothing else is possible, be it of five questions."""
    unseen = stats.binomtest(0, questions).proportion_ci(0.95).high
    none = paired_bootstrap([Flips(0, 0, questions)], 0)
    assert (none.value, none.low, none.high, none.p) == (0, pytest.approx(-unseen), pytest.approx(unseen), 1)
    every = paired_bootstrap([Flips(questions, 0, questions)], 0)
    assert (every.low, every.high) == (pytest.approx(1 - 2 * unseen), 1)


def test_few_answers_are_not_called_a_clear_change() -> None:
    """Four of five gained: by resamples p is 0.0004, by the exact test 0.125; of many questions both agree."""
    assert paired_bootstrap([Flips(2, 0, 3), Flips(2, 0, 2)], 0).p == pytest.approx(0.125)
    many = Flips(90, 60, 1000)
    assert paired_bootstrap([many], 0).p == pytest.approx(mcnemar(many), rel=0.25)


@pytest.mark.slow
def test_intervals_of_the_bootstrap_cover_the_truth():
    random = np.random.default_rng(9)
    covered = 0
    for number in range(800):
        found = paired_bootstrap(_drawn(random, 0.10, 0.06), seed=number, resamples=999)
        covered += found.low <= 0.04 <= found.high
    # Two standard errors of 800 draws are 1.5 points.
    assert 0.935 <= covered / 800 <= 0.965


def test_power_is_what_theory_says_and_more_than_without_pairs():
    """A change of 4 points in 687 questions of which few move: McNemar against the normal formula (Connor, 1987)."""
    random = np.random.default_rng(10)
    n, gain, lose, draws = 687, 0.07, 0.03, 1500
    found = unpaired = 0
    for _ in range(draws):
        gained, lost, _ = random.multinomial(n, [gain, lose, 1 - gain - lose])
        right = random.binomial(n, 0.5)
        before, after = right / n, (right + gained - lost) / n
        found += mcnemar(Flips(int(gained), int(lost), n)) < 0.05
        z = (after - before) / np.sqrt((before * (1 - before) + after * (1 - after)) / (n - 1))
        unpaired += abs(z) > stats.norm.ppf(0.975)
    moved, change = gain + lose, gain - lose
    theory = stats.norm.cdf((change * np.sqrt(n) - stats.norm.ppf(0.975) * np.sqrt(moved)) / np.sqrt(moved - change**2))
    # McNemar's exact test is a little shy of the normal formula.
    assert theory - 0.06 < found / draws < theory + 0.01
    assert unpaired / draws < found / draws - 0.3
