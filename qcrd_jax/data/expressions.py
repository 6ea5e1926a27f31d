"""The value of arithmetic with units around it: `+ - * / ( )`, `=` and numbers, in exact fractions.

The text is a model's and is never evaluated as code. What is not understood, or is too large, has
no value.
"""

import re
from collections.abc import Callable
from fractions import Fraction

_MAX_DIGITS = 18  # of one number, and of its decimals
_MAX_TOKENS = 100  # of one expression; with _MAX_DIGITS it bounds the exact arithmetic

_TOKEN = re.compile(
    r"""
      (?P<number>(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|\.[0-9]+)
    | (?P<word>-?[A-Za-z]{2,}(?:[/'-][A-Za-z]+)*|[A-Za-mo-wA-MO-W](?![A-Za-z]))
    | (?P<unknown>[A-Za-z])  # x, y, z, n: what an equation is solved for
    | (?P<operator>[-+*/()])
    | (?P<equals>=)
    | (?P<refused>[\^_|&<>@{}\\])
    | (?P<space>\s+)
    | (?P<mark>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_GAP = ' '  # stands for words and punctuation between the parts of an expression


def value(text: str) -> Fraction | None:
    """Returns the value of the one expression of a text, or of what stands after its last `=`.

    Examples:
      >>> value('84 points / 2 rounds = 42 points')
      Fraction(42, 1)
      >>> value('3 birds and 10 storks') is None
      True
    """
    tokens = _tokenize(text)
    if tokens is None:
        return None
    sides: list[list[str | Fraction]] = [[]]
    for token in tokens:
        if token == '=':
            sides.append([])
        else:
            sides[-1].append(token)
    # `42 =` and `5 = 3 + ` were cut off in the middle: the last side is what counts.
    values = {_evaluate(expression) for expression in _expressions(sides[-1])}
    return values.pop() if len(values) == 1 else None


def _tokenize(text: str) -> list[str | Fraction] | None:
    """Splits text into numbers, operators, `=` and gaps; None if it is no plain arithmetic."""
    tokens: list[str | Fraction] = []
    matches = list(_TOKEN.finditer(text))
    for position, match in enumerate(matches):
        kind, part = match.lastgroup, match.group()
        if kind == 'number':
            if max(map(len, part.split('.'))) > _MAX_DIGITS or _touches_digit(matches, position):
                return None
            tokens.append(Fraction(part.replace(',', '')))
        elif kind == 'equals' or (kind == 'operator' and part != '-'):
            tokens.append(part)
        elif kind == 'operator':
            spaced = text[match.end() : match.end() + 1].isspace()
            # `is -5` is a negative number, `apples - 5` a difference whose left side is not known.
            tokens.append('-' if spaced and tokens[-1:] == [_GAP] else 'negative')
        elif kind == 'unknown':
            tokens.append('unknown')
        elif kind == 'refused':
            return None
        elif kind in ('word', 'mark') and tokens[-1:] != [_GAP]:
            tokens.append(_GAP)
    return tokens


def _touches_digit(matches: list[re.Match[str]], position: int) -> bool:
    """Returns whether the number is glued to another (`12,34`, `3e5`): neither is then readable."""
    if position + 1 < len(matches) and matches[position + 1].lastgroup == 'number':
        return True
    return (
        position + 2 < len(matches)
        and matches[position + 2].lastgroup == 'number'
        and matches[position + 1].group() in (',', '.', '_', ':', 'e', 'E')
    )


def _expressions(side: list[str | Fraction]) -> list[list[str | Fraction]]:
    """Joins the parts of an expression across units (`84 points / 2 rounds`), splits at others."""
    expressions: list[list[str | Fraction]] = [[]]
    for position, token in enumerate(side):
        if token != _GAP:
            expressions[-1].append(token)
            continue
        before = side[position - 1] if position else None
        after = side[position + 1] if position + 1 < len(side) else None
        ends_operand = isinstance(before, Fraction) or before == ')'
        starts_operand = isinstance(after, Fraction) or after in ('(', 'negative')
        if ends_operand and starts_operand:
            expressions.append([])
    return [e for e in expressions if any(isinstance(token, Fraction) for token in e)]


_PRECEDENCE = {'+': 1, '-': 1, '*': 2, '/': 2, 'negative': 3}


def _evaluate(tokens: list[str | Fraction]) -> Fraction | None:
    """Evaluates `+ - * / ( )` exactly, without recursion; None if malformed or dividing by zero."""
    if len(tokens) > _MAX_TOKENS:
        return None
    values: list[Fraction] = []
    operators: list[str] = []
    operand_next = True
    try:
        for token in tokens:
            if isinstance(token, Fraction):
                if not operand_next:
                    return None
                values.append(token)
                operand_next = False
            elif token == '(':
                if not operand_next:
                    return None
                operators.append('(')
            elif token == ')':
                if operand_next:
                    return None
                while operators[-1] != '(':
                    _apply(operators.pop(), values)
                operators.pop()
            elif operand_next:
                if token != 'negative':
                    return None
                operators.append('negative')
            else:
                operator = '-' if token == 'negative' else token
                while operators and _PRECEDENCE.get(operators[-1], 0) >= _PRECEDENCE[operator]:
                    _apply(operators.pop(), values)
                operators.append(operator)
                operand_next = True
        while operators:
            _apply(operators.pop(), values)
    except (IndexError, KeyError, ZeroDivisionError):  # unbalanced brackets; division by zero
        return None
    return values[0] if len(values) == 1 and not operand_next else None


def _apply(operator: str, values: list[Fraction]) -> None:
    """Applies one operator to the top of the stack of values."""
    right = values.pop()
    values.append(-right if operator == 'negative' else _BINARY[operator](values.pop(), right))


_BINARY: dict[str, Callable[[Fraction, Fraction], Fraction]] = {
    '+': lambda left, right: left + right,
    '-': lambda left, right: left - right,
    '*': lambda left, right: left * right,
    '/': lambda left, right: left / right,
}
