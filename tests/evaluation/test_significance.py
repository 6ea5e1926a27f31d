"""Intervals and tests against tables, enumeration by brute force, and simulated error rates."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from qcrd_jax.evaluation import significance
from qcrd_jax.evaluation.significance import (
    detectable_difference,
    discordance,
    holm,
    mcnemar,
    mean_interval,
    paired_bootstrap,
    sign_test,
)


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
    assert discordance(*copies) == pytest.approx(discordance(first, second))


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


def test_discordance_by_hand():
    assert discordance(*pair(5, 2, 1, 2)) == pytest.approx(0.3)
    first = np.array([[True, True, False], [True, False, False]])
    second = np.array([[False, True, False], [False, True, True]])
    # Means 1, 0.5, 0 and 0, 1, 0.5: squares 1, 0.25, 0.25.
    assert discordance(first, second) == pytest.approx(0.5)


@pytest.mark.parametrize(('questions', 'psi'), [(200, 0.2), (1221, 0.3), (50, 0.5), (9824, 0.01)])
def test_detectable_difference_solves_its_equation(questions, psi):
    delta = detectable_difference(questions, psi)
    right = 1.959964 * math.sqrt(psi) + 0.841621 * math.sqrt(psi - delta**2)
    assert math.sqrt(questions) * delta == pytest.approx(right, rel=1e-6)
    assert delta < psi


def test_detectable_difference_needs_as_much_discordance():
    # All discordant questions on one side: psi = delta, also where less was observed.
    delta = detectable_difference(200, 0.01)
    right = 1.959964 * math.sqrt(delta) + 0.841621 * math.sqrt(delta - delta**2)
    assert math.sqrt(200) * delta == pytest.approx(right, rel=1e-6)
    assert detectable_difference(200, 0.0) == delta
    assert detectable_difference(200, 0.0, seeds=5) == pytest.approx(delta / 5)


def test_detectable_difference_is_bounded_and_falls_with_the_questions():
    sizes = [0, 1, 3, 4, 6, 20, 100, 1000, 10**6]
    deltas = [detectable_difference(size, 1.0) for size in sizes]
    assert deltas[:3] == [1.0, 1.0, 1.0]
    assert deltas == sorted(deltas, reverse=True)
    assert deltas[-1] < 0.003


@pytest.mark.parametrize(('questions', 'psi'), [(200, 0.2), (1000, 0.25)])
def test_power_at_the_detectable_difference(questions, psi):
    delta = detectable_difference(questions, psi)
    rng = np.random.default_rng(4)
    shares = [(psi + delta) / 2, (psi - delta) / 2, 1 - psi]
    counts = rng.multinomial(questions, shares, 3000)
    detected = np.mean([sign_test(int(b), int(c)) < 0.05 for b, c, _ in counts])
    assert 0.73 < detected < 0.83  # the exact test loses a little of the normal one's 80 %


def test_power_over_several_seeds():
    rng = np.random.default_rng(5)
    runs = [correlated_runs(rng, 3, 300, gain=0.308) for _ in range(600)]
    difference = np.mean([first.mean() - second.mean() for first, second in runs])
    psi = float(np.mean([discordance(*each) for each in runs]))
    found = np.mean([mcnemar(*each) < 0.05 for each in runs])
    # The gain was chosen so that the true difference is about what the formula says.
    assert difference == pytest.approx(detectable_difference(300, psi, seeds=3), rel=0.06)
    assert 0.72 < found < 0.88


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


@pytest.mark.parametrize('function', [mcnemar, discordance, paired_bootstrap])
def test_shapes_must_agree(function):
    with pytest.raises(Exception, match=r'seeds|shape'):
        function(np.ones((2, 5), bool), np.ones((2, 4), bool))


@pytest.mark.parametrize(
    ('call', 'message'),
    [
        (lambda: sign_test(-1, 2), 'counts'),
        (lambda: holm([0.5, 1.5]), 'p-values'),
        (lambda: detectable_difference(10, 1.5), 'discordance'),
        (lambda: detectable_difference(10, 0.5, power=0.2), 'power'),
        (lambda: paired_bootstrap(np.ones((1, 0), bool), np.ones((1, 0), bool)), 'questions'),
    ],
)
def test_arguments_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
