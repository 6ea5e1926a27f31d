"""Whether a difference is more than chance, over seeds and over the questions of a test set.

Two things are drawn by chance: the questions of the test set, which every method answers alike,
and the seed of a run. `mean_interval` covers only the seeds, `mcnemar` only the questions, and
`paired_bootstrap` both.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool
from scipy import stats

_CHUNK = 2_000_000  # numbers of a bootstrap that are in memory at a time


class MeanInterval(NamedTuple):
    """A mean and its interval, mean +- half width.

    Attributes:
      mean: of the values.
      half_width: None where there is a single value, which says nothing of the spread.
    """

    mean: float
    half_width: float | None


class BootstrapDifference(NamedTuple):
    """The difference of two accuracies, as shares: first minus second.

    Attributes:
      difference: as observed.
      low: lower end of the percentile interval.
      high: upper end.
      p_value: two-sided, in (0, 1].
    """

    difference: float
    low: float
    high: float
    p_value: float


def sign_test(wins: int, losses: int) -> float:
    """Exact two-sided sign test: were wins and losses tossed by a fair coin?

    Args:
      wins: pairs that the one side won; ties are left out.
      losses: pairs that the other side won.

    Returns:
      the probability of a split at least as uneven; 1 where nothing was won.

    Examples:
      >>> sign_test(5, 0)
      0.0625
    """
    if wins < 0 or losses < 0:
        raise ValueError(f'expected counts, got {wins} and {losses}.')
    if not wins + losses:
        return 1.0
    return float(stats.binomtest(wins, wins + losses).pvalue)


def mean_interval(values: Sequence[float], *, confidence: float = 0.95) -> MeanInterval:
    """The mean over seeds with Student's t interval.

    It covers the draw of the seeds (data order, dropout, initialisation, sampled negatives) and
    takes the test set as given; the runs' values are taken to be about normal.

    Args:
      values: one finished run each, at least one.
      confidence: that the interval covers the mean over all seeds.

    Returns:
      mean and half width; the latter is None for a single run.

    Raises:
      ValueError: if there is no value, or one is not finite.

    References:
      Student, The probable error of a mean (1908).

    Examples:
      >>> mean, half_width = mean_interval([60.0, 62.0, 64.0])
      >>> mean, round(half_width, 3)
      (62.0, 4.968)
      >>> mean_interval([60.0]).half_width is None
      True
    """
    array = np.asarray(values, np.float64)
    if not array.size or not np.isfinite(array).all():
        raise ValueError(f'expected one finite value or more, got {list(values)}.')
    if array.size == 1:
        return MeanInterval(float(array[0]), None)
    quantile = stats.t.ppf(0.5 + confidence / 2, array.size - 1)
    half_width = quantile * array.std(ddof=1) / math.sqrt(array.size)
    return MeanInterval(float(array.mean()), float(half_width))


def mcnemar(
    first: Bool[np.ndarray, 'seeds questions'], second: Bool[np.ndarray, 'seeds questions']
) -> float:
    """Exact two-sided McNemar test of two methods on the same questions, clustered by question.

    The answers of several seeds to one question are not independent, so a question is the unit:
    d_q is the first method's right answers to question q minus the second's, over the seeds. Were
    the methods exchangeable, each d_q would have had either sign with the same chance, which gives
    the distribution of D = sum_q d_q exactly. For one seed this is McNemar's exact test: the sign
    test on the discordant pairs. For many questions it is the clustered test of Durkalski et al.,
    chi2 = D^2 / sum_q d_q^2 with one degree of freedom, as D's variance is sum_q d_q^2.

    The runs are taken as given: it speaks of these trained students on other questions of the
    kind, not of other seeds. Where whole runs are lucky or not (accuracies of one method that
    spread by three points between seeds), it calls two seeds' luck a difference of methods up to
    three times as often as the 5 % say; `paired_bootstrap` does not.

    Args:
      first: whether the first method's run with this seed answers the question right.
      second: the same of the second method.

    Returns:
      the probability of a |D| at least as large; 1 where the methods differ on no question.

    Raises:
      ValueError: if the shapes differ.

    References:
      McNemar, Note on the sampling error of the difference between correlated proportions or
        percentages (1947).
      Obuchowski, On the comparison of correlated proportions for clustered data (1998).
      Durkalski, Palesch, Lipsitz and Rust, Analysis of clustered matched-pair data (2003).

    Examples:
      >>> all_right, all_wrong = np.ones((1, 5), bool), np.zeros((1, 5), bool)
      >>> round(mcnemar(all_right, all_wrong), 4)
      0.0625
    """
    _check(first, second)
    differences = first.sum(axis=0, dtype=np.int64) - second.sum(axis=0, dtype=np.int64)
    masses = np.ones(1)  # of the possible D, from -sum |d_q| to sum |d_q|
    for size, count in enumerate(np.bincount(abs(differences))):
        if size and count:
            # `count` coins of +-size: size * (2 heads - count).
            coins = np.zeros(2 * size * count + 1)
            coins[:: 2 * size] = stats.binom.pmf(np.arange(count + 1), count, 0.5)
            masses = np.convolve(masses, coins)
    possible = np.arange(len(masses)) - len(masses) // 2
    return float(min(masses[abs(possible) >= abs(differences.sum())].sum(), 1.0))


def paired_bootstrap(
    first: Bool[np.ndarray, 'seeds questions'],
    second: Bool[np.ndarray, 'seeds questions'],
    *,
    resamples: int = 10_000,
    seed: int = 0,
    confidence: float = 0.95,
) -> BootstrapDifference:
    """The difference of two methods' mean accuracies under redrawn questions and redrawn seeds.

    A resample draws the questions with replacement, the same ones for both methods, and the seeds
    of each method by themselves: that two methods number a seed alike means nothing. Seeds
    and questions are crossed, so a run that is drawn answers all questions that are drawn (Owen's
    pigeonhole bootstrap). Owen shows its variance to be conservative: it counts up to three times
    the part in which seeds disagree about single questions, so that of several seeds' equal
    methods about 1 % are found to differ instead of 5 %. That makes up for a spread between seeds
    that two or three of them hardly show. With one seed only the questions are redrawn.

    Args:
      first: whether the first method's run with this seed answers the question right.
      second: the same of the second method.
      resamples: how many to draw.
      seed: of the draws.
      confidence: of the interval.

    Returns:
      difference, percentile interval and two-sided p-value: twice the smaller share of resamples
      on either side of no difference, the observed data counted as one of them, so never 0.

    Raises:
      ValueError: if the shapes differ, or there is nothing to draw from.

    References:
      Efron and Tibshirani, An introduction to the bootstrap (1993).
      Davison and Hinkley, Bootstrap methods and their application (1997), section 4.2.
      Owen, The pigeonhole bootstrap (2007).

    Examples:
      >>> right = np.arange(100) < 70
      >>> better = np.arange(100) < 80
      >>> difference, low, high, p_value = paired_bootstrap(better[None], right[None])
      >>> round(difference, 2), round(low, 2), round(high, 2), p_value < 0.001
      (0.1, 0.05, 0.16, True)
    """
    _check(first, second)
    seeds, questions = first.shape
    if not seeds or not questions or resamples < 1:
        raise ValueError(
            f'expected seeds, questions and resamples, got {seeds}, {questions} and {resamples}.'
        )
    rng = np.random.default_rng(seed)
    # Questions on which all runs agree alike are alike: drawing how many of each kind there are
    # is the same as drawing questions, and the kinds are few.
    kinds, counts = np.unique(np.concatenate([first, second]), axis=1, return_counts=True)
    ours, theirs = kinds[:seeds].astype(np.float64), kinds[seeds:].astype(np.float64)
    drawn = []
    for start in range(0, resamples, step := max(_CHUNK // len(counts), 1)):
        size = min(step, resamples - start)
        weights = rng.multinomial(questions, counts / questions, size) / questions
        mine, other = (rng.multinomial(seeds, np.full(seeds, 1 / seeds), size) for _ in range(2))
        drawn.append((weights * (mine @ ours - other @ theirs)).sum(axis=1) / seeds)
    differences = np.concatenate(drawn)
    low, high = np.quantile(differences, [0.5 - confidence / 2, 0.5 + confidence / 2])
    tiny = 1e-12  # sums of shares round, and a tie must count on both sides
    side = min((differences <= tiny).sum(), (differences >= -tiny).sum())
    p_value = min(2 * (side + 1) / (resamples + 1), 1.0)
    return BootstrapDifference(
        float(first.mean() - second.mean()), float(low), float(high), float(p_value)
    )


def discordance(
    first: Bool[np.ndarray, 'seeds questions'], second: Bool[np.ndarray, 'seeds questions']
) -> float:
    """The mean over questions of the squared difference of the two methods' mean over seeds.

    For one seed that is the share of discordant pairs: questions that only one method answers
    right. The precision of a paired comparison depends on it, see `detectable_difference`.

    Examples:
      >>> discordance(np.array([[True, True, False, False]]), np.array([[True, False, True, True]]))
      0.75
    """
    _check(first, second)
    return float(np.square(first.mean(axis=0) - second.mean(axis=0)).mean())


def detectable_difference(
    questions: int,
    discordance: float,
    *,
    seeds: int = 1,
    level: float = 0.05,
    power: float = 0.8,
) -> float:
    """The smallest true difference in accuracy that a paired test would mostly detect.

    With N questions, discordance psi and true difference delta, McNemar's statistic is about
    normal with mean sqrt(N) delta, and variance psi as the test has it but psi - delta^2 in truth.
    It passes the test's threshold with the asked power where

        sqrt(N) delta = z_level sqrt(psi) + z_power sqrt(psi - delta^2),

    which is solved by delta = k sqrt(psi), k depending only on N. A difference is made of
    discordant questions, so psi >= delta / seeds: where k sqrt(psi) would be more than psi allows,
    psi is raised to that bound, and delta = k^2 / seeds. Whatever was observed, the result is
    therefore above 0.

    Args:
      questions: N, of the test set.
      discordance: psi; of runs that were done, `discordance(first, second)`. For one seed each
        it is the share of questions that only one method answers right.
      seeds: runs of each method that the per-question differences are means of. Chance in the
        seeds themselves is not in it; it comes on top.
      level: of the two-sided test.
      power: probability of detecting it.

    Returns:
      the difference as a share, at most 1, which is also the answer where there are too few
      questions for any.

    Raises:
      ValueError: if an argument is out of its range.

    References:
      Miettinen, The matched pairs design in the case of all-or-none responses (1968).
      Connor, Sample size for testing differences in proportions for the paired-sample design
        (1987).

    Examples:
      SVAMP's 200 test questions, a fifth of which only one of two students answers right:

      >>> round(100 * detectable_difference(200, 0.2), 1)
      8.8
    """
    if questions < 0 or seeds < 1 or not 0 <= discordance <= 1:
        raise ValueError(
            'expected questions >= 0, seeds >= 1 and a discordance in [0, 1], '
            f'got {questions}, {seeds} and {discordance}.'
        )
    if not 0 < level < 1 or not 0.5 <= power < 1:
        raise ValueError(f'expected level in (0, 1), power in [0.5, 1), got {level} and {power}.')
    z_level, z_power = stats.norm.ppf(1 - level / 2), stats.norm.ppf(power)
    if questions <= z_level**2:
        return 1.0
    root = math.sqrt(questions + z_power**2 - z_level**2)
    k = (math.sqrt(questions) * z_level + z_power * root) / (questions + z_power**2)
    return float(min(k * max(math.sqrt(discordance), k / seeds), 1.0))


def detectable_by_interval(low: float, high: float, *, power: float = 0.8) -> float:
    """The smallest true difference that an estimate with this 95 % interval would mostly detect.

    Unlike `detectable_difference` it knows all that the interval covers, such as the seeds. It is
    (z_level + z_power) standard errors, the interval being 2 z_level of them wide.

    Args:
      low: lower end of the interval of the difference.
      high: upper end.
      power: probability of an interval without 0.

    Examples:
      >>> round(detectable_by_interval(-1.0, 3.0), 2)
      2.86
    """
    z_level, z_power = stats.norm.ppf(0.975), stats.norm.ppf(power)
    return float((high - low) * (z_level + z_power) / (2 * z_level))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment: compared with 0.05, the chance of any false alarm stays below 5 %.

    Args:
      p_values: of all comparisons that are made side by side.

    Returns:
      the adjusted p-values, in the same order.

    Raises:
      ValueError: if one is not in [0, 1].

    References:
      Holm, A simple sequentially rejective multiple test procedure (1979).

    Examples:
      >>> holm([0.03, 0.01, 0.04])
      [0.06, 0.03, 0.06]
    """
    values = np.asarray(p_values, np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError(f'expected p-values in [0, 1], got {list(p_values)}.')
    order = np.argsort(values, kind='stable')
    factors = np.arange(len(values), 0, -1)
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(factors * values[order]), 1.0)
    return adjusted.tolist()


def _check(first: np.ndarray, second: np.ndarray) -> None:
    if first.ndim != 2 or first.shape != second.shape:
        raise ValueError(
            'expected two arrays [seeds, questions] of one shape, '
            f'got {first.shape} and {second.shape}.'
        )
