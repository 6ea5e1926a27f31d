"""Incorrect details of an arithmetic rationale (QCRD, Fig. 5): where it contradicts itself.

Two things can be seen in the text by itself: an equation that does not hold, and a number that
comes from nowhere. Whether the right operation was chosen cannot: `84 - 2 = 82` holds.
"""

import itertools
import re
from collections.abc import Iterator
from fractions import Fraction
from typing import Literal, NamedTuple

from qcrd_jax.data.equations import equation_value
from qcrd_jax.data.numerals import NUMBER_WORDS

Fault = Literal['', 'equation', 'number']

_MAX_DIGITS = 18  # of a number that is calculated with, as in `equations`
_MAX_TOKENS = 40  # of one side of an equation
_UNIT_WORDS = 3  # at most, between a number and its operator
_TOKEN = re.compile(
    r"""
      (?P<number>(?<![A-Za-z0-9.])(?:[$£€]\ ?)?
        (?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?)
    | (?P<operator>[-+*/×÷−]
        | \b(?:plus|minus|times|divided\ by|multiplied\ by)\b(?=\ (?:[$£€]\ ?)?[0-9]))
    | (?P<bracket>[()])
    | (?P<equals>=|\b(?:is|are|equals|gives|leaves|makes)\b)
    | (?P<word>[A-Za-z][A-Za-z'-]*)
    | (?P<space>[^\S\n]+)
    | (?P<other>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_OPERATORS = {'×': '*', '÷': '/', '−': '-', 'x': '*', 'X': '*', 'plus': '+', 'minus': '-'} | {
    'times': '*',
    'multiplied by': '*',
    'divided by': '/',
}
_MOST = 200  # characters of what an equation results in
_CLAUSE_END = re.compile(r'[.,;:!?](?=\s|$)|[\n=]')
_UNREADABLE = frozenset('^%_|&<>@{}\\~')  # beside a number they change its value
_SPELT = frozenset({'plus', 'minus', 'times', 'by', 'over', 'per'})  # operations in words
_PARTS = frozenset({'half', 'third', 'quarter', 'fourth', 'tenth', '%'})  # ... and before `of`
_IMPLIED = {'half': 2, 'twice': 2, 'double': 2, 'pair': 2, 'both': 2, 'triple': 3, 'dozen': 12}


class Piece(NamedTuple):
    """A stretch of a rationale, and what is wrong with it ('' nothing)."""

    text: str
    fault: Fault


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


def mark(rationale: str, question: str) -> tuple[Piece, ...]:
    """Returns the rationale in pieces, each incorrect detail as one of its own.

    Args:
      rationale: a text with equations.
      question: what it explains.

    Returns:
      pieces that join to the rationale. Fault 'equation': it does not hold (a result with decimals
      may be rounded). Fault 'number': neither the question has it nor an equation before, right or
      wrong, resulted in it; numbers in a marked equation are not marked again.

    Examples:
      >>> question = 'Ava shares 84 pens among 2 friends.'
      >>> [piece for piece in mark('84 / 2 = 41, so 41 and 7.', question) if piece.fault]
      [Piece(text='84 / 2 = 41', fault='equation'), Piece(text='7', fault='number')]
    """
    known = _stated(question)
    tokens = _tokens(rationale)
    equations = {equation.start: equation for equation in _equations(tokens)}
    results = {equation.result.start for equation in equations.values()}
    # What cannot be read may still have a result: `14 pens/pack * 6 packs = 84`.
    results |= {after.start for token, after in itertools.pairwise(tokens) if token.text == '='}
    faults: list[tuple[int, int, Fault]] = []
    marked = 0  # where the last marked equation ends
    for token in tokens:
        equation = equations.get(token.start)
        if equation and not equation.holds:
            marked = equation.result.end
            faults.append((equation.start, marked, 'equation'))
        if token.kind == 'number' and token.start in results:
            known.add(_value(token))
        elif token.kind == 'number' and token.start >= marked and _value(token) not in known:
            faults.append((token.start, token.end, 'number'))
    return tuple(_pieces(rationale, faults))


def last_result(text: str) -> Fraction | None:
    """Returns what the last equation results in, be it right or wrong; None where there is none.

    An equation is an operation that `is`, `gives` or `leaves` something, or anything before `=`.

    Examples:
      >>> last_result('84 / 2 = 41 pens, for 2 friends'), last_result('3 plus 4 is 8.')
      (Fraction(41, 1), Fraction(8, 1))
      >>> last_result('2 friends are 84 pens away.') is None
      True
    """
    tokens = _tokens(text)
    for place in reversed(range(len(tokens))):
        token = tokens[place]
        if token.kind == 'equals' and (token.text == '=' or _left_side(tokens, place)):
            clause = _CLAUSE_END.split(text[token.end : token.end + _MOST], maxsplit=1)[0]
            right = _right_side(tokens, place)
            numbers = [_value(each) for each in right if each.kind == 'number']
            for value in (equation_value(clause), _calculate(right), *numbers[:1]):
                if isinstance(value, Fraction):
                    return value
    return None


def _pieces(text: str, faults: list[tuple[int, int, Fault]]) -> Iterator[Piece]:
    end = 0
    for start, stop, fault in faults:
        # In a chain, `2 + 2 = 5 - 1 = 3`, the second equation starts within the first.
        start = max(start, end)
        if text[end:start]:
            yield Piece(text[end:start], '')
        yield Piece(text[start:stop], fault)
        end = stop
    if text[end:]:
        yield Piece(text[end:], '')


def _tokens(text: str) -> list[_Token]:
    tokens = []
    for match in _TOKEN.finditer(text):
        kind, part = match.lastgroup or '', match.group()
        if part in _OPERATORS:
            kind, part = 'operator', _OPERATORS[part]
        if kind != 'space':
            tokens.append(_Token(kind, part, match.start(), match.end()))
    return tokens


def _value(number: _Token) -> Fraction | str:
    """The number's value; of one too long to calculate with, its text."""
    digits = number.text.lstrip('$£€ ').replace(',', '')
    return Fraction(digits) if len(digits) <= _MAX_DIGITS else digits


def _stated(question: str) -> set[Fraction | str]:
    """The numbers that a question states, in digits or in words."""
    words = re.findall(r'[a-z]+', question.casefold())
    named = NUMBER_WORDS | _IMPLIED
    stated = {_value(token) for token in _tokens(question) if token.kind == 'number'}
    return stated | {Fraction(named[word]) for word in words if word in named}


# --- Equations ------------------------------------------------------------------------------------


class _Equation(NamedTuple):
    start: int
    result: _Token
    holds: bool


def _equations(tokens: list[_Token]) -> Iterator[_Equation]:
    """The equations whose left side has an operation; what cannot be read is left out."""
    for place, token in enumerate(tokens):
        if token.kind != 'equals':
            continue
        left = _left_side(tokens, place)
        right = _right_side(tokens, place)
        result = next((each for each in right[:2] if each.kind == 'number'), None)
        value = _calculate(left)
        if result is None or value is None:
            continue
        upto = right[: right.index(result) + 1]
        # `5 + 3 = 8 - 2 = 6` is read as its writer does, from step to step, or as it stands.
        stated = {_calculate(upto), _calculate(right)}
        holds = any(_rounds_to(value, claim, result.text) for claim in stated if claim is not None)
        yield _Equation(left[0].start, result, holds)


def _rounds_to(value: Fraction, claim: Fraction, written: str) -> bool:
    """Whether a value is what is claimed, rounded to the decimals with which it is written."""
    decimals = len(written.partition('.')[2])
    return value == claim or (bool(decimals) and abs(value - claim) * 2 * 10**decimals <= 1)


def _calculate(side: list[_Token]) -> Fraction | None:
    return equation_value(' '.join(token.text for token in side)) if side else None


def _left_side(tokens: list[_Token], equals: int) -> list[_Token]:
    """The expression before `=`, without its units; empty if it is none or not all of one."""
    side: list[_Token] = []
    place, depth = equals - 1, 0
    while place >= 0:
        token, after = tokens[place], tokens[place + 1]
        if token.kind == 'word':
            number = _before_unit(tokens, place)
            if number is None or not _ends_operand(after):
                if token.text.casefold() in _SPELT or _is_part(tokens, place):
                    return []
                break
            place = number
            continue
        if token.kind in ('other', 'equals') or (token.text == '(' and not depth):
            if token.text in _UNREADABLE:
                return []
            break
        # Two operands in a row: `1 1/2`, or a number that belongs to the words before.
        adjacent = bool(side) and (side[-1].kind == 'number' or side[-1].text == '(')
        if len(side) == _MAX_TOKENS or (adjacent and (token.kind == 'number' or token.text == ')')):
            return []
        depth += {')': 1, '(': -1}.get(token.text, 0)
        side.append(token)
        place -= 1
    side.reverse()
    operations = [token for token in side[1:] if token.kind == 'operator']
    # A sign belongs to its number; any other operator lacks an operand that is not in digits.
    signed = len(side) > 1 and side[0].text == '-' and side[0].end == side[1].start
    return side if operations and not depth and (side[0].kind != 'operator' or signed) else []


def _right_side(tokens: list[_Token], equals: int) -> list[_Token]:
    """The expression after `=`, without its units; empty if its first number cannot be read."""
    side: list[_Token] = []
    place = equals + 1
    while place < len(tokens) and len(side) < _MAX_TOKENS:
        token = tokens[place]
        if token.kind == 'number' and side and side[-1].kind == 'number':
            break
        if token.kind in ('number', 'operator', 'bracket'):
            side.append(token)
        elif token.kind != 'word' or not side:
            if token.text in _UNREADABLE:
                return []
            break
        place += 1
    while side and side[-1].kind == 'operator':  # `= 8 / hour`, `= 8 - the rest`
        side.pop()
    return side


def _before_unit(tokens: list[_Token], place: int) -> int | None:
    """The place of the operand whose unit the words up to `place` are; None if they are none."""
    for operand in range(place - 1, max(place - 1 - _UNIT_WORDS, -1), -1):
        if tokens[operand].kind != 'word':
            ends = tokens[operand].kind == 'number' or tokens[operand].text == ')'
            return operand if ends else None
    return None


def _is_part(tokens: list[_Token], place: int) -> bool:
    """Whether the word is the `of` of `half of 84` or `1/3 of 84`, not that of `a total of 84`."""
    before = tokens[place - 1] if place else None
    if before is None or tokens[place].text.casefold() != 'of':
        return False
    return before.kind == 'number' or before.text.casefold() in _PARTS


def _ends_operand(after: _Token) -> bool:
    """Whether an operand, with its unit, ends before this token."""
    return after.kind in ('operator', 'equals') or after.text == ')'
