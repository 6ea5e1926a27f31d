r"""What Markdown and LaTeX put around an answer: chat models write `**42**` and `$\boxed{42}$`."""

import re

_EDGES = ' \t\n*`#'
_BOLD = re.compile(r'(?<![\w)*])\*\*(?=[^\s*])([^*\n]+)(?<!\s)\*\*(?![\w(*])')  # never in `9**9`
_WRAPPER = re.compile(r'\\(?:boxed|fbox|text(?:bf|it|rm)?|math(?:bf|it|rm))\s?\{([^{}]*)\}')
_WRAPPERS = 3  # of one answer: `\boxed{\textbf{(b)}}` has two
_DELIMITER = re.compile(r'\\[()\[\],;:!$ ]|\\displaystyle\b')


def plain(text: str) -> str:
    r"""Returns the text without emphasis, code ticks and the wrappers of LaTeX.

    Examples:
      >>> plain('**(b)**'), plain('$\\boxed{42}$'), plain('9**9')
      ('(b)', '42', '9**9')
    """
    if '\\' in text:
        text = text.replace('{,}', ',')
        for _ in range(_WRAPPERS):
            text = _WRAPPER.sub(r' \1 ', text)
        text = _DELIMITER.sub(' ', text)
    text = _BOLD.sub(r'\1', text).strip(_EDGES)
    if text.startswith('$') and text.endswith('$'):
        text = text.strip('$ ')
    return text
