"""Options found in a text word by word: case, punctuation and spacing do not count.

A text is split into words, and every option is looked for as a sequence of words. Of options that
contain each other the longer one is named ('bank vault', not 'bank').
"""

import functools
import re
import unicodedata
from collections.abc import Sequence

Words = tuple[str, ...]
Phrases = dict[Words, str]

_CACHED = 1 << 10  # sets of options: of the answers to one question, or of a dataset's classes
_MAX_WORDS = 30  # before the reasons start; in a longer text an option is only mentioned

_APOSTROPHES = re.compile("['’‘`´ʼ]")
_WORD = re.compile(r'(?<![\w)])-?\d+(?:[.,]\d+)*|\d+(?:[.,]\d+)*|[^\W\d_]+')
_ARTICLES = ('a', 'an', 'the')
_REASONS = frozenset(('because', 'since', 'which', 'due', 'whether', 'if'))
_NEGATIONS = frozenset(
    'not no non never neither nor cannot without rather instead except unlike isnt arent wasnt '
    'werent doesnt dont didnt cant wont wouldnt couldnt shouldnt'.split()
)
_DENIES_SUBJECT = _NEGATIONS - frozenset(
    'not no non never neither nor without rather instead except unlike'.split()
)
_AUXILIARIES = frozenset(
    'is are was were be been being would could should can do does did may might must will'.split()
)


def folded(text: str) -> str:
    """Returns the text casefolded, with single spaces, without the punctuation around it."""
    return ' '.join(lowered(text).split()).strip(' .,;:!?"\'')


def lowered(text: str) -> str:
    """Returns the text composed and casefolded."""
    return unicodedata.normalize('NFC', text).casefold()


def words_of(text: str) -> Words:
    """Returns the words and numbers of a text."""
    return tuple(_WORD.findall(_APOSTROPHES.sub('', lowered(text))))


def _without_article(words: Words) -> Words:
    return words[1:] if len(words) > 1 and words[0] in _ARTICLES else words


def exactly(text: str, options: tuple[str, ...]) -> str | None:
    """Returns the option that the text is, but for case, punctuation, spacing and an article."""
    text = folded(text)
    if text and text in all_folded(options):
        return text
    words = words_of(text)
    phrases = _phrases(options)
    return phrases.get(words) or phrases.get(_without_article(words))


@functools.lru_cache(maxsize=_CACHED)
def all_folded(options: tuple[str, ...]) -> frozenset[str]:
    """Returns every option, folded."""
    return frozenset(folded(option) for option in options)


@functools.lru_cache(maxsize=_CACHED)
def _phrases(options: tuple[str, ...]) -> Phrases:
    """Returns the words that name each option; words that would name two ('C', 'C++') name none."""
    phrases: dict[Words, set[str]] = {}
    for option in options:
        phrases.setdefault(words_of(option), set()).add(folded(option))
    for option in options:
        short = _without_article(words_of(option))
        if short not in phrases:
            phrases[short] = {folded(option)}
    return {words: named.pop() for words, named in phrases.items() if words and len(named) == 1}


@functools.lru_cache(maxsize=_CACHED)
def findable(options: tuple[str, ...]) -> Phrases:
    """Returns the phrases that are looked for inside a text; a letter there is a word ('a')."""
    return {
        words: option
        for words, option in _phrases(options).items()
        if len(words) > 1 or any(len(word) > 1 or word.isdigit() for word in words)
    }


def by_letter(letter: str, options: Sequence[str]) -> str | None:
    """Returns the option of a lower-case letter; None beyond the options, and for an empty one."""
    place = ord(letter) - ord('a')
    return folded(options[place]) or None if place < len(options) else None


def only(names: set[str]) -> str | None:
    """Returns the one name; None for several, and for '', a letter that is no option's."""
    return next(iter(names)) or None if len(names) == 1 else None


def _denies_subject(words: Words, subject: int, place: int) -> bool:
    """Returns whether a denial follows its subject's end: `the bank is not`, `a bank cannot`."""
    if words[place] == 'not':
        return subject == place - 1 and words[subject] in _AUXILIARIES
    return subject == place and words[place] in _DENIES_SUBJECT


def mentioned(words: Words, phrases: Phrases) -> set[str]:
    """Returns what the words name before they give reasons or deny; empty if they also deny it."""
    lengths = {len(phrase) for phrase in phrases}
    spans = [
        (start, start + length, phrases[words[start : start + length]])
        for length in lengths
        for start in range(len(words) - length + 1)
        if words[start : start + length] in phrases
    ]
    spans = [
        (start, stop, name)
        for start, stop, name in spans
        if not any(
            first <= start and stop <= last and (first, last) != (start, stop)
            for first, last, _ in spans
        )
    ]
    inside = {place for start, stop, _ in spans for place in range(start, stop)}
    end = len(words)
    for place, word in enumerate(words):
        if place not in inside and (word in _REASONS or word in _NEGATIONS):
            end = place
            break
    if end > _MAX_WORDS:
        return set()
    if end < len(words) and any(_denies_subject(words, stop, end) for _, stop, _ in spans):
        return set()
    before = {name for start, _, name in spans if start < end}
    denied = {name for start, _, name in spans if start >= end and words[end] in _NEGATIONS}
    return set() if before & denied else before
