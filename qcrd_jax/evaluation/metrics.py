"""Figures of merit on plain arrays; they divide a numerator by its denominator only at the end."""

import dataclasses
import math
from collections.abc import Iterable, Sequence

import jax
import numpy as np
from jaxtyping import Real


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A share that is still two counts, so that batches add up exactly.

    Attributes:
      numerator: how many of the examples have the property, for instance a right answer.
      denominator: how many examples were looked at, each once.

    Example:
      >>> sum([Ratio(3, 4), Ratio(1, 1)], Ratio())
      Ratio(numerator=4, denominator=5)
      >>> Ratio(4, 5).value
      0.8
    """

    numerator: int = 0
    denominator: int = 0

    def __post_init__(self):
        if not 0 <= self.numerator <= self.denominator:
            raise ValueError(
                'expected 0 <= numerator <= denominator, '
                f'got {self.numerator} and {self.denominator}.'
            )

    def __add__(self, other: 'Ratio') -> 'Ratio':
        return Ratio(self.numerator + other.numerator, self.denominator + other.denominator)

    @property
    def value(self) -> float | None:
        """The share in [0, 1]; None where nothing was counted (null in JSON, where NaN is not)."""
        return self.numerator / self.denominator if self.denominator else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's 95 % interval of the share, or None where nothing was counted.

        It holds for small test sets and for shares near 0 and 1, where the usual +-1.96 standard
        errors leave [0, 1]. It only covers the draw of the examples, not the seed of training.

        References:
          Wilson, Probable inference, the law of succession, and statistical inference (1927).
        """
        if not self.denominator:
            return None
        z = 1.959963984540054  # the standard normal's 97.5 % point
        n, p = self.denominator, self.numerator / self.denominator
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(centre - half, 0.0), min(centre + half, 1.0)


def accuracy(correct: Iterable[bool | np.bool_]) -> Ratio:
    """Counts the right answers.

    Args:
      correct: for every example once, whether its answer matches the label by value.

    Returns:
      right answers over answers; `.value` is the accuracy.

    Example:
      >>> accuracy([True, False, True, True]).value
      0.75
    """
    outcomes = [bool(outcome) for outcome in correct]
    return Ratio(sum(outcomes), len(outcomes))


def roc_auc(
    positive_scores: Real[np.ndarray | jax.Array, ' P'] | Sequence[float],
    negative_scores: Real[np.ndarray | jax.Array, ' Q'] | Sequence[float],
) -> float | None:
    """Area under the ROC curve: how well a score separates two classes.

    It is the probability that a random positive scores above a random negative, a tie counting
    one half (Mann and Whitney's U over the number of pairs): 1 for perfect separation, 0.5 for
    none. Only the order of the scores matters.

    Args:
      positive_scores: scores of the P positives, on any scale.
      negative_scores: scores of the Q negatives, on the same scale.

    Returns:
      the area in [0, 1], or None where either class is empty: nothing can be separated then.

    Raises:
      ValueError: if a score is NaN, which has no place in the order.

    Example:
      >>> roc_auc([0.9, 0.5], [0.1, 0.5])
      0.875
    """
    positives = np.asarray(positive_scores, np.float64)
    negatives = np.sort(np.asarray(negative_scores, np.float64))
    if np.isnan(positives).any() or np.isnan(negatives).any():
        raise ValueError('expected scores that can be ordered, got NaN.')
    if not positives.size or not negatives.size:
        return None
    below = np.searchsorted(negatives, positives, side='left')
    below_or_equal = np.searchsorted(negatives, positives, side='right')
    return float((below + below_or_equal).sum() / 2 / (positives.size * negatives.size))
