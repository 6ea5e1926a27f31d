"""What difference of two methods a comparison could detect, before it is made and after.

`detectable_difference` speaks of one paired test with a known discordance, `detectable_by_interval`
of a comparison whose interval is known, and `planned` of the comparison that a design will make,
under assumptions that are stated: `significance.paired_bootstrap` and `mcnemar` on that many
questions, seeds and folds.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Bool, Int
from scipy import stats

LEVEL, POWER = 0.05, 0.8
"""Of the two-sided tests, the probability of a difference where none is, and of finding one."""


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
    if first.ndim != 2 or first.shape != second.shape:
        raise _unlike(first, second)
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
      - Miettinen, The matched pairs design in the case of all-or-none responses (1968).
      - Connor, Sample size for testing differences in proportions for the paired-sample design
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
    bound = _smallest(questions, 1.0, 1.0, level, power) / seeds
    psi = max(discordance, bound**2)
    return _smallest(questions, psi, psi, level, power)


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


@dataclasses.dataclass(frozen=True)
class Design:
    """How much is run to compare two methods.

    Attributes:
      questions: N, of the test set; of all folds together.
      seeds: S, of each method, in each fold.
      folds: F, of a cross-validation; 1: there is one test set.
    """

    questions: int
    seeds: int
    folds: int = 1


@dataclasses.dataclass(frozen=True)
class Assumption:
    """What is taken to hold of the runs of two methods; all are shares.

    Attributes:
      right: of the questions, in a run.
      discordance: of the questions, those that only one of two runs, one of each method, answers
        right.
      lasting: the part of the discordance that means over many seeds keep, as the methods differ in
        these questions; the other part is that of two runs of one method.
      luck: standard deviation by which a whole run is better or worse than others of its method,
        beside that of its single answers.
    """

    right: float
    discordance: float
    lasting: float
    luck: float

    @classmethod
    def of_accuracy(cls, right: float) -> 'Assumption':
        """What is assumed of methods of which only an accuracy is known, or guessed.

        Their right answers are taken to be correlated by 1/2, which makes the discordance
        right (1 - right); a fifth of it lasts, and luck is one point.

        Examples:
          >>> Assumption.of_accuracy(0.5)
          Assumption(right=0.5, discordance=0.25, lasting=0.05, luck=0.01)
        """
        discordance = right * (1 - right)
        return cls(right, discordance, lasting=discordance / 5, luck=0.01)


def measured(
    first: Bool[np.ndarray, 'seeds questions'],
    second: Bool[np.ndarray, 'seeds questions'],
    folds: Int[np.ndarray, ' questions'] | None = None,
) -> Assumption:
    """Returns what finished runs of two methods show.

    From one seed each nothing is known of what lasts, nor of luck: these are as
    `Assumption.of_accuracy` has them.

    Args:
      first: whether the first method's run with this seed answers the question right.
      second: the same of the second method.
      folds: of each question, the fold whose runs answered it; None: one set of runs answered all.
    """
    seeds, questions = first.shape
    if first.shape != second.shape or not seeds or not questions:
        raise _unlike(first, second)
    one, other = first.mean(axis=0), second.mean(axis=0)
    right = float((one.mean() + other.mean()) / 2)
    discordance = float((one * (1 - other) + other * (1 - one)).mean())
    if seeds == 1:
        return Assumption(right, discordance, discordance / 5, Assumption.of_accuracy(right).luck)
    # Of two seeds of one method; p (1 - p) of few seeds is less than that of many.
    within = [2 * share * (1 - share) * seeds / (seeds - 1) for share in (one, other)]
    lasting = discordance - float(np.mean(within))
    fold = np.zeros(questions, np.int64) if folds is None else folds
    luck = []
    for runs, noise in zip((first, second), within, strict=True):
        for number in np.unique(fold):
            its = fold == number
            between = runs[:, its].mean(axis=1).var(ddof=1)
            luck.append(between - noise[its].mean() / 2 / its.sum())
    return Assumption(
        right, discordance, max(lasting, 0.0), math.sqrt(max(float(np.mean(luck)), 0.0))
    )


def planned(
    design: Design,
    assumption: Assumption,
    *,
    comparisons: int = 1,
    level: float = LEVEL,
    power: float = POWER,
) -> float:
    """The smallest true difference in accuracy that a comparison would mostly detect.

    With discordance psi, of which lambda lasts, luck sigma and R = S F runs of each method, the
    difference of the mean accuracies on N questions has the variance

        V = (lambda + (psi - lambda) / S - delta^2) / N + 2 sigma^2 / R.

    It must pass `mcnemar`, which takes it to be the first part of V, and `paired_bootstrap`, which
    counts the disagreement of seeds about single questions 3 - 2 / S times and luck (S - 1) / S
    times. With the largest of these and of V as V_test it does so with the asked power where

        delta = z_level sqrt(V_test) + z_power sqrt(V),

    as in `detectable_difference`, which it is for one seed without luck, and never falls below.
    The level is that of Holm's first step, which the smallest p-value of the table has to pass.

    Args:
      design: what is run.
      assumption: what is taken to hold of the runs.
      comparisons: made side by side, for Holm's correction.
      level: of the two-sided tests, after that correction.
      power: probability of detecting the difference.

    Returns:
      the difference as a share, at most 1.

    Raises:
      ValueError: if an argument is out of its range.

    Examples:
      SVAMP's 200 questions, and all 1000 of them in five folds:

      >>> of_paper = Assumption.of_accuracy(0.655)
      >>> one_test, all_questions = Design(200, 5), Design(1000, 5, folds=5)
      >>> [round(100 * planned(each, of_paper), 1) for each in (one_test, all_questions)]
      [7.0, 3.2]
    """
    questions, seeds = design.questions, design.seeds
    if seeds < 1 or design.folds < 1 or comparisons < 1:
        raise ValueError(f'expected seeds, folds and comparisons of 1 or more, got {design}.')
    noise = (assumption.discordance - assumption.lasting) / seeds
    luck = 2 * assumption.luck**2 / (seeds * design.folds) * questions
    true = assumption.lasting + noise + luck
    tested = assumption.lasting + noise * (3 - 2 / seeds) + luck * (seeds - 1) / seeds
    level /= comparisons
    return max(
        _smallest(questions, max(true, tested), true, level, power),
        detectable_difference(
            questions, assumption.lasting + noise, seeds=seeds, level=level, power=power
        ),
    )


def seeds_needed(
    difference: float, design: Design, assumption: Assumption, *, comparisons: int = 1
) -> int:
    """The seeds of each method with which a comparison would mostly detect a difference.

    Args:
      difference: as a share.
      design: its questions and folds.
      assumption: what is taken to hold of the runs.
      comparisons: made side by side, as `planned` has them, with its level and power.

    Returns:
      S; 0 where no number of seeds, up to a million, is enough, as the questions are too few.
    """
    return _needed('seeds', difference, design, assumption, comparisons)


def questions_needed(
    difference: float, design: Design, assumption: Assumption, *, comparisons: int = 1
) -> int:
    """The test questions with which a comparison would mostly detect a difference.

    Args:
      difference: as a share.
      design: its seeds and folds.
      assumption: what is taken to hold of the runs.
      comparisons: made side by side, as `planned` has them, with its level and power.

    Returns:
      N; 0 where no number of questions, up to a million, is enough, as the seeds are too few.
    """
    return _needed('questions', difference, design, assumption, comparisons)


def _needed(
    field: str, difference: float, design: Design, assumption: Assumption, comparisons: int
) -> int:
    """The least number in a field of the design with which a difference is detected."""

    def enough(number: int) -> bool:
        planning = dataclasses.replace(design, **{field: number})
        return planned(planning, assumption, comparisons=comparisons) <= difference

    return _first(enough)


def _first(enough: Callable[[int], bool], most: int = 10**6) -> int:
    """The least number from 1 to `most` that is enough, 0 where none is; more is never worse."""
    if not enough(most):
        return 0
    low, high = 0, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _smallest(questions: int, tested: float, true: float, level: float, power: float) -> float:
    """Solves sqrt(N) delta = z_level sqrt(tested) + z_power sqrt(true - delta^2) for delta."""
    z_level, z_power = stats.norm.ppf(1 - level / 2), stats.norm.ppf(power)
    if questions <= z_level**2:
        return 1.0
    root = math.sqrt(max((questions + z_power**2) * true - z_level**2 * tested, 0.0))
    delta = z_level * math.sqrt(questions * tested) + z_power * root
    return float(min(delta / (questions + z_power**2), 1.0))


def _unlike(first: np.ndarray, second: np.ndarray) -> ValueError:
    return ValueError(
        'expected two arrays [seeds, questions] of one shape, '
        f'got {first.shape} and {second.shape}.'
    )
