r"""What is said behind `the answer is`: a sentence, a formula, a block, an entry."""

import re

# No sentence ends in an abbreviation before a number or a name: `Rs. 42`, `St. Louis`.
SENTENCE_END = re.compile(
    r'(?:[!?]|(?<!\bRs)(?<!\b(?:St|Mt|Mr|Ms|Dr|vs))(?<!\bMrs)(?<!\b[Aa]pprox)\.)(?=\s|$)|\n'
)
_LETTER_POINT = re.compile(r'[*_]{0,3}[A-Za-z]\.\s')
ENTRY = re.compile(r'\s{0,8}(?:[-*•]\s|\(?[a-z][).:]|[0-9]{1,2}[).:]\s)\s{0,8}', re.IGNORECASE)
# What stands on lines of its own behind `Answer:`: a formula or a block.
_SHOWN = re.compile(
    r"""
      \$\$\s{0,8}\n(?P<dollars>[^$]{1,200})\$\$
    | \\\[\s{0,8}\n(?P<brackets>[^\\\]]*(?:\\(?!\])[^\\\]]*){0,40})\\\]
    | ```[a-z]{0,10}\n(?P<fence>[^`]{1,200})```
    """,
    re.IGNORECASE | re.VERBOSE,
)
# A rule, a quote or a single entry, on a line of its own.
_MARKER = re.compile(r'(?:-{3,}\s*\n\s*)?(?:[>•]\s{0,4}|[-*]\s{1,4})?(?=\S)')
VERIFIES = re.compile(
    r"""
    \s{0,8}(?:(?:also|indeed|thus|therefore)\s)?
    (?: (?:correct|verified|reasonable|consistent|confirmed)
      | (?:found|obtained|derived|calculated|supported)\s{1,8}(?:by|from)
      | based\s{1,8}on
      | in\s )\b
    """,
    re.IGNORECASE | re.VERBOSE,
)
"""What follows `the answer is` where that was given before: `correct`, `found by ...`."""

SEEKS = re.compile(
    r'\b(?:find|get|calculate|determine|compute|reach|(?:work|figure)\s+out)[\s*_]{0,8}$',
    re.IGNORECASE,
)
"""What ends before `the answer:` where none follows: `to find`."""


def statement(text: str) -> tuple[str, str]:
    r"""Splits off the first sentence, a block, or what stands in the braces of `\boxed{}`."""
    own_line = text.lstrip(' \t').startswith('\n')
    text = text.strip()
    if text.startswith('{'):
        depth = 0
        for place, character in enumerate(text):
            depth += (character == '{') - (character == '}')
            if depth == 0:
                return text[1:place], text[place + 1 :]
    if shown := _SHOWN.match(text):
        return (shown[shown.lastgroup or 0]).strip(), text[shown.end() :]
    entry, _, rest = text.partition('\n')
    apart = not own_line and rest.startswith('\n')  # an answer with its letter, then a list
    if ENTRY.match(entry) and ENTRY.match(rest) and not apart:
        return '', text  # a list: none of its entries is the answer
    if own_line and (marker := _MARKER.match(text)):
        text = text[marker.end() :]  # a quote or a bullet, and no minus
    letter = _LETTER_POINT.match(text)  # no sentence ends in `D. math problem`
    end = SENTENCE_END.search(text, letter.end() if letter else 0)
    return (text[: end.start()].strip(), text[end.end() :]) if end else (text, '')
