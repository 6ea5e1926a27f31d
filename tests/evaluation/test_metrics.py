"""Metrics against counts by hand and brute force over all pairs."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from qcrd_jax.evaluation import metrics


def test_accuracy_counts_every_example_once():
    result = metrics.accuracy(np.array([True, False, False, True, True]))
    assert (result.numerator, result.denominator) == (3, 5)
    assert result.value == 0.6


def test_ratios_of_unequal_batches_add_their_counts_not_their_values():
    # 1/1 and 0/3 average to 0.5 as values; counted together they are 1/4.
    total = metrics.accuracy([True]) + metrics.accuracy([False] * 3)
    assert total.value == 0.25


def test_nothing_counted_has_no_value():
    assert metrics.accuracy([]).value is None
    assert metrics.Ratio().interval is None


@pytest.mark.parametrize('counts', [(5, 4), (-1, 4)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(ValueError, match='numerator'):
        metrics.Ratio(*counts)


@pytest.mark.parametrize(
    ('correct', 'total', 'low', 'high'),
    [
        # Newcombe (1998), Table I, method 3: the published intervals, to four digits.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_interval_gives_the_published_values(correct, total, low, high):
    assert metrics.Ratio(correct, total).interval == pytest.approx((low, high), abs=5e-5)


def test_wilson_interval_is_symmetric_in_right_and_wrong():
    low, high = metrics.Ratio(17, 20).interval
    assert metrics.Ratio(3, 20).interval == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(
    ('positives', 'negatives', 'expected'),
    [
        ([0.9, 0.8], [0.2, 0.1], 1.0),
        ([0.1], [0.2, 0.3], 0.0),
        ([0.5, 0.5], [0.5], 0.5),  # ties count one half
        ([0.9, 0.4], [0.6, 0.4, 0.1], 4.5 / 6),  # 3 + (0 + 1/2 + 1) of six pairs
        ([np.inf], [-np.inf], 1.0),
    ],
)
def test_roc_auc_by_hand(positives, negatives, expected):
    assert metrics.roc_auc(positives, negatives) == pytest.approx(expected)


def test_roc_auc_equals_brute_force_over_pairs_with_many_ties():
    rng = np.random.default_rng(0)
    positives = rng.integers(2, 10, 57) / 10
    negatives = rng.integers(0, 8, 83) / 10
    pairs = itertools.product(positives, negatives)
    wins = sum(1.0 if p > n else 0.5 if p == n else 0.0 for p, n in pairs)
    assert metrics.roc_auc(positives, negatives) == pytest.approx(wins / (57 * 83), abs=1e-12)


def test_roc_auc_depends_on_order_alone_and_takes_jax_arrays():
    logits_positive, logits_negative = np.array([2.0, -0.5, 1.0]), np.array([-1.0, 0.0, 1.5, -0.5])
    expected = metrics.roc_auc(logits_positive, logits_negative)
    sigmoid = lambda x: jnp.asarray(1 / (1 + np.exp(-x)))  # noqa: E731
    assert metrics.roc_auc(sigmoid(logits_positive), sigmoid(logits_negative)) == expected


def test_roc_auc_of_an_empty_class_is_none():
    assert metrics.roc_auc([], [0.5]) is None
    assert metrics.roc_auc([0.5], []) is None


def test_roc_auc_refuses_nan():
    with pytest.raises(ValueError, match='NaN'):
        metrics.roc_auc([0.5, np.nan], [0.1])
