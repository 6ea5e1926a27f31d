"""Whether a difference is more than chance, over seeds and over the questions of a test set.

Two things are drawn by chance: the questions of the test set, which every method answers alike,
and the seed of a run. `mean_interval` covers only the seeds, `mcnemar` only the questions, and
`paired_bootstrap` both. In a cross-validation the training set is a third: `fold_interval`.
What could be detected is computed in `power`.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
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


class FoldTest(NamedTuple):
    """The difference of two accuracies over folds, as shares: first minus second.

    Attributes:
      difference: mean over the folds.
      half_width: of its interval.
      p_value: two-sided.
    """

    difference: float
    half_width: float
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
      - Student, The probable error of a mean (1908).

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
      the probability of a `|D|` at least as large; 1 where the methods differ on no question.

    Raises:
      ValueError: if the shapes differ.

    References:
      - McNemar, Note on the sampling error of the difference between correlated proportions or
        percentages (1947).
      - Obuchowski, On the comparison of correlated proportions for clustered data (1998).
      - Durkalski, Palesch, Lipsitz and Rust, Analysis of clustered matched-pair data (2003).

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
    folds: Int[np.ndarray, ' questions'] | None = None,
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

    In a cross-validation a run is a seed in a fold: it answers the questions of that fold only, and
    that seed 0 was lucky in one says nothing of seed 0 in another, where it sees other data. So
    questions carry their fold, and the seeds are redrawn in each fold by itself.

    Args:
      first: whether the first method's run with this seed answers the question right.
      second: the same of the second method.
      folds: of each question, the fold whose runs answered it; None: one set of runs answered all.
      resamples: how many to draw.
      seed: of the draws.
      confidence: of the interval.

    Returns:
      difference, percentile interval and two-sided p-value: twice the smaller share of resamples
      on either side of no difference, the observed data counted as one of them, so never 0.

    Raises:
      ValueError: if the shapes differ, or there is nothing to draw from.

    References:
      - Efron and Tibshirani, An introduction to the bootstrap (1993).
      - Davison and Hinkley, Bootstrap methods and their application (1997), section 4.2.
      - Owen, The pigeonhole bootstrap (2007).

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
    # Questions of a fold on which all runs agree alike are alike: drawing how many of each kind
    # there are is the same as drawing questions, and the kinds are few.
    fold = (
        np.zeros(questions, np.int64) if folds is None else np.unique(folds, return_inverse=True)[1]
    )
    kinds, counts = np.unique(np.vstack([fold, first, second]), axis=1, return_counts=True)
    ours, theirs = kinds[1 : seeds + 1].astype(np.float64), kinds[seeds + 1 :].astype(np.float64)
    # The kinds are in the order of their folds.
    ends = np.cumsum(np.bincount(kinds[0]))[:-1]
    parts = [*zip(np.split(ours, ends, axis=1), np.split(theirs, ends, axis=1), strict=True)]
    drawn = []
    for start in range(0, resamples, step := max(_CHUNK // len(counts), 1)):
        size = min(step, resamples - start)
        weights = rng.multinomial(questions, counts / questions, size) / questions
        means = []
        for mine, other in parts:
            lots = (rng.multinomial(seeds, np.full(seeds, 1 / seeds), size) for _ in range(2))
            means.append(next(lots) @ mine - next(lots) @ other)
        drawn.append((weights * np.concatenate(means, axis=1)).sum(axis=1) / seeds)
    differences = np.concatenate(drawn)
    low, high = np.quantile(differences, [0.5 - confidence / 2, 0.5 + confidence / 2])
    tiny = 1e-12  # sums of shares round, and a tie must count on both sides
    side = min((differences <= tiny).sum(), (differences >= -tiny).sum())
    p_value = min(2 * (side + 1) / (resamples + 1), 1.0)
    return BootstrapDifference(
        float(first.mean() - second.mean()), float(low), float(high), float(p_value)
    )


def fold_interval(
    differences: Float[np.ndarray, ' folds'], *, confidence: float = 0.95
) -> FoldTest:
    """The mean difference over the folds of a cross-validation, for other training sets too.

    `paired_bootstrap` and `mcnemar` speak of students that were trained on these training sets. A
    statement on a method when it is trained on other questions has the folds as its units. Their
    results are not independent: any two of F training sets share (F - 2) / (F - 1) of their
    questions, so that the variance between folds, divided by F, is less than that of their mean,
    and no unbiased estimate of the latter exists. Nadeau and Bengio take the correlation of two
    results to be the share n_test / (n_train + n_test) and correct the variance:

        Var(mean) = (1 / F + n_test / n_train) S^2,    n_test / n_train = 1 / (F - 1) here,

    S^2 being the variance between folds, with Student's t of F - 1 degrees of freedom. Several
    seeds of a fold share its questions and its training set, so they are averaged first and do not
    count as units: Bouckaert and Frank's larger number of them is for repeated partitions.

    Args:
      differences: first method's accuracy minus the second's of each fold, mean over the seeds, as
        shares; at least two.
      confidence: of the interval.

    Returns:
      mean, half width of its interval, two-sided p-value. Without any variance between the folds
      the p-value is 0, or 1 where they all are 0.

    Raises:
      ValueError: if there are fewer than two.

    References:
      - Nadeau and Bengio, Inference for the generalization error (2003).
      - Bengio and Grandvalet, No unbiased estimator of the variance of K-fold cross-validation
        (2004).
      - Bouckaert and Frank, Evaluating the replicability of significance tests for comparing
        learning algorithms (2004).

    Examples:
      >>> test = fold_interval(np.array([0.03, 0.01, 0.02, 0.04, 0.0]))
      >>> round(test.difference, 3), round(test.half_width, 4), round(test.p_value, 3)
      (0.02, 0.0294, 0.132)
    """
    folds = differences.size
    if differences.ndim != 1 or folds < 2:
        raise ValueError(f'expected the differences of two folds or more, got {differences}.')
    mean = float(differences.mean())
    error = math.sqrt((1 / folds + 1 / (folds - 1)) * differences.var(ddof=1))
    half_width = float(stats.t.ppf(0.5 + confidence / 2, folds - 1) * error)
    if not error:
        return FoldTest(mean, half_width, float(mean == 0))
    return FoldTest(mean, half_width, float(2 * stats.t.sf(abs(mean) / error, folds - 1)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment: compared with 0.05, the chance of any false alarm stays below 5 %.

    Args:
      p_values: of all comparisons that are made side by side.

    Returns:
      the adjusted p-values, in the same order.

    Raises:
      ValueError: if one is not in [0, 1].

    References:
      - Holm, A simple sequentially rejective multiple test procedure (1979).

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
