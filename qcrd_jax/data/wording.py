"""The wording of a question: its words without case, spacing and punctuation.

Two questions are the same where their words are, in their order. Numbers and what stands between
them count: `12 + 5` is not `12 - 5`, and 1,250 is 1250.
"""

import re
import unicodedata
from typing import NamedTuple

from qcrd_jax.data.schema import SEPARATOR, AnswerType, Example
from qcrd_jax.data.sources.questions import with_choices

_THOUSANDS = re.compile(r'(?<=\d),(?=\d{3}(?!\d))')
_NO_DECIMAL = re.compile(r'(?<!\d)[.,]|[.,](?!\d)')
_OPERATOR = re.compile(
    r'(?<=[\d)])\s{0,4}([-*/])\s{0,4}(?=[\d(])|(?<![^\s(])(-)(?=\d)|(?<=\d)\s?(%)'
)
_OPERATORS = {'-': '−', '*': '×', '/': '÷', '%': '٪'}  # which are punctuation elsewhere
_ASCII = str.maketrans('−–—×÷٪', '---*/%')
_DIGIT = re.compile(r'\d')
_NUMBER = re.compile(r'[-+]?\d[\d.,]*')
_MASK = '#'
_FEW_WORDS = 4  # a text of fewer words is told from others by its numbers, `12 + 5 =`


class Wording(NamedTuple):
    """What two questions are compared by.

    Attributes:
      words: of the question; of the premise, if it has a hypothesis.
      rest: of the hypothesis, or one entry for each choice; () for others.
      choices: whether `rest` are choices.
    """

    words: tuple[str, ...]
    rest: tuple[str, ...] = ()
    choices: bool = False


class _Characters(dict[int, str | None]):
    """Maps a code point to what stands for it in a wording; learns as it is asked."""

    def __missing__(self, code: int) -> str | None:
        character = chr(code)
        category = unicodedata.category(character)
        self[code] = _replacement(character, category)
        return self[code]


def _replacement(character: str, category: str) -> str | None:
    if character in '.,' or character in _OPERATORS.values():
        return character  # of a number: others are gone by then
    if character in "'’‘ʼ`´" or (category in ('Cf', 'Cc') and not character.isspace()):
        return None
    if category[0] in 'PZC':
        return ' '
    # Symbols are words of their own, and so are characters of scripts without spaces.
    alone = category[0] == 'S' or (category == 'Lo' and _without_spaces(ord(character)))
    return f' {character} ' if alone else character


def _without_spaces(code: int) -> bool:
    """Returns whether a letter is Thai, Lao, Khmer, Burmese, Chinese or Japanese."""
    return (
        0x0E00 <= code < 0x0F00
        or 0x1000 <= code < 0x10A0
        or 0x1780 <= code < 0x1800
        or 0x3040 <= code < 0x3100
        or 0x3400 <= code < 0xA000
        or 0x20000 <= code < 0x40000
    )


_CHARACTERS = _Characters()


def words_of(text: str) -> tuple[str, ...]:
    """Returns the words of a text; the text itself, stripped, if it has none.

    Examples:
      >>> words_of('Don’t  pay $1,250.50 -- or 3 - 1!')
      ('dont', 'pay', '$', '1250.50', 'or', '3', '−', '1')
    """
    folded = text.casefold()
    if not folded.isascii():
        folded = unicodedata.normalize('NFKC', folded).casefold().translate(_ASCII)
    if any(map(str.isdigit, folded)):
        folded = _THOUSANDS.sub('', folded)
        folded = _OPERATOR.sub(_operator, folded)
    folded = _NO_DECIMAL.sub(' ', folded)
    return tuple(folded.translate(_CHARACTERS).split()) or (text.strip(),)


def _operator(match: re.Match[str]) -> str:
    operation = match[match.lastindex or 0]
    # A sign belongs to its number, `-5`.
    return f' {_OPERATORS[operation]}{"" if match.lastindex == 2 else " "}'


def wording(example: Example, answer_type: AnswerType) -> Wording:
    """Returns the wording of a question, its choices or its hypothesis apart."""
    text = example.input
    if answer_type == 'choice' and example.options:
        text = text.removesuffix(with_choices('', example.options))
        choices = tuple(' '.join(words_of(option)) for option in example.options)
        return Wording(words_of(text), choices, choices=True)
    premise, separator, hypothesis = text.partition(SEPARATOR)
    return Wording(words_of(premise), words_of(hypothesis) if separator else ())


def without_numbers(words: tuple[str, ...], few: int = _FEW_WORDS) -> tuple[str, ...]:
    """Returns the words with `#` for every number.

    Args:
      words: of a text.
      few: texts with fewer words beside their numbers stay as they are.

    Examples:
      >>> without_numbers(('she', 'had', '12', 'red', 'pens'))
      ('she', 'had', '#', 'red', 'pens')
    """
    if not _DIGIT.search(' '.join(words)):
        return words
    if few and sum(map(str.isalpha, words)) < few:
        return words
    return tuple(_MASK if _is_number(word) else word for word in words)


def _is_number(word: str) -> bool:
    return word.lstrip('−')[:1].isdigit() and bool(_NUMBER.fullmatch(word.lstrip('−')))
