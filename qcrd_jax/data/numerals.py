"""Numbers that are wholly or partly written in words: `forty-two`, `2.5 million`, `12 and a half`.

The words of whole numbers are read by text2num. It knows no fractions, dozens or signs, and no
digits before a word; those are read here. What could mean two things is for the caller to refuse.
"""

import math
import re
from collections.abc import Sequence
from fractions import Fraction

import text_to_num

_SCALES = {
    'dozen': 12, 'hundred': 100, 'thousand': 1000, 'lakh': 10**5, 'lac': 10**5, 'million': 10**6,
    'crore': 10**7, 'billion': 10**9, 'trillion': 10**12,
}  # fmt: skip
_LETTER_SCALES = {'k': 1000, 'm': 10**6, 'mn': 10**6, 'b': 10**9, 'bn': 10**9}
_PARTS = {
    'half': 2, 'third': 3, 'quarter': 4, 'fourth': 4, 'fifth': 5, 'sixth': 6, 'seventh': 7,
    'eighth': 8, 'ninth': 9, 'tenth': 10, 'hundredth': 100,
}  # fmt: skip
_CARDINALS = frozenset(
    'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen '
    'sixteen seventeen eighteen nineteen twenty thirty forty fourty fifty sixty seventy eighty '
    'ninety hundred thousand million billion'.split()
)
NUMBER_WORDS = {
    word: text_to_num.text2num(word, 'en') for word in sorted(_CARDINALS) if word not in _SCALES
}
"""The values of words that are numbers by themselves: `zero` to `ninety`."""

_DENOMINATORS = {plural: part for name, part in _PARTS.items() for plural in (name, f'{name}s')}
_DENOMINATORS['halves'] = 2
_MULTIPLES = {plural: scale for name, scale in _SCALES.items() for plural in (name, f'{name}s')}
_SIGNS = ('minus', 'negative')
# Before these `one` stands for a thing, not for a number.
_PRONOUN = frozenset('no each every any this that which the another other some'.split())
_ORDINALS = [['first'], ['second'], *([name] for name in _PARTS if name not in ('half', 'quarter'))]
_LONGEST = 12  # words of one number

_NUMBER = r'(?:[0-9]+(?:,[0-9]{2,3})*(?:\.[0-9]+)?|\.[0-9]+)'
_WORDS = '|'.join(sorted((*_CARDINALS, 'dozen', 'half'), key=len, reverse=True))
_SMALL = {name: str(place) for place, name in enumerate(
    'one two three four five six seven eight nine'.split(), start=1)}  # fmt: skip

_OPERATORS = (
    (re.compile(r'(?<=[0-9)%])\s+minus\s+(?=[$£€]?[0-9(.])', re.IGNORECASE), ' - '),
    (re.compile(r'(?<=[0-9)%])\s+plus\s+(?=[$£€]?[0-9(.])', re.IGNORECASE), ' + '),
    (
        re.compile(r'(?<=[0-9)%])\s+(?:times|multiplied by)\s+(?=[$£€]?[0-9(.])', re.IGNORECASE),
        ' * ',
    ),
    (re.compile(r'(?<=[0-9)%])\s+divided by\s+(?=[$£€]?[0-9(.])', re.IGNORECASE), ' / '),
    (re.compile(r'(?<=[0-9)%])\s+equals\s+(?=[$£€]?[-0-9(.])', re.IGNORECASE), ' = '),
    (re.compile(r'\b(?:minus|negative)\s+(?=[$£€]?[0-9(.])', re.IGNORECASE), '-'),
)
_CURRENCY_SCALE = re.compile(rf'(?<=[$£€₹])\s?({_NUMBER})\s?(k|mn?|bn?)\b(?!-[a-z])', re.IGNORECASE)
_MIXED = re.compile(r'(?<![\w./])([0-9]{1,9})\s+([0-9]{1,9})\s?/\s?([0-9]{1,9})(?![\w.]|/)')
_DENOMINATOR = '|'.join(sorted(_DENOMINATORS, key=len, reverse=True))
_AND_PART = re.compile(
    rf'({_NUMBER})\s+and\s+(?:(an?|{"|".join(_SMALL)}|[0-9]{{1,3}})\s+({_DENOMINATOR})\b'
    r'|([0-9]{1,3})/([0-9]{1,3})(?![0-9/]))',
    re.IGNORECASE,
)
_PART = re.compile(
    rf'({_NUMBER})\s+((?:third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|hundredth)s)\b',
    re.IGNORECASE,
)  # `3 quarters` may be coins, `2 halves` those of a match
_SCALE_WORD = '|'.join(sorted(_MULTIPLES, key=len, reverse=True))
_SCALE = re.compile(
    rf'({_NUMBER}(?:/[0-9]+)?|\([-+*/.0-9]{{1,60}}\))((?:[\s-]{{1,3}}(?:{_SCALE_WORD})\b){{1,3}})',
    re.IGNORECASE,
)
_UNSURE = re.compile(
    rf"""
      \*1[02]0{{0,12}}\)  # a scale, and before ...
      (?i:-[a-z] | \s+(?:and\s+)?(?:{_WORDS})\b)  # `5 million-dollar`, `3 thousand five hundred`
    | [0-9]\s?[kK](?![\w²³^]) | [0-9][MB](?!\w)  # thousands, or a run, or kelvins, or bytes
    | \b(?i:half|twice|thrice|double|triple|(?:third|quarter|fourth|fifth|tenth)s?)\s+
      (?i:of\s+)?(?i:the\s+)?[$£€]?[0-9]  # `half of 84`
    | ± | \+/-  | \b(?i:plus\s+or\s+minus)\b
    """,
    re.VERBOSE,
)


def in_digits(text: str) -> str | None:
    """Returns a text with digits so that signs, scales and fractions in words are arithmetic.

    Args:
      text: with at least one digit; number words that stand by themselves are left alone.

    Returns:
      The text, or None where what a word means beside a number cannot be known.

    Examples:
      >>> in_digits('minus 7'), in_digits('about $2.5 million'), in_digits('12 and a half pies')
      ('-7', 'about $ ((2.5)*1000000)', ' (12+1/2) pies')
      >>> in_digits('half of 84') is None
      True
    """
    for words, operator in _OPERATORS:
        text = words.sub(operator, text)
    text = _CURRENCY_SCALE.sub(
        lambda match: f' ({match[1]}*{_LETTER_SCALES[match[2].lower()]})', text
    )
    text = _MIXED.sub(_mixed, text)
    text = _AND_PART.sub(_and_part, text)
    text = _PART.sub(lambda match: f' ({match[1]}/{_DENOMINATORS[match[2].lower()]})', text)
    text = _SCALE.sub(_scale, text)
    return None if _UNSURE.search(text) else text


def _mixed(match: re.Match[str]) -> str:
    whole, part, parts = match.groups()
    return f' ({whole}+{part}/{parts})' if 0 < int(part) < int(parts) else match[0]


def _scale(match: re.Match[str]) -> str:
    scales = re.findall('[a-z]+', match[2].lower())  # `2 hundred thousand` has two
    return f' (({match[1]})*{math.prod(_MULTIPLES[scale] for scale in scales)})'


def _and_part(match: re.Match[str]) -> str:
    whole, count, name, part, parts = match.groups()
    if name:
        part = _SMALL.get(count.lower(), '1' if count.lower() in ('a', 'an') else count)
        parts = _DENOMINATORS[name.lower()]
    return f' ({whole}+{part}/{parts})'


def spelled_value(text: str) -> Fraction | None:
    """Returns the value of the one number that a text without digits spells out.

    Examples:
      >>> spelled_value('no more than forty-two cookies'), spelled_value('minus three quarters')
      (Fraction(42, 1), Fraction(-3, 4))
      >>> spelled_value('two and a half dozen'), spelled_value('seven or eight') is None
      (Fraction(30, 1), True)
    """
    words = re.findall(r'[a-z]+|[^\sa-z-]', text.casefold())
    values: set[Fraction] = set()
    place = 0
    while place < len(words):
        value, read = _read(words, place)
        if value is None:
            place += 1
            continue
        before = words[place - 1] if place else ''
        if before == 'point' or words[place + read : place + read + 1] in _ORDINALS:
            return None  # `point five`, `twenty-first`
        if not (words[place] == 'one' and read == 1 and before in _PRONOUN):
            values.add(-value if before in _SIGNS else value)
        place += read
    return values.pop() if len(values) == 1 else None


def _read(words: Sequence[str], start: int) -> tuple[Fraction | None, int]:
    """Returns the number that begins at a word, and of how many words it is; None for none."""
    if words[start] == 'half' or words[start : start + 2] == ['a', 'half']:
        return _half(words, start)
    value, read = _cardinal(words, start)
    if value is None:
        return None, 0
    end = start + read
    follows = words[end] if end < len(words) else ''
    if follows in _DENOMINATORS and value and (value == 1) == (follows in _PARTS):
        return _scaled(words, Fraction(value, _DENOMINATORS[follows]), start, end + 1)
    total = Fraction(value)
    if follows == 'point':
        decimals = [_SMALL.get(word, '0' if word == 'zero' else '') for word in words[end + 1 :]]
        digits = ''.join(decimals[: decimals.index('') if '' in decimals else len(decimals)])
        if digits and len(digits) < _LONGEST:
            total += Fraction(int(digits), 10 ** len(digits))
            end += 1 + len(digits)
    elif follows == 'and':
        part, length = _part(words, end + 1)
        if part is not None:
            total, end = total + part, end + 1 + length
    return _scaled(words, total, start, end)


def _half(words: Sequence[str], start: int) -> tuple[Fraction | None, int]:
    """Reads `half`, `a half`, `half a dozen`; `half as many` is no number."""
    end = start + 1 + (words[start] == 'a')
    if words[end : end + 1] == ['as'] or words[end : end + 1] == ['the']:
        return None, 0
    if words[end : end + 1] in (['a'], ['of']) and words[end + 1 : end + 2] == ['a']:
        end += 1
    scale = words[end + 1 : end + 2] if words[end : end + 1] == ['a'] else words[end : end + 1]
    if scale and scale[0] in _MULTIPLES:
        end += 1 + (words[end] == 'a')
        return Fraction(_MULTIPLES[scale[0]], 2), end - start
    return Fraction(1, 2), end - start


def _part(words: Sequence[str], start: int) -> tuple[Fraction | None, int]:
    """Reads the part of a mixed number: `a half`, `three quarters`, `half`."""
    if words[start : start + 1] == ['half']:
        return Fraction(1, 2), 1
    if words[start : start + 1] in (['a'], ['an']):
        count, read = 1, 1
    else:
        count, read = _cardinal(words, start)
    name = words[start + read] if count and start + read < len(words) else ''
    if name not in _DENOMINATORS:
        return None, 0
    return Fraction(count or 0, _DENOMINATORS[name]), read + 1


def _scaled(
    words: Sequence[str], value: Fraction, start: int, end: int
) -> tuple[Fraction | None, int]:
    """Multiplies by the scales that follow, which text2num did not take: `dozen`, `lakh`."""
    while end < len(words) and words[end] in _MULTIPLES:
        value *= _MULTIPLES[words[end]]
        end += 1
    return value, end - start


def _cardinal(words: Sequence[str], start: int) -> tuple[int | None, int]:
    """Reads the longest whole number that begins at a word, and says of how many words it is."""
    first = start + (words[start] in ('a', 'an'))
    end = first
    while end < len(words) and end - first < _LONGEST:
        joins = words[end] == 'and' and end > first and words[end + 1 : end + 2] != []
        if not (words[end] in _CARDINALS or (joins and words[end + 1] in _CARDINALS)):
            break
        end += 1
    if first > start:  # `a hundred`, `a dozen`, `a third of it`; `a five` is no number
        follows = words[first] if first < len(words) else ''
        if follows in _DENOMINATORS and words[first + 1 : first + 2] in ([], ['of'], ['.']):
            return 1, 1
        if follows not in _MULTIPLES:
            return None, 0
        if follows not in _CARDINALS:
            return 1, 1
    elif words[start] == 'dozen':
        return 12, 1
    for stop in range(end, first, -1):
        try:
            return text_to_num.text2num(' '.join(words[first:stop]), 'en'), stop - start
        except ValueError:
            continue
    return None, 0
