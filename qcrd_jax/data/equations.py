"""The value that a text states, with the units, words, currencies and LaTeX that surround it.

The text is a model's and is never evaluated as code. What people write is rewritten as
arithmetic, which `expressions` reads; what could mean two values has none.
"""

import re
from fractions import Fraction

from qcrd_jax.data import expressions
from qcrd_jax.data.numerals import in_digits, spelled_value

_TIMES = re.compile(r'(?<=[0-9)])\s*[xX×·⋅∙]\s*(?=[$£€]?[0-9(])')
_POWER = re.compile(r'[0-9)]\s*\*\*\s*[-+(0-9]')
_UNIT_POWER = re.compile(  # `cm²`, `m^2`, `km2`; never of an unknown, `x²`
    r'(?<=[A-Za-wA-W])(?<![^A-Za-z][nN])(?:\s?\^\s?\{?[23]\}?|[²³])'
    r'|(?<=[ckm]m)[23]\b|(?<=\d\sm)[23]\b'
)
_UNIT_SLASH = re.compile(  # `km / h`, `$/hour`; never before an unknown, `84 / x`
    r'(?:(?<=[A-Za-z$£€%])\s?/\s?|(?<=[0-9])/(?=[A-Za-z]{2}))(?=[A-Za-z])(?![xyznXYZN]\b)'
)
_HEXADECIMAL = re.compile(r'\b0[xX]')
_CALL = re.compile(r'[A-Za-z_]\(')  # a function call; between a unit and its bracket is a space
_ASIDE = re.compile(r'\([^()0-9]*[A-Za-z]{2}[^()0-9]*\)')  # `35 (thirty-five)`
_BRACKET = re.compile(r'(?<=[0-9A-Za-z%.,])\s+(\([^()]*\)|\[[^][]*\])')
_WORD = re.compile('[A-Za-z]{2}')
_REASON = re.compile(
    r'[\s,;:—–]*\b(?:because|since|due to|given that)\b.*', re.IGNORECASE | re.DOTALL
)
_PERHAPS_REASON = re.compile(  # or a part of the statement: `..., which makes 9 + 11 = 20`
    r'(?:,\s?(?:as|which|so that|not)|\b(?:where|assuming|considering|rather than|instead of)|'
    r'\b(?:and|but) not)\b.*|[;:]\s+(?=\w).*',
    re.IGNORECASE | re.DOTALL,
)
# The point behind an abbreviated currency is no decimal point; behind another word it may be.
_CURRENCY_POINT = re.compile(
    r'\b(?:rs|re|rp|inr|pkr|lkr|npr|usd|us|cad|aud|nzd|sgd|hkd|eur|gbp|chf|jpy|cny|rmb|zar|ngn|kes|'
    r'php|brl|mxn|sek|nok|dkk|kr|tk|bdt|fr|dh|aed|sar|no|nos|nr|approx|ca|ans|total)\.\s?(?=[0-9])',
    re.IGNORECASE,
)
_WORD_POINT = re.compile(r'[A-Za-z]\.[0-9]')
_CURRENCY_SUFFIX = re.compile(r'(?<=[0-9])/[-=](?![0-9(])')  # `Rs. 42/-`
_BELOW_ZERO = re.compile(
    r'([0-9]+(?:\.[0-9]+)?)(?=(?:\s?°\s?[CF]?|\s?degrees?(?:\s\w+)?)?\s(?:below|under)\szero\b)',
    re.IGNORECASE,
)
_INDIAN = re.compile(r'(?<![0-9,.])([0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3})(?![0-9,])')
_THIN = re.compile(r'(?<=[0-9])[\u2009\u202f\u00a0](?=[0-9]{3}(?![0-9]))')  # `1 000`
_PLUS = re.compile(r'\+(?P<space>\s?)(?=[$£€]?[0-9.(])')
# `10-12 hours`, `5–10`: two ends, not a difference, which would be written with the larger first.
_RANGE = re.compile(
    r'[^0-9()]*?(?<![0-9.])(?P<low>[0-9,]+(?:\.[0-9]+)?)\s?(?:%|°)?(?P<dash>\s?[–—‑]\s?|-)[$£€]?'
    r'(?P<high>[0-9,]+(?:\.[0-9]+)?)(?![0-9]|\s?[-+*/×÷])[^0-9()]*'
)
_FRACTION = re.compile(r'\\[dts]?frac\s*(?:\{([^{}]+)\}|([0-9]))\s*(?:\{([^{}]+)\}|([0-9]))')
_MIXED_FRACTION = re.compile(r'(?<![\w.)])([0-9]+)\s*\\[dt]?frac\s*\{?([0-9]+)\}?\s*\{?([0-9]+)\}?')
_LATEX = {'\\times': ' * ', '\\cdot': ' * ', '\\div': ' / ', '\\approx': ' , ', '\\pounds': ' ',
          '\\euro': ' '}  # fmt: skip
_SIGNS = str.maketrans(
    {'−': '-', '–': '-', '÷': '/', '∗': '*', '⁄': '/', '∕': '/', '’': "'"} | dict.fromkeys('$£€₹¥')
)


def equation_value(text: str) -> Fraction | None:
    r"""Returns the value that the text states: that of its one expression, or after the last `=`.

    Examples:
      >>> equation_value('$2.5 million, since each gets half'), equation_value('12 and a half cm²')
      (Fraction(2500000, 1), Fraction(25, 2))
      >>> equation_value('10-12 hours') is None
      True
    """
    text = _UNIT_POWER.sub('', text)
    # Superscripts, fractions and digits of other scripts change a value: no guess is made.
    if any(not c.isascii() and c.isnumeric() for c in text) or _POWER.search(text):
        return None
    if _HEXADECIMAL.search(text) or _CALL.search(text):
        return None
    if not any(c.isdigit() for c in text):
        return spelled_value(text)
    text = _before(_REASON, _CURRENCY_SUFFIX.sub('', _BELOW_ZERO.sub(r'-\1', text)))
    value = _stated_value(text)
    if value is None and (claim := _before(_PERHAPS_REASON, text)) != text:
        value = _stated_value(claim)
    return value


def _before(reasons: re.Pattern[str], text: str) -> str:
    """Returns what is stated before the reasons for it, if that holds a number."""
    reason = reasons.search(text)
    if reason and any(c.isdigit() for c in text[: reason.start()]):
        return text[: reason.start()].rstrip(' (')
    return text


def _stated_value(text: str) -> Fraction | None:
    if '\\' in text:
        text = _arithmetic(text)
    text = _CURRENCY_POINT.sub(' ', text)
    text = _INDIAN.sub(lambda match: match[1].replace(',', ''), _THIN.sub(',', text))
    if _WORD_POINT.search(text) or _is_range(text):
        return None
    in_numbers = in_digits(_UNIT_SLASH.sub(' per ', text))
    if in_numbers is None:
        return None
    text = _PLUS.sub(_sign, in_numbers.replace('**', ' '))
    text = _TIMES.sub(' * ', text.translate(_SIGNS))
    return expressions.value(_ASIDE.sub(' , ', _BRACKET.sub(_aside, text)))


def _arithmetic(text: str) -> str:
    """Returns the text with LaTeX's fractions and operators as ours; what is unknown stays."""
    text = _MIXED_FRACTION.sub(r'\1 \2/\3', text)
    text = _FRACTION.sub(lambda match: f'(({match[1] or match[2]})/({match[3] or match[4]}))', text)
    for name, operator in _LATEX.items():
        text = text.replace(name, operator)
    return text


def _is_range(text: str) -> bool:
    """Returns whether the last side is `low-high`; spaces around the hyphen make a difference."""
    match = _RANGE.fullmatch(text.rpartition('=')[2])
    if not match:
        return False
    low, high = (Fraction(match[end].replace(',', '') or 0) for end in ('low', 'high'))
    return low < high


def _sign(match: re.Match[str]) -> str:
    """Drops a plus that is a sign: in front of all, or glued to the first number of a side."""
    before = match.string[: match.start()].rpartition('=')[2]
    signs = not before.strip() or (
        before[-1].isspace() and not match['space'] and not any(c.isdigit() for c in before)
    )
    return '' if signs else match[0]


def _aside(match: re.Match[str]) -> str:
    """Replaces what explains a number in brackets behind it; arithmetic there has to agree."""
    before = match.string[: match.start()].rpartition('=')[2]
    if not any(c.isdigit() for c in before):
        return match[0]
    return ' , ' if _WORD.search(match[1]) else f' , {match[1]}'
