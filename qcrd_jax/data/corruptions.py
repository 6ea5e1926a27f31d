"""Where a rationale can be changed to become worse: numbers, operators, claims and words."""

import dataclasses
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Literal

from qcrd_jax.data import lexicon
from qcrd_jax.data.tagging import NUMBER, Word

Kind = Literal['operator', 'number', 'claim', 'word']

CONTENT_TAGS = ('NOUN', 'VERB', 'ADJ', 'ADV', 'NUM', 'PROPN')
_NAMING = frozenset(('NOUN', 'PROPN', 'X'))
_WEIGHTS = {'NOUN': 1.0, 'VERB': 0.8, 'ADJ': 0.8, 'NUM': 2.0, 'ADV': 0.4, 'PROPN': 0.1}


@dataclasses.dataclass(frozen=True)
class Target:
    """A place that can be changed.

    Attributes:
      start: of its first character.
      end: after its last character.
      kind: what is changed: an operator, a number in digits, what a sentence claims, or a word.
      weight: how often it is drawn, against others.
      options: what may stand there instead; () where the rest of the rationale decides.
      tag: the part of speech of a word.
    """

    start: int
    end: int
    kind: Kind
    weight: float
    options: tuple[str, ...] = ()
    tag: str = ''


def find_targets(text: str, words: Sequence[Word], arithmetic: bool) -> list[Target]:
    """Returns every place that may be changed; function words only where there is nothing else.

    Args:
      text: the rationale.
      words: of the text, with their parts of speech.
      arithmetic: whether operators count.
    """
    targets = [*_numbers(text, arithmetic), *_claims(text, words), *_words(text, words)]
    if arithmetic:
        targets += _operators(text)
    return targets or [
        Target(word.start, word.end, 'word', 1.0, tag=word.tag)
        for word in words
        if any(character.isalnum() for character in text[word.start : word.end])
    ]


# --- calculations ---------------------------------------------------------------------------------

NUMBER_PATTERN = re.compile(rf'(?<![\w.,]){NUMBER}(?!\w|[.,][0-9])')
_LIST_MARKER = re.compile(r'(?:^|\n)[ \t]*$|\bstep $', re.IGNORECASE)  # what stands before `2.`
_OPERATOR = re.compile(
    rf'(?<=[\w)%])(?P<space>[ \t]*)(?P<sign>[-+*/×÷])(?P=space)(?=[($]*{NUMBER})'
)
_LEFT = re.compile(rf'(?:^|[^\w.,])({NUMBER})$')
_RIGHT = re.compile(rf'[ \t]*({NUMBER})(?:[ \t]*=[ \t]*({NUMBER})(?![\w/*+-]|[.,][0-9]))?')
_YEARS = re.compile(r'(?<![0-9])[0-9]{4}$')
_CALCULATE = {
    '+': lambda a, b: a + b,
    '-': lambda a, b: a - b,
    '*': lambda a, b: a * b,
    '×': lambda a, b: a * b,
    '/': lambda a, b: a / b if b else None,
    '÷': lambda a, b: a / b if b else None,
}


def value(number: str) -> Fraction:
    """The value of a number in digits, which may have separators of thousands."""
    return Fraction(number.replace(',', ''))


def _numbers(text: str, arithmetic: bool) -> Iterator[Target]:
    """Yields numbers in digits; in arithmetic those that are calculated with count double."""
    for match in NUMBER_PATTERN.finditer(text):
        start, end = match.span()
        if text[end : end + 1] in ('.', ')', ':') and _LIST_MARKER.search(text, 0, start):
            continue
        beside = text[max(0, start - 3) : start] + text[end : end + 3]
        calculated = not arithmetic or any(sign in beside for sign in '=+-*/×÷')
        yield Target(start, end, 'number', 2.0 if calculated else 1.0, tag='NUM')


def _operators(text: str) -> Iterator[Target]:
    """Yields operators, with those that give another value in their place.

    `10 - 6 = 4` may become `10 + 6 = 4` or, as a wrong operation done right, `10 + 6 = 16`.
    """
    for match in _OPERATOR.finditer(text):
        start, end = match.span()
        sign, space = match.group('sign', 'space')
        if (
            sign == '-'
            and not space
            and (text[start - 1].isalpha() or _YEARS.search(text, 0, start))
        ):
            continue  # `covid-19`, `2010-2014`
        left, right = _LEFT.search(text, max(0, start - 40), start), _RIGHT.match(text, end)
        if left is None or right is None:  # its operands are words or in brackets
            options = tuple(f'{space}{other}{space}' for other in '+-*/' if other != sign)
            yield Target(start, end, 'operator', 2.0, options)
            continue
        operands = value(left.group(1)), value(right.group(1))
        results = {other: _CALCULATE[other](*operands) for other in ('+', '-', '*', '/', sign)}
        options = []
        for other in '+-*/':
            if results[other] == results[sign]:  # by accident, as in 2 + 2 and 2 * 2
                continue
            options.append(f'{space}{other}{space}{right.group()}')
            if right.group(2) and value(right.group(2)) == results[sign]:
                options += _recalculated(options[-1], right.group(2), results[other])
        yield Target(start, right.end(), 'operator', 2.0, tuple(options))


def _recalculated(equation: str, result: str, new: Fraction | None) -> list[str]:
    """The equation with its new result, written as the old one was; none that is not whole."""
    if new is None or new.denominator != 1 or not 0 <= new < 10**12:
        return []
    point = result.find('.')
    decimals = '' if point < 0 else '.' + '0' * (len(result) - point - 1)
    separator = ',' if ',' in result else ''
    return [f'{equation[: len(equation) - len(result)]}{int(new):{separator}}{decimals}']


# --- claims ---------------------------------------------------------------------------------------


def _any_of(phrases: Sequence[str]) -> str:
    return '|'.join(re.escape(phrase) for phrase in sorted(phrases, key=len, reverse=True))


_NOT = re.compile(
    rf'\b(?P<kept>{_any_of([*lexicon.NEGATED, *lexicon.POSITIVE, "have", "has", "had"])})'
    r'(?: ?not\b| ?n[’\']t\b)(?! only\b)'
    r'|\bnot (?P<more>all|every|everyone|each|any|necessarily)\b',
    re.IGNORECASE,
)
_FLIP = re.compile(rf'(?<!\w)(?:{_any_of([*lexicon.FLIPS])})(?!\w)', re.IGNORECASE)
_DOUBT = re.compile(
    r'\b(?:not|cannot|no|never|nor|neither|nobody|nothing|none|without|if|whether|either|unless|'
    r'may|might|could)\b|n[’\']t\b',
    re.IGNORECASE,
)
_SENTENCE = re.compile(r'[^.!?;\n]+')


def _claims(text: str, words: Sequence[Word]) -> Iterator[Target]:
    """Yields what turns a sentence round; where several changes fit, the first found is taken."""
    taken: set[int] = set()
    for target in (
        *_denials(text),
        *_flips(text),
        *_opposites(text, words),
        *_negatable(text, words),
    ):
        span = range(target.start, target.end)
        if taken.isdisjoint(span):
            taken.update(span)
            yield target


def _denials(text: str) -> Iterator[Target]:
    """`is not`, `doesn't`, `cannot` and `not all` without their `not`."""
    for match in _NOT.finditer(text):
        kept = match.group('kept') or match.group('more')
        kept = lexicon.POSITIVE.get(kept.casefold(), kept)
        yield Target(*match.span(), 'claim', 4.0, (like(kept, match.group()),))


def _flips(text: str) -> Iterator[Target]:
    for match in _FLIP.finditer(text):
        flipped = lexicon.FLIPS[match.group().casefold()]
        yield Target(*match.span(), 'claim', 2.0, (like(flipped, match.group()),))


def _opposites(text: str, words: Sequence[Word]) -> Iterator[Target]:
    plain = _plain(text)
    for i, (start, end, tag) in enumerate(words):
        word = text[start:end]
        opposite = lexicon.OPPOSITES.get(tag, {}).get(word.casefold())
        if opposite is None or _is_of_frame(text, words, i):
            continue
        if ' not ' not in opposite or start in plain:
            yield Target(start, end, 'claim', 2.0, (like(opposite, word),))


def _negatable(text: str, words: Sequence[Word]) -> Iterator[Target]:
    """Yields auxiliaries and verbs (`makes`) that take a `not`.

    Not in the frame of a rationale: `the answer must not be` would give away every corruption.
    """
    plain = _plain(text)
    before = ''
    for start, end, tag in words:
        word = text[start:end]
        form = word.casefold()
        negated = lexicon.NEGATED.get(form) if tag == 'AUX' else None
        if tag == 'VERB' and form in lexicon.THIRD_PERSON:
            negated = f'does not {lexicon.THIRD_PERSON[form]}'
        if negated and start in plain and before not in lexicon.FIXED:
            yield Target(start, end, 'claim', 1.0, (like(negated, word),))
        before = form


def _plain(text: str) -> set[int]:
    """The places in sentences that neither deny nor doubt.

    `It does not mean that they are sisters` says no less with a second `not`.
    """
    sentences = (match for match in _SENTENCE.finditer(text) if not _DOUBT.search(match.group()))
    return {place for match in sentences for place in range(*match.span())}


# --- words ----------------------------------------------------------------------------------------


def _words(text: str, words: Sequence[Word]) -> Iterator[Target]:
    """Yields content words that another of their kind can replace."""
    for i, (start, end, tag) in enumerate(words):
        form = text[start:end].casefold()
        if not is_content(form, tag) or not form[0].isalpha():  # `_numbers` has those in digits
            continue
        before, after = _neighbours(text, words, i)
        if tag == 'NOUN' and {before, after} & _NAMING:
            continue  # half of a `motor boat`
        if tag == 'VERB' and after not in (
            ('DET',) if form.endswith(('ing', 'ed')) else ('DET', 'NOUN', 'ADJ', 'NUM', 'PROPN')
        ):
            continue  # one without an object: most verbs take one
        if _is_of_frame(text, words, i):
            continue
        exclusive = 5.0 if (tag, form) in lexicon.EXCLUSIVE else 1.0
        yield Target(start, end, 'word', exclusive * _WEIGHTS[tag], tag=tag)


def _neighbours(text: str, words: Sequence[Word], i: int) -> tuple[str, str]:
    """The tags before and after a word, where only a space is between; '' elsewhere."""
    before = after = ''
    if i and text[words[i - 1].end : words[i].start] == ' ':
        before = words[i - 1].tag
    if i + 1 < len(words) and text[words[i].end : words[i + 1].start] == ' ':
        after = words[i + 1].tag
    return before, after


def _is_of_frame(text: str, words: Sequence[Word], i: int) -> bool:
    """Whether the word belongs to the frame: `the first sentence`, `the above choices`."""
    if words[i].tag != 'ADJ' or i + 1 == len(words):
        return False
    return text[words[i + 1].start : words[i + 1].end].casefold() in lexicon.FIXED


def is_content(form: str, tag: str) -> bool:
    """Whether a casefolded word of that part of speech carries content that can be exchanged."""
    if tag == 'ADV' and not form.endswith('ly'):
        return False
    return tag in CONTENT_TAGS and form not in lexicon.FIXED and form not in lexicon.CLOSED_TAG


def like(word: str, model: str) -> str:
    """Returns the word in capitals, or with one, where its model is written so."""
    if len(model) > 1 and model.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if model[:1].isupper() else word
