"""Intervals and tests against tables, enumeration by brute force, and simulated error rates."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from qcrd_jax.evaluation import significance
from qcrd_jax.evaluation.significance import (
    fold_interval,
    holm,
    mcnemar,
    mean_interval,
    paired_bootstrap,
    sign_test,
)
from tests.support.simulated_runs import simulated_runs


def pair(both, first_only, second_only, neither):
    """One run each with so many questions of the four kinds."""
    counts = [both, first_only, second_only, neither]
    first = np.repeat([True, True, False, False], counts)
    second = np.repeat([True, False, True, False], counts)
    return first[None], second[None]


def correlated_runs(rng, seeds, questions, gain=0.0, spread=0.0):
    """Two methods' runs: questions differ in hardness, runs by `spread`; the first gains `gain`."""
    hardness = rng.normal(0.4, 1.2, questions)
    shifts = rng.normal(0, spread, (2, seeds, 1)) + np.array([gain, 0.0])[:, None, None]
    return tuple(rng.random((2, seeds, questions)) < 1 / (1 + np.exp(-hardness - shifts)))


@pytest.mark.parametrize(
    ('values', 'mean', 'half_width'),
    [
        # t's 97.5 % points 12.706, 4.303 and 2.776 of printed tables, times sd / sqrt(n).
        ([61.0, 63.0], 62.0, 12.706 * math.sqrt(2) / math.sqrt(2)),
        ([60.0, 62.0, 64.0], 62.0, 4.303 * 2 / math.sqrt(3)),
        ([1.0, 2.0, 3.0, 4.0, 5.0], 3.0, 2.776 * math.sqrt(2.5) / math.sqrt(5)),
        ([7.0, 7.0], 7.0, 0.0),
    ],
)
def test_mean_interval_by_the_tables_of_student(values, mean, half_width):
    assert mean_interval(values) == pytest.approx((mean, half_width), rel=2e-4)


def test_mean_interval_covers_as_often_as_it_says():
    values = np.random.default_rng(0).normal(60, 2, (4000, 3))
    hits = [abs(mean - 60) <= half for mean, half in map(mean_interval, values.tolist())]
    assert 0.94 < np.mean(hits) < 0.96  # standard error 0.0034


def test_one_run_has_no_interval_and_none_has_no_mean():
    assert mean_interval([61.5]) == (61.5, None)
    for values in ([], [1.0, math.nan], [math.inf]):
        with pytest.raises(ValueError, match='finite'):
            mean_interval(values)


@pytest.mark.parametrize(
    ('first_only', 'second_only', 'p'),
    [
        (5, 0, 2 / 32),
        (1, 8, 2 * (1 + 9) / 512),
        (3, 3, 1.0),
        (0, 0, 1.0),
        (2, 7, 2 * (1 + 9 + 36) / 512),
    ],
)
def test_mcnemar_of_one_seed_by_hand(first_only, second_only, p):
    first, second = pair(11, first_only, second_only, 7)
    assert mcnemar(first, second) == pytest.approx(p)
    assert mcnemar(second, first) == pytest.approx(p)
    assert sign_test(first_only, second_only) == pytest.approx(p)


@pytest.mark.parametrize('trial', range(4))
def test_clustered_mcnemar_equals_all_exchanges_of_the_methods(trial):
    rng = np.random.default_rng(trial)
    first, second = rng.random((3, 9)) < 0.7, rng.random((3, 9)) < 0.5
    # Exchanging the methods on any set of questions: 2^9 equally likely tables.
    observed = abs(int(first.sum()) - int(second.sum()))
    extreme = 0
    for exchanged in itertools.product([False, True], repeat=9):
        left, right = np.where(exchanged, second, first), np.where(exchanged, first, second)
        extreme += abs(int(left.sum()) - int(right.sum())) >= observed
    assert mcnemar(first, second) == pytest.approx(extreme / 2**9, abs=1e-12)


def test_clustered_mcnemar_tends_to_the_chi_square_of_durkalski():
    first, second = correlated_runs(np.random.default_rng(1), 5, 3000, gain=0.06)
    differences = first.sum(0) - second.sum(0)
    chi_square = differences.sum() ** 2 / np.square(differences).sum()
    expected = stats.chi2.sf(chi_square, 1)
    assert 1e-4 < expected < 0.2
    assert mcnemar(first, second) == pytest.approx(expected, rel=0.05)


def test_copies_of_a_run_are_not_more_evidence():
    first, second = pair(20, 9, 2, 10)
    copies = [np.repeat(runs, 5, axis=0) for runs in (first, second)]
    assert mcnemar(*copies) == pytest.approx(mcnemar(first, second))


@pytest.mark.parametrize(('seeds', 'low', 'high'), [(1, 0.015, 0.05), (3, 0.035, 0.065)])
def test_mcnemar_errs_as_often_as_it_says(seeds, low, high):
    # With one seed the test is discrete and stays below 5 %. Standard error 0.005.
    rng = np.random.default_rng(2)
    p_values = [mcnemar(*correlated_runs(rng, seeds, 150)) for _ in range(1500)]
    assert low < np.mean(np.array(p_values) < 0.05) < high


def test_bootstrap_of_one_seed_by_enumeration():
    first, second = pair(1, 2, 1, 0)
    # All 4^4 draws of four questions, each as likely.
    signs = (first.astype(int) - second)[0]
    sums = np.array([sum(draw) for draw in itertools.product(signs, repeat=4)]) / 4
    result = paired_bootstrap(first, second, resamples=40_000)
    assert result.difference == 0.25
    assert result.low == np.quantile(sums, 0.025) == -0.5
    assert result.high == np.quantile(sums, 0.975) == 1.0
    assert result.p_value == pytest.approx(2 * (sums <= 0).mean(), abs=0.015)


def test_bootstrap_of_seeds_by_enumeration():
    first = np.array([[True, True], [True, False]])
    second = np.array([[False, True], [False, False]])
    means = []
    for questions, ours, theirs in itertools.product(
        *[list(itertools.product(range(2), repeat=2))] * 3
    ):
        left, right = first[np.ix_(ours, questions)], second[np.ix_(theirs, questions)]
        means.append(left.mean() - right.mean())
    result = paired_bootstrap(first, second, resamples=40_000)
    assert result.difference == 0.5
    assert result.p_value == pytest.approx(2 * np.mean(np.array(means) <= 0), abs=0.015)
    assert (result.low, result.high) == tuple(np.quantile(means, [0.025, 0.975]))


def test_bootstrap_agrees_with_the_standard_error_and_repeats_itself():
    first, second = pair(500, 130, 100, 270)
    result = paired_bootstrap(first, second)
    # Discordance 0.23, difference 0.03: standard error sqrt((0.23 - 0.0009) / 1000) = 0.01514.
    assert result.difference == pytest.approx(0.03)
    assert result[1:3] == pytest.approx((0.03 - 0.0297, 0.03 + 0.0297), abs=0.0015)
    assert result.p_value == pytest.approx(2 * stats.norm.sf(0.03 / 0.01514), abs=0.012)
    assert paired_bootstrap(first, second) == result
    assert paired_bootstrap(first, second, seed=1) != result


def test_bootstrap_p_value_is_never_zero_and_one_for_equals():
    first, second = pair(0, 50, 0, 0)
    assert paired_bootstrap(first, second, resamples=999).p_value == 2 / 1000
    assert paired_bootstrap(first, first) == (0.0, 0.0, 0.0, 1.0)
    thirds = np.random.default_rng(0).random((3, 70)) < 0.6  # sums that round
    assert paired_bootstrap(thirds, thirds).p_value > 0.9


def test_bootstrap_in_chunks_draws_every_resample(monkeypatch):
    first, second = pair(30, 10, 5, 5)
    monkeypatch.setattr(significance, '_CHUNK', 400)  # a hundred resamples of four kinds
    result = paired_bootstrap(first, second, resamples=1_050)
    assert result.p_value * 1_051 / 2 == pytest.approx(round(result.p_value * 1_051 / 2))
    assert result.low < 0.1 < result.high


@pytest.mark.parametrize(
    ('seeds', 'spread', 'low', 'high'),
    [(1, 0.0, 0.025, 0.08), (5, 0.0, 0.0, 0.06), (5, 0.15, 0.01, 0.08)],
)
def test_bootstrap_errs_no_more_often_than_it_says(seeds, spread, low, high):
    # Standard error 0.009. Also where whole runs are lucky or not, which McNemar's test ignores.
    rng = np.random.default_rng(3)
    p_values = [
        paired_bootstrap(*correlated_runs(rng, seeds, 200, spread=spread), resamples=400).p_value
        for _ in range(600)
    ]
    assert low <= np.mean(np.array(p_values) < 0.05) < high


def test_seeds_are_redrawn_in_each_fold_by_itself():
    # Seed 0 is all right in fold 0 and all wrong in fold 1, seed 1 the other way round: as whole
    # runs the seeds are equal, and redrawn as such they would never differ.
    fold = np.repeat([0, 1], 50)
    first = np.array([fold == 0, fold == 1])
    second = np.zeros_like(first)
    second[:, ::2] = True
    plain = paired_bootstrap(first, second, resamples=4000)
    by_fold = paired_bootstrap(first, second, folds=fold, resamples=4000)
    assert plain.difference == by_fold.difference == 0
    # Of the first method: each fold's share is the mean of two draws from {0, 1}, variance 1/8, and
    # the folds weigh a half: 1/16. The second is the same in both seeds. Questions add 1/16 of that
    # and their own sqrt(1 / 400).
    deviation = (by_fold.high - by_fold.low) / 2 / 1.96
    assert deviation == pytest.approx(math.sqrt(1 / 16), rel=0.12)
    assert (plain.high - plain.low) / 2 / 1.96 < 0.5 * deviation


def test_names_of_folds_do_not_matter():
    first, second, fold = simulated_runs(np.random.default_rng(0), 2, 60, folds=3)
    one = paired_bootstrap(first, second, folds=fold, resamples=500)
    assert paired_bootstrap(first, second, folds=10 * fold + 7, resamples=500) == one
    none = paired_bootstrap(first, second, resamples=500)
    assert paired_bootstrap(first, second, folds=np.zeros(60, np.int64), resamples=500) == none


@pytest.mark.parametrize(
    ('seeds', 'luck', 'high'),
    [(1, 0.0, 0.08), (2, 0.1, 0.06)],
)
def test_tests_over_folds_err_no_more_often_than_they_say(seeds, luck, high):
    # Runs that as a whole are 2 points better or worse than others. Standard error 0.011.
    rng = np.random.default_rng(7)
    found = []
    for _ in range(400):
        first, second, fold = simulated_runs(rng, seeds, 400, 5, lasting=0.5, luck=luck)
        bootstrap = paired_bootstrap(first, second, folds=fold, resamples=300)
        found.append(max(bootstrap.p_value, mcnemar(first, second)) < 0.05)
    assert np.mean(found) < high


def test_fold_interval_by_hand():
    # Variance 1/4 + 1/3 of S^2 = 4 * 5 / 3; t's 97.5 % point of 3 degrees of freedom is 3.182.
    test = fold_interval(np.array([1.0, 3.0, 5.0, 7.0]) / 100)
    error = math.sqrt((1 / 4 + 1 / 3) * 20 / 3)
    assert test.difference == pytest.approx(0.04)
    assert test.half_width == pytest.approx(3.182 * error / 100, rel=1e-3)
    assert test.p_value == pytest.approx(2 * stats.t.sf(4 / error, 3))
    assert fold_interval(np.zeros(3)) == (0.0, 0.0, 1.0)
    with pytest.raises(ValueError, match='two folds'):
        fold_interval(np.array([0.1]))


def test_fold_interval_allows_for_training_sets_that_overlap():
    # What a method learns from each fifth of the questions favours it or not; a fold's student has
    # learned from the other four fifths, and its test questions add noise of its own.
    rng = np.random.default_rng(8)
    parts, noise = rng.normal(0, 1, (4000, 5)), rng.normal(0, 1, (4000, 5))
    differences = (parts.sum(axis=1, keepdims=True) - parts) / 4 + noise
    corrected = np.mean([fold_interval(each).p_value < 0.05 for each in differences])
    plain = np.mean(stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05)
    assert 0.03 < corrected < 0.06  # standard error 0.003
    assert plain > 0.09


def test_holm_by_hand():
    # Sorted 0.005, 0.01, 0.03, 0.04 times 4, 3, 2, 1; the last is raised to the one before.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_holm_keeps_the_chance_of_any_false_alarm():
    p_values = np.random.default_rng(6).random((3000, 8))
    alarms = np.mean([min(holm(row)) < 0.05 for row in p_values.tolist()])
    assert 0.035 < alarms < 0.065


@pytest.mark.parametrize('function', [mcnemar, paired_bootstrap])
def test_shapes_must_agree(function):
    with pytest.raises(Exception, match=r'seeds|shape'):
        function(np.ones((2, 5), bool), np.ones((2, 4), bool))


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: sign_test(-1, 2), 'counts'),
        (lambda: holm([0.5, 1.5]), 'p-values'),
        (lambda: paired_bootstrap(np.ones((1, 0), bool), np.ones((1, 0), bool)), 'questions'),
    ],
)
def test_arguments_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
