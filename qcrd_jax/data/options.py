"""Which one of several options a text names: a choice by its letter or its words.

A text that names two options, or denies one, names none.
"""

import re

from qcrd_jax.data.phrases import (
    by_letter,
    exactly,
    findable,
    lowered,
    mentioned,
    only,
    words_of,
)

_LETTER = re.compile(
    r"""
      [(\[]\s?([a-z])\s?[)\]]  # `(d)`, wherever it stands
    | ^\W*([a-z])(?:\s?[)\]]|[.:](?=\s|$)|\s[-–—](?=\s))  # `d)`, `d.`, `d: ` and `d - ` in front
    | ^\W*([a-z])\W*$  # `d` and nothing else
    | \b(?:option|choice|letter|answer)\s([a-z])\b(?=[^\w\s'’-]|\s*$|\s(?:is|because|since)\b)
    | \b(?:it\ is|it['’]s|choose|pick|select|go\ with)\s([b-hj-z])\W*$  # not `it is a`
    """,
    re.VERBOSE,
)
# `B; a bank is no place for books`, `C, since ...`, `D (the mall ...)`: what follows are reasons.
_LEADING = re.compile(
    r"""
    \W*(?:(?:[Oo]ption|[Cc]hoice|[Ll]etter|[Aa]nswer)\s+)?(?P<letter>[A-Z]|[b-hj-z])
    (?: \s*[,;]\s* | \s*[—–]\s* | \s+-\s+(?=\w+\s\w+\s\w) | \s*(?=\(\W*\w{2})
      | \s+(?=(?:because|since|as|due|rather|instead|not|(?:and|but)\ not)\b)
      | \s+(?=(?:is|seems|would\ be)\ (?:the\ )?(?:correct|right|best|answer|most)\b)
    )
    """,
    re.VERBOSE,
)
_LETTER_SENTENCE = re.compile(r'\W*(?P<letter>[A-Z])\.\s+(?P<sentence>[A-Z].*)$', re.DOTALL)
_SENTENCE_WORDS = 4  # of a sentence, rather than of an option
_ENDS_STATEMENT = re.compile(
    r'\b(?:not|because|since|due to|rather|instead)\b|[.;]\s', re.IGNORECASE
)
_OTHER_LETTER = re.compile(r"[(\[]\s?([a-zA-Z])\s?[)\]]|(?<![\w'’-])([B-HJ-Zb-hj-z])(?![\w'’-])")
_LETTER_IN_FRONT = re.compile(r'^\s*(?:\([a-zA-Z]\)|[a-zA-Z][).:])\s*')
_BRACKETED = re.compile(r'^\W*[(\[]([a-z])[)\]]\W*$')  # a letter, even where 'a' is an option
_LETTER_ALONE = re.compile(r'^\W*(?:(?:option|choice|letter|answer)\W+)?([a-z])\W*$')
_LETTER_BEFORE = re.compile(r'^\W*[a-z]\s+(?=\S)')  # `d math problem`; also the article


def without_letter(text: str) -> str:
    """Returns the text of a choice without the letter in front of it."""
    return _LETTER_IN_FRONT.sub('', text, count=1)


def named_option(text: str, options: tuple[str, ...]) -> str | None:
    """Returns the option that an answer to a multiple-choice question names.

    The words win over the letter where they are those of an option, as Distilling step-by-step
    drops the letter; other words next to a letter may shorten or explain its option, but not name
    a different one.

    Args:
      text: a letter, the words of an option, both, or a phrase with one option in it.
      options: the choices in the order (a), (b), ...

    Returns:
      The option, folded; None if the text names no option, several, or a letter beyond them.
    """
    low = lowered(text)
    if letter := _BRACKETED.match(low):
        return by_letter(letter.group(1), options)
    if leading := leading_letter(text) or _letter_and_sentence(text, options):
        return _by_leading(*leading, options)
    letters = {match[match.lastindex or 0] for match in _LETTER.finditer(low)}
    spellings = [text, _LETTER_BEFORE.sub('', low)]
    if len(letters) == 1:
        spellings.append(_LETTER.sub(' ', low))
    for spelling in spellings:
        if option := exactly(spelling, options):
            return option
    lettered = _LETTER.sub(lambda match: f' letter{match[match.lastindex or 0]} ', low)
    by_letters = {(f'letter{letter}',): by_letter(letter, options) or '' for letter in letters}
    return only(mentioned(words_of(lettered), findable(options) | by_letters))


def is_option(text: str, options: tuple[str, ...]) -> bool:
    """Returns whether the text is a letter, an option, or a letter with its option; nothing more.

    Examples:
      >>> is_option('**B**', ('bank', 'mall')), is_option('It is the mall.', ('bank', 'mall'))
      (True, False)
    """
    low = lowered(text)
    letter = _LETTER_ALONE.match(low)
    if letter:
        return by_letter(letter.group(1), options) is not None or exactly(text, options) is not None
    return any(exactly(part, options) for part in (text, _LETTER_IN_FRONT.sub('', text, count=1)))


def leading_letter(text: str) -> tuple[str, str] | None:
    """Returns a bare letter that begins a sentence, and the sentence behind it; None for none.

    Examples:
      >>> leading_letter('B; a bank is no place for books')
      ('b', 'a bank is no place for books')
      >>> leading_letter('A bank') is None
      True
    """
    match = _LEADING.match(text)
    return (match['letter'].lower(), text[match.end() :]) if match else None


def _letter_and_sentence(text: str, options: tuple[str, ...]) -> tuple[str, str] | None:
    """Returns a letter and the sentence behind its point, unless that may be the option's words."""
    match = _LETTER_SENTENCE.match(text)
    if not match or len(match['sentence'].split()) < _SENTENCE_WORDS:
        return None
    words = words_of(match['sentence'])
    begins = any(
        words[first : first + len(phrase)] == phrase
        for phrase in findable(options)
        for first in range(2)  # perhaps behind an article
    )
    denies = _ENDS_STATEMENT.search(match['sentence']) or ' no ' in match['sentence']
    return (match['letter'].lower(), match['sentence']) if denies or not begins else None


def _by_leading(letter: str, rest: str, options: tuple[str, ...]) -> str | None:
    """Returns the option of a leading letter; None if what follows states another one."""
    option = by_letter(letter, options)
    stated = _ENDS_STATEMENT.split(rest, maxsplit=1)[0]
    others = {match[1] or match[2] for match in _OTHER_LETTER.finditer(stated)}
    if any(by_letter(other.lower(), options) for other in others if other.lower() != letter):
        return None
    said = exactly(stated.strip(' ()'), options)
    return None if said and said != option else option
