"""Comparing answers by what they mean, not by how they are spelled.

Everything here reads text that a model wrote. It is treated as data: never evaluated, never a
pattern, a path or a template, and whatever is not understood, or is too large, is no answer
(`None`). Two answers compare equal exactly if their canonical forms do, and one that cannot be read
equals none. The reading itself is in `equations`, `options` and `classes`.
"""

import functools
from collections.abc import Hashable, Sequence

from qcrd_jax.data.classes import is_class, named_class
from qcrd_jax.data.equations import equation_value
from qcrd_jax.data.markup import plain
from qcrd_jax.data.options import is_option, named_option, without_letter
from qcrd_jax.data.phrases import folded
from qcrd_jax.data.schema import NLI_CLASSES, AnswerType

MAX_CHARACTERS = 1000  # an answer is short; longer text is not looked at

# They change what is shown, or its order: what is read would not be what a person sees.
_CONTROLS = frozenset('\x1b\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069')


def canonical(text: str, answer_type: AnswerType, options: Sequence[str] = ()) -> Hashable | None:
    """Returns what the answer means, as a value to compare and to count votes by.

    Args:
      text: an answer: a label, a prediction or the answer that a teacher stated.
      answer_type: how it is read.
        'equation': its exact value, a `Fraction`.
        'choice': the option that its words or its letter name, casefolded; without `options`, its
        casefolded words without the letter.
        'class': the class that it names, casefolded.
        'text': the casefolded text, white space collapsed.
      options: what the answer is one of: the choices in the order (a), (b), ..., or the classes;
        () for a 'class' stands for `NLI_CLASSES`. Not read for an 'equation' or a 'text'.

    Returns:
      A hashable value, or None where the text holds no answer or more than one.

    Examples:
      >>> canonical('( 84.0 / 2.0 )', 'equation') == canonical('So 84 / 2 = 42 points', 'equation')
      True
      >>> canonical('3 birds and 10 storks', 'equation') is None
      True
      >>> canonical('(b)', 'choice', ['bank', 'math problem'])
      'math problem'
      >>> canonical('It is not possible to tell.', 'class')
      'neutral'
    """
    if len(text) > MAX_CHARACTERS:
        return None
    return _canonical(text, answer_type, tuple(options))


@functools.lru_cache(maxsize=1 << 15)  # the same few answers are read over and over
def _canonical(text: str, answer_type: AnswerType, options: tuple[str, ...]) -> Hashable | None:
    if not _CONTROLS.isdisjoint(text):
        return None
    match answer_type:
        case 'equation':
            return equation_value(plain(text))
        case 'choice':
            text = plain(text)
            return named_option(text, options) if options else folded(without_letter(text)) or None
        case 'class':
            return named_class(plain(text), options or NLI_CLASSES)
        case 'text':
            return folded(text) or None


def only_names(text: str, answer_type: AnswerType, options: Sequence[str] = ()) -> bool:
    """Returns whether the text is a choice or class, by its letter or words, and nothing more."""
    if len(text) > MAX_CHARACTERS:
        return False
    if answer_type == 'choice':
        return is_option(text, tuple(options))
    return answer_type == 'class' and is_class(text, tuple(options) or NLI_CLASSES)


def answers_match(
    prediction: str, label: str, answer_type: AnswerType, options: Sequence[str] = ()
) -> bool:
    """Returns whether the prediction can be read and means the same as the label."""
    value = canonical(label, answer_type, options)
    return value is not None and canonical(prediction, answer_type, options) == value
