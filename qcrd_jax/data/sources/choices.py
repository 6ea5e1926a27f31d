"""The choices of a question: which they are, whether its text lists them, which one is the label.

An answer names a choice by its words or by its letter. So a question has letters for all of its
choices, in their order: the text has them already, as a list with an entry for every choice, or
they are appended to it. That a choice is mentioned (`no` in `know`) makes no list.
"""

import re
from collections.abc import Iterator, Sequence

from qcrd_jax.data.sources.questions import LETTERS, Unexpected, with_choices

_MARKER = re.compile(  # in front of an entry of a list; what is bold or quoted too
    r"""
      (?:(?<=\n)|\A)[ \t]{0,64}[-*•+–·][ \t]{1,64}(?![(\[*_]{0,3}[A-Za-z0-9]{1,2}[)\].:])
    | [*_]{0,2}
      (?: [(\[]\ ?(?P<inside>[A-Za-z]|[0-9]{1,2})\ ?[)\]]
        | (?<![\w(\[.,'’&-])(?P<before>[A-Za-z]|[0-9]{1,2})\ {0,2}[).:]
      )
      [*_:.]{0,3}\s{0,64}
    """,
    re.VERBOSE,
)
_QUOTES = re.compile(r'["\'“‘`*_]{0,3}')
_AFTER = re.compile(r'["\'”’`*_]{0,3}')
_CLOSED = re.compile(r'[ \t]{0,8}(?:[.,;:!?)\]]+(?!\w)|\n|\r|\Z|[ \t][/|])')  # no more of the entry
_BETWEEN = re.compile(
    r'(?P<space>[\s.,;:/|)\]&!?]{0,64})(?:(?:and|or)\s{1,4})?(?:[-*•+–·][ \t]{1,8})?'
    r'(?:(?:option|choice)\s{1,4})?',
    re.IGNORECASE,
)
_LABEL = re.compile(
    r'[\s*]*(?:(?:option|choice|answer|letter)\s*:?\s+)?'
    r'(?:[(\[]\s?(?P<inside>[A-Za-z])\s?[)\]][.:]?|(?P<before>[A-Za-z])\s?[).:])[\s*]*(?P<words>.*)',
    re.DOTALL | re.IGNORECASE,
)
_LETTER_ONLY = re.compile(
    r'[\s*]*(?:(?:option|choice|answer|letter)\s*:?\s+)?([A-Za-z])[\s*.]*', re.IGNORECASE
)
_STYLES = tuple(  # lists whose choices are read from the text, the surest first
    re.compile(rf'^[ \t]*(?:[-*•][ \t]+)?[*_]{{0,2}}{marker}[*_]{{0,2}}[ \t]*(\S.*)$', re.MULTILINE)
    for marker in (r'\(([A-Za-z])\)', r'\[([A-Za-z])\]', r'([A-Za-z])\)', r'([A-Za-z])\.')
)  # fmt: skip
_INLINE = re.compile(
    r'(?<!\w)\(([A-Za-z])\)[ \t]{1,4}(\S.*?)'
    r'(?=[ \t,;/|]{0,4}(?:\b(?:and|or)[ \t]{1,4})?\([A-Za-z]\)[ \t]|$)',
    re.MULTILINE,
)
_OWN_LETTER = re.compile(r'\s*(?:[(\[]([A-Za-z])[)\]]|([A-Za-z])\s?[).:])\s*')


def options_of(text: str, given: Sequence[str]) -> tuple[str, ...]:
    """Returns the choices of a question, in the order of their letters.

    Args:
      text: the question.
      given: its choices, of which letters that each of them has in front (`A) 21`) are dropped; ():
        those that the text lists in lines `(a) ...`, `A) ...` or `A. ...`, or in one line
        `(a) ... (b) ...`.

    Raises:
      Unexpected: if there are fewer than two or more than 26.
    """
    options = _without_letters(tuple(given)) if given else _listed(text)
    if len(options) < 2:
        wanted = 'at least two choices, there or as lines `(a) ...` of the input'
        raise Unexpected('options', wanted, list(options))
    if len(options) > len(LETTERS):
        # All of 26 letters are taken, and the message need not show every choice.
        raise Unexpected('options', f'at most {len(LETTERS)} choices', f'{len(options)} of them')
    return options


def with_options(text: str, options: Sequence[str]) -> str:
    r"""Returns the question with its choices appended, unless it lists each of them already.

    Raises:
      Unexpected: if it lists them with other letters than their order gives them.

    Examples:
      >>> with_options('Do you know?', ['no', 'yes'])
      'Do you know?\nAnswer Choices:\n(a) no\n(b) yes'
      >>> with_options('Where? A. zoo B. park', ['zoo', 'park'])
      'Where? A. zoo B. park'
    """
    if text.endswith(with_choices('', options)) or _lists(text, options):
        return text
    if letter := _other_letter(text, options):
        wanted = f'the order in which the input has them (there {letter} is another)'
        raise Unexpected('options', wanted, list(options))
    return with_choices(text, options)


def labelled(label: str, text: str, options: Sequence[str]) -> str:
    """Returns the choice that a label names: by its words, its letter, or by both.

    Args:
      label: of the question.
      text: the question; the numbers of a list in it name its choices too.
      options: the choices.

    Raises:
      Unexpected: if it names none of them.

    Examples:
      >>> labelled('(b)', 'Where?', ['zoo', 'park'])
      'park'
    """
    place = _place(label, text, options)
    if place is None:
        wanted = f"an answer of type 'choice', one of {', '.join(options)}"
        raise Unexpected('label', wanted, label)
    return options[place]


def _place(label: str, text: str, options: Sequence[str]) -> int | None:
    if label in options:
        return list(options).index(label)
    for fold in (_folded, _without_article):
        named = {options[i]: i for i, option in enumerate(options) if fold(option) == fold(label)}
        if named:
            return named.popitem()[1] if len(named) == 1 else None
    if alone := _LETTER_ONLY.fullmatch(label):
        return _within(LETTERS.index(alone.group(1).lower()), options)
    if both := _LABEL.fullmatch(label):
        letter, words = both['inside'] or both['before'], _without_article(both['words'])
        place = _within(LETTERS.index(letter.lower()), options)
        agree = place is not None and words in ('', _without_article(options[place]))
        return place if agree else None
    number = label.strip(' ().')
    if number.isdecimal() and number.isascii() and len(number) < 3 and _lists(text, options, '1'):
        return _within(int(number) - 1, options)
    return None


def _within(place: int, options: Sequence[str]) -> int | None:
    return place if 0 <= place < len(options) else None


def _folded(text: str) -> str:
    """Returns the words of a text, whatever their case, spacing and the punctuation around them."""
    return ' '.join(text.casefold().strip(' \t\r\n.,;:!?"\'*').split())


def _without_article(text: str) -> str:
    return re.sub(r'^(?:an?|the) (?=\S)', '', _folded(text))


def _without_letters(options: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the choices without the letters in front, where each has its own: `A) 21`."""
    found = [_OWN_LETTER.match(option) for option in options]
    letters = ''.join((match[1] or match[2]).lower() if match else '?' for match in found)
    rest = tuple(o[match.end() :] if match else '' for o, match in zip(options, found, strict=True))
    if LETTERS.startswith(letters) and all(text.strip() for text in rest):
        return rest
    return options


# --- Lists in the text of a question -------------------------------------------------------------


def _listed(text: str) -> tuple[str, ...]:
    """Returns the choices that the text lists itself; the last list is theirs."""
    for style in (*_STYLES, _INLINE):
        entries = [(match[1].lower(), match[2].strip()) for match in style.finditer(text)]
        starts = [place for place, (letter, _) in enumerate(entries) if letter == 'a']
        last = entries[starts[-1] :] if starts else []
        if len(last) > 1 and LETTERS.startswith(''.join(letter for letter, _ in last)):
            return tuple(choice for _, choice in last)
    return ()


def _lists(text: str, options: Sequence[str], kind: str = '') -> bool:
    """Returns whether the text lists every choice, one after the other, each as an entry.

    Args:
      text: the question.
      options: the choices in their order.
      kind: '1': entries with numbers; '': with letters, numbers or bullets.
    """
    for first in _MARKER.finditer(text):
        sign = _kind(first)[0]
        if kind not in ('', sign):
            continue
        marker: re.Match[str] | None = first
        for place, option in enumerate(options):
            if marker is None or _kind(marker) != (sign, -1 if sign == '-' else place):
                break
            end = _entry_end(text, marker.end(), option)
            if end is None:
                break
            if place == len(options) - 1:
                return True
            marker = _next_marker(text, end)
    return False


def _other_letter(text: str, options: Sequence[str]) -> str:
    """Returns a letter that two entries or more of a list give to other choices than we would."""
    lettered = dict(zip(LETTERS, options, strict=False))
    for run in _runs(text, options):
        for marker, option in run if len(run) > 1 else ():
            kind, place = _kind(marker)
            if kind == 'a' and lettered.get(LETTERS[place]) != option:
                return f'({LETTERS[place]})'
    return ''


def _runs(text: str, options: Sequence[str]) -> Iterator[list[tuple[re.Match[str], str]]]:
    """Yields the lists of entries, one after the other, that are choices."""
    end = 0
    for first in _MARKER.finditer(text):
        if first.start() < end:
            continue
        run: list[tuple[re.Match[str], str]] = []
        marker: re.Match[str] | None = first
        while marker is not None:
            ends = ((option, _entry_end(text, marker.end(), option)) for option in options)
            entry = next(((option, stop) for option, stop in ends if stop is not None), None)
            if entry is None:
                break
            run.append((marker, entry[0]))
            end = entry[1]
            marker = _next_marker(text, end)
        yield run


def _kind(marker: re.Match[str]) -> tuple[str, int]:
    """Returns the kind of an entry, 'a', '1' or '-', and its place in the list from 0."""
    sign = marker['inside'] or marker['before']
    if sign is None:
        return '-', -1
    return ('1', int(sign) - 1) if sign.isdigit() else ('a', LETTERS.index(sign.lower()))


def _entry_end(text: str, start: int, option: str) -> int | None:
    """Returns where the entry ends that begins at `start`, if it is this choice and no more."""
    quoted = _QUOTES.match(text, start)
    for begin in (start, quoted.end() if quoted else start):
        end = _end_of_words(text, begin, option.split())
        if end is None:
            continue
        after = _AFTER.match(text, end)
        for stop in (end, after.end() if after else end):
            if _CLOSED.match(text, stop) or _next_marker(text, stop):
                return stop
    return None


def _end_of_words(text: str, place: int, words: Sequence[str]) -> int | None:
    for number, word in enumerate(words):
        while number and place < len(text) and text[place].isspace():
            place += 1
        if text[place : place + len(word)].casefold() != word.casefold():
            return None
        place += len(word)
    return place


def _next_marker(text: str, place: int) -> re.Match[str] | None:
    """Returns the marker of the entry that follows, if there is nothing else before it."""
    between = _BETWEEN.match(text, place)
    starts = [place]
    if between:
        line = text.rfind('\n', place, between.end('space')) + 1
        starts = [between.end(), line or place, place]
    markers = (_MARKER.match(text, start) for start in starts)
    return next(filter(None, markers), None)
