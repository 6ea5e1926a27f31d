r"""What Markdown, HTML and LaTeX put around an answer: `**42**`, `<b>42</b>`, `$\boxed{42}$`."""

import re

_EDGES = ' \t\n`#'
_STARS = re.compile(r'^[*\s]+|(?<=\S)\*+$')  # a last star behind a space multiplies
_BOLD = re.compile(r'(?<![\w)*])\*\*(?=[^\s*])([^*\n]+)(?<!\s)\*\*(?![\w(*])')  # never in `9**9`
_UNDERLINED = re.compile(r'(?<![\w.{])__(?=[^\s_])([^_\n]+)(?<!\s)__(?!\w)')
_HTML = re.compile(r'</?(?:b|i|u|p|em|strong|span|div|code|h[1-6])>|<br\s?/?>', re.IGNORECASE)
_WRAPPER = re.compile(
    r'\\(?:boxed|fbox|underline|text(?:bf|it|rm|sf|tt)?|math(?:bf|it|rm|sf)|mbox)\s?'
    r'\{([^{}]*)\}'
)
_WRAPPERS = 3  # of one answer: `\boxed{\textbf{(b)}}` has two
_GROUPING = re.compile(r'(?<=[0-9])(?:\\[,;:! ]|\{,\}|,\\!)(?=[0-9]{3}(?![0-9]))')
_DEGREE = re.compile(r'\s?\^\s?\{?\s?\\circ\s?\}?|\\degree\b|\\deg\b')
_DELIMITER = re.compile(
    r'\\[()\[\],;:!$ %]|\\(?:displaystyle|quad|qquad|left|right|bigl?|bigr|Bigl?|Bigr)\b'
)


def plain(text: str) -> str:
    r"""Returns the text without emphasis, code ticks and the wrappers of LaTeX.

    Examples:
      >>> plain('**(b)**'), plain('$\\boxed{42}$'), plain('9**9'), plain('\\boxed{9{,}500}')
      ('(b)', '42', '9**9', '9,500')
    """
    if '\\' in text or '{,}' in text:
        text = _plain_latex(_GROUPING.sub(',', text).replace('{,}', ','))
    if '<' in text:
        text = _HTML.sub(' ', text)
    text = _UNDERLINED.sub(r'\1', _BOLD.sub(r'\1', text)).strip(_EDGES)
    text = _STARS.sub('', text).strip(_EDGES)
    if text.startswith('$') and text.endswith('$'):
        text = text.strip('$ ')
    return text


def _plain_latex(text: str) -> str:
    text = text.replace('\\%', '% ')
    text = _DEGREE.sub(' degrees ', text)
    for _ in range(_WRAPPERS):
        text = _WRAPPER.sub(r' \1 ', text)
    return _DELIMITER.sub(' ', text).replace('~', ' ')
