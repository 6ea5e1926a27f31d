"""Which one of several options a text names: a choice by its letter or its words, a class.

A text is split into words, so that case, punctuation and spacing do not count, and every option is
looked for as a sequence of words. Of options that contain each other the longer one is named ('bank
vault', not 'bank'); a text that names two options, or denies one, names none.
"""

import functools
import itertools
import re
import unicodedata
from collections.abc import Sequence

_Words = tuple[str, ...]
_Phrases = dict[_Words, str]

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

_LETTER = re.compile(
    r"""
      [(\[]\s?([a-z])\s?[)\]]  # `(d)`, wherever it stands
    | ^\W*([a-z])(?:\s?[)\]]|[.:](?=\s|$)|\s[-–—](?=\s))  # `d)`, `d.`, `d: ` and `d - ` in front
    | ^\W*([a-z])\W*$  # `d` and nothing else
    | \b(?:option|choice|letter|answer)\s([a-z])\b(?=[^\w\s'’-]|\s*$|\s(?:is|because|since)\b)
    """,
    re.VERBOSE,
)
_LETTER_IN_FRONT = re.compile(r'^\s*(?:\([a-zA-Z]\)|[a-zA-Z][).:])\s*')
_BRACKETED = re.compile(r'^\W*[(\[]([a-z])[)\]]\W*$')  # a letter, even where 'a' is an option
_LETTER_ALONE = re.compile(r'^\W*(?:(?:option|choice|letter|answer)\W+)?([a-z])\W*$')
_LETTER_BEFORE = re.compile(r'^\W*[a-z]\s+(?=\S)')  # `d math problem`; also the article


def folded(text: str) -> str:
    """Returns the text casefolded, with single spaces, without the punctuation around it."""
    return ' '.join(_lowered(text).split()).strip(' .,;:!?"\'')


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
    lowered = _lowered(text)
    if letter := _BRACKETED.match(lowered):
        return _by_letter(letter.group(1), options)
    letters = {match[match.lastindex or 0] for match in _LETTER.finditer(lowered)}
    spellings = [text, _LETTER_BEFORE.sub('', lowered)]
    if len(letters) == 1:
        spellings.append(_LETTER.sub(' ', lowered))
    for spelling in spellings:
        if option := _exactly(spelling, options):
            return option
    lettered = _LETTER.sub(lambda match: f' letter{match[match.lastindex or 0]} ', lowered)
    by_letter = {(f'letter{letter}',): _by_letter(letter, options) or '' for letter in letters}
    return _only(_mentioned(_words(lettered), _findable(options) | by_letter))


def named_class(text: str, classes: tuple[str, ...]) -> str | None:
    """Returns the class that a text names, by its words, or only by its letter.

    Args:
      text: an answer. For the three classes of natural language inference, their other forms and
        synonyms are understood ('entailed', 'yes', 'cannot be determined', ...).
      classes: the classes, in the order in which a prompt would letter them.

    Returns:
      The class, folded; None if the text names none or more than one, or denies one: `not
      entailment` leaves two classes open.
    """
    if name := _exactly(text, classes):
        return name
    lowered = _lowered(text)
    if _folded(classes) == frozenset(_NLI):
        # Before a comma or at the end `no` is an answer, elsewhere it denies what follows it.
        lowered = _YES_OR_NO.sub(lambda match: _YES_AND_NO[match.group()], lowered)
        phrases = _nli_phrases()
    else:
        phrases = _findable(classes)
    mentioned = _mentioned(_words(lowered), phrases)
    if mentioned:
        return _only(mentioned)
    letter = _LETTER_ALONE.match(lowered)
    return _by_letter(letter.group(1), classes) if letter else None


def _lowered(text: str) -> str:
    return unicodedata.normalize('NFC', text).casefold()


def _words(text: str) -> _Words:
    return tuple(_WORD.findall(_APOSTROPHES.sub('', _lowered(text))))


def _without_article(words: _Words) -> _Words:
    return words[1:] if len(words) > 1 and words[0] in _ARTICLES else words


def _exactly(text: str, options: tuple[str, ...]) -> str | None:
    """Returns the option that the text is, but for case, punctuation, spacing and an article."""
    text = folded(text)
    if text and text in _folded(options):
        return text
    words = _words(text)
    phrases = _phrases(options)
    return phrases.get(words) or phrases.get(_without_article(words))


@functools.lru_cache(maxsize=_CACHED)
def _folded(options: tuple[str, ...]) -> frozenset[str]:
    return frozenset(folded(option) for option in options)


@functools.lru_cache(maxsize=_CACHED)
def _phrases(options: tuple[str, ...]) -> _Phrases:
    """Returns the words that name each option; words that would name two ('C', 'C++') name none."""
    phrases: dict[_Words, set[str]] = {}
    for option in options:
        phrases.setdefault(_words(option), set()).add(folded(option))
    for option in options:
        short = _without_article(_words(option))
        if short not in phrases:
            phrases[short] = {folded(option)}
    return {words: named.pop() for words, named in phrases.items() if words and len(named) == 1}


@functools.lru_cache(maxsize=_CACHED)
def _findable(options: tuple[str, ...]) -> _Phrases:
    """Returns the phrases that are looked for inside a text; a letter there is a word ('a')."""
    return {
        words: option
        for words, option in _phrases(options).items()
        if len(words) > 1 or any(len(word) > 1 or word.isdigit() for word in words)
    }


def _by_letter(letter: str, options: Sequence[str]) -> str | None:
    place = ord(letter) - ord('a')
    return folded(options[place]) or None if place < len(options) else None


def _only(names: set[str]) -> str | None:
    """Returns the one name; None for several, and for '', a letter that is no option's."""
    return next(iter(names)) or None if len(names) == 1 else None


def _mentioned(words: _Words, phrases: _Phrases) -> set[str]:
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
    before = {name for start, _, name in spans if start < end}
    denied = {name for start, _, name in spans if start >= end and words[end] in _NEGATIONS}
    return set() if before & denied else before


# --- The classes of natural language inference ----------------------------------------------------

_ENTAILED = ('entailment', 'entailed', 'entails', 'entail', 'entailing', 'supported',
             'supports', 'true')  # fmt: skip
_CONTRADICTED = (
    'contradiction', 'contradictory', 'contradicted', 'contradicts', 'contradict', 'contradicting',
    'refuted', 'false',
)  # fmt: skip
_NLI = {
    'entailment': (
        *_ENTAILED, 'implied', 'implies', 'definitely true', 'is correct', 'definitely correct',
    ),
    'neutral': (
        'neutral', 'maybe', 'possibly', 'perhaps', 'unknown', 'undetermined', 'indeterminate',
        'undecided', 'uncertain', 'unclear', 'unsure', 'inconclusive', 'unrelated', 'it depends',
        'not necessarily', 'not possible to tell', 'not possible to say', 'not possible to know',
        'not possible to determine', 'impossible to tell', 'impossible to say',
        'impossible to know', 'impossible to determine', 'cannot be determined',
        'cant be determined', 'can not be determined', 'cannot determine', 'cannot tell',
        'cant tell', 'cannot say', 'cant say', 'cannot be inferred', 'not enough information',
        'not enough evidence', 'no information', 'insufficient information', 'not clear',
        'not certain', 'not sure', 'not determined', 'not mentioned', 'not stated',
        'not specified', 'does not say', 'doesnt say',
        *(f'not necessarily {name}' for name in _ENTAILED),
        *(f'{may} {name}' for may in ('possibly', 'maybe', 'perhaps', 'may be', 'might be',
                                      'could be') for name in ('true', 'correct', 'false')),
        *(f'neither {one} nor {other}'
          for pair in itertools.product(_ENTAILED, _CONTRADICTED)
          for one, other in itertools.permutations(pair)),
    ),
    'contradiction': (*_CONTRADICTED, 'untrue', 'impossible', 'definitely false', 'is incorrect',
                      'definitely incorrect'),
}  # fmt: skip
_YES_AND_NO = {'yes': 'true', 'no': 'false'}
_YES_OR_NO = re.compile(r'\byes\b|\bno\b(?=\s*[,.;:!]|\W*$)')


@functools.lru_cache(maxsize=1)
def _nli_phrases() -> _Phrases:
    return {tuple(form.split()): name for name, forms in _NLI.items() for form in forms}
