"""How good a student's rationales are: right, in agreement with its labels, read, ended, how long.

A rationale is right where it arrives at the gold answer, and agrees with the label where it arrives
at what the student predicts, right or wrong; both are compared by value, as answers are. One that
arrives at nothing readable is neither, and counted as unread. `arrival` has the rule.
"""

import dataclasses
import decimal
from collections.abc import Hashable, Iterable, Sequence
from fractions import Fraction
from typing import Any

from qcrd_jax.data.answers import canonical
from qcrd_jax.data.schema import AnswerType, Example
from qcrd_jax.evaluation.arrival import arrives_at
from qcrd_jax.evaluation.metrics import Ratio, accuracy
from qcrd_jax.evaluation.written import Written

MEASURES = ('accuracy', 'interval', 'agreement', 'unread', 'tokens', 'ended')
"""What a summary has of the rationales of one temperature, behind their name and `_`."""

_DECIMALS = 6  # of an answer that is written as a decimal rather than as a fraction


@dataclasses.dataclass(frozen=True)
class Reading:
    """A rationale that was read.

    Attributes:
      answer: where it arrives, as text; None where nothing can be read.
      correct: whether that is the gold answer.
      agrees: whether that is what the student predicts.
      tokens: its length, without EOS.
      ended: whether it ends by EOS.
    """

    answer: str | None
    correct: bool
    agrees: bool
    tokens: int
    ended: bool

    def fields(self, name: str) -> dict[str, Any]:
        """The reading as fields of `predictions.jsonl`, behind the name of the rationale."""
        return {f'{name}_{field}': value for field, value in dataclasses.asdict(self).items()}


@dataclasses.dataclass(frozen=True)
class Quality:
    """The rationales of all questions.

    Attributes:
      correct: those that arrive at the gold answer.
      agreeing: those that arrive at the predicted label.
      unread: those that arrive at nothing readable, which are neither.
      ended: those that end by EOS.
      tokens: of all of them, without EOS.
    """

    correct: Ratio
    agreeing: Ratio
    unread: Ratio
    ended: Ratio
    tokens: int

    @property
    def mean_tokens(self) -> float | None:
        """Length of a rationale; None where there is none."""
        return self.tokens / self.correct.denominator if self.correct.denominator else None


def name_at(temperature: float | int) -> str:
    """Returns how records call the rationales of a temperature.

    >>> name_at(0.0), name_at(0.7), name_at(1) == name_at(1.0)
    ('rationale', 'rationale_t0.7', True)
    """
    return f'rationale_t{float(temperature)}' if temperature else 'rationale'


def read(written: Written, example: Example, prediction: str, answer_type: AnswerType) -> Reading:
    """Reads a rationale and compares where it arrives.

    Args:
      written: the rationale.
      example: the question, with the gold answer as its label.
      prediction: the label that the student predicts, which may be anything.
      answer_type: of the question.

    Example:
      >>> example = Example('q', 'Ava has 2 pens and gets 3.', '( 2 + 3 )')
      >>> read(Written('2 + 3 = 6 pens.', 8, True), example, '( 3 + 2 )', 'equation')
      Reading(answer='6', correct=False, agrees=False, tokens=8, ended=True)
    """
    value = arrives_at(written.text, answer_type, example.options)
    gold, predicted = (
        canonical(text, answer_type, example.options) for text in (example.label, prediction)
    )
    return Reading(
        answer=None if value is None else _spelled(value),
        correct=value is not None and value == gold,
        agrees=value is not None and value == predicted,
        tokens=written.tokens,
        ended=written.ended,
    )


def quality(readings: Iterable[Reading]) -> Quality:
    """Counts readings, one of each question."""
    readings = list(readings)
    return Quality(
        correct=accuracy(each.correct for each in readings),
        agreeing=accuracy(each.agrees for each in readings),
        unread=accuracy(each.answer is None for each in readings),
        ended=accuracy(each.ended for each in readings),
        tokens=sum(each.tokens for each in readings),
    )


def summary(name: str, found: Quality | None) -> dict[str, Any]:
    """Returns the fields of `summary.json`: shares, mean tokens, and an interval of the accuracy.

    Args:
      name: of the rationales, see `name_at`.
      found: their quality; None of a student that learned to write none, all of whose fields are
        None.
    """
    values: Sequence[Any] = [None] * len(MEASURES)
    if found is not None:
        values = (
            found.correct.value,
            found.correct.interval,
            found.agreeing.value,
            found.unread.value,
            found.mean_tokens,
            found.ended.value,
        )
    return {f'{name}_{field}': value for field, value in zip(MEASURES, values, strict=True)}


def _spelled(value: Hashable) -> str:
    """The value as a short text: whole numbers and short decimals as such."""
    if not isinstance(value, Fraction):
        return str(value)
    if (value * 10**_DECIMALS).denominator > 1:
        return str(value)
    number = decimal.Decimal(value.numerator) / decimal.Decimal(value.denominator)
    return f'{number:f}'
