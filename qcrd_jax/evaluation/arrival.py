"""Where a rationale arrives: the answer that its reasoning comes to.

A student's rationale mostly ends without `the answer is`, as the statement of the answer was no
part of what it learned from. What it arrives at is read by one rule, the first that applies:

1. an answer that it states as such: `The answer is 7`, `#### 7`, as a teacher's is read;
2. in arithmetic, the one number of a last sentence that begins with `so` or the like; else what its
   last equation results in, right or wrong; else the number of its last clause that has one, before
   words that describe it (`7 apples in 2 boxes`), or the last number there;
3. of choices, the one that comes first behind `only` in the last sentence that has it; else that of
   the whole text, or of the last sentence that names any. Half of a choice's words name it, in any
   form (`museums`, `losing money`), where none is named more fully;
4. of classes, the one that the text names, or the last sentence that names one.

A calculation that was cut off arrives where it was cut. The rule that is often used in place of 2,
`the last number of the text`, differs where words follow the result: of `3 + 4 = 7 apples for 2
friends` it reads 2.

The text is a model's: it is never evaluated, and what cannot be read arrives nowhere.
"""

import re
from collections.abc import Hashable, Sequence
from typing import NamedTuple

from qcrd_jax.data.answers import MAX_CHARACTERS, canonical
from qcrd_jax.data.marking import last_result
from qcrd_jax.data.phrases import folded, words_of
from qcrd_jax.data.schema import AnswerType
from qcrd_jax.data.teacher_output import MAX_TEXT, parse_answer, stated_answer

_NUMBER = re.compile(
    r'(?<![\w.,])(?:-(?=[$£€]?[0-9]))?[$£€]?[0-9]{1,18}(?:,[0-9]{3}){0,5}(?:\.[0-9]{1,18})?'
    r'(?:(?:\s[0-9]{1,18})?/[0-9]{1,18})?(?![A-Za-z0-9])'
)
_SENTENCE = re.compile(r'(?<=[.!?])\s+|\n+')
_CLAUSE = re.compile(r'[,;:](?=\s)|\b(?:so|then|and|but|hence|thus|therefore)\b', re.IGNORECASE)
_ONLY = re.compile(r'\bonly\s', re.IGNORECASE)
_CONCLUDES = re.compile(r'\W{0,3}(?:so|hence|thus|therefore)\b[,:]?\s', re.IGNORECASE)
_DESCRIBES = re.compile(
    r'(?<=[0-9])[^0-9]*?\s(?:in|for|with|than|of|after|from|per|by|when|if|using|before)\s.*',
    re.DOTALL,
)
_NEGATIONS = frozenset('not no never neither nor cannot without rather except unlike isnt'.split())
_LITTLE = frozenset('a an the to of in on at for is it be and or with by from'.split())
_AFTER = 2  # words between a choice and the denial of it: `a bank is not`


def arrives_at(text: str, answer_type: AnswerType, options: Sequence[str] = ()) -> Hashable | None:
    """Returns the value that a rationale arrives at, to compare with `canonical` answers.

    Args:
      text: the rationale, in a student's own words.
      answer_type: of the question.
      options: what an answer is one of, as in `canonical`.

    Returns:
      A value as `canonical` has it, or None where the rationale arrives at nothing that can be
      read. A rationale of free text only arrives at an answer that it states.

    Examples:
      >>> arrives_at('Add both. 3 + 4 = 7 apples in 2 boxes.', 'equation')
      Fraction(7, 1)
      >>> arrives_at('Only museums keep paintings.', 'choice', ['museum', 'bank'])
      'museum'
      >>> arrives_at('Subtract what was spent.', 'equation') is None
      True
    """
    if len(text) > MAX_TEXT:
        return None
    stated = stated_answer(text, answer_type, options)
    if stated:
        return canonical(stated, answer_type, options)
    if answer_type == 'text':
        return None
    turn, answer = parse_answer(text, answer_type, options)
    if answer_type == 'equation':
        return _calculated(turn or text)
    if answer:
        return canonical(answer, answer_type, options)
    return _named(turn, answer_type, options)


def _calculated(text: str) -> Hashable | None:
    """What a calculation comes to."""
    sentences = [part for part in _SENTENCE.split(text) if any(map(str.isdigit, part))]
    if not sentences:
        return canonical(text, 'equation')
    last = sentences[-1]
    if '=' not in last and _CONCLUDES.match(last):
        value = canonical(_CONCLUDES.sub('', last), 'equation')
        if value is not None:
            return value
    result = last_result(text)
    if result is not None:
        return result
    clause = [part for part in _CLAUSE.split(last) if any(map(str.isdigit, part))][-1]
    for reading in (clause, _DESCRIBES.sub('', clause)):
        if (value := canonical(reading, 'equation')) is not None:
            return value
    numbers = [canonical(match.group(), 'equation') for match in _NUMBER.finditer(clause)]
    return next((number for number in reversed(numbers) if number is not None), None)


def _named(text: str, answer_type: AnswerType, options: Sequence[str]) -> Hashable | None:
    """The choice or class that a text names."""
    sentences = _SENTENCE.split(text)[::-1]
    if answer_type == 'choice':
        for sentence in sentences:
            if (name := _singled_out(sentence, options)) is not None:
                return name
    if (value := canonical(text, answer_type, options)) is not None:
        return value
    for sentence in sentences:
        if (value := canonical(sentence, answer_type, options)) is not None:
            return value
        if answer_type == 'choice' and (names := _mostly_named(sentence, options)):
            return next(iter(names)) if len(names) == 1 else None
    return None


def _singled_out(sentence: str, options: Sequence[str]) -> str | None:
    """The choice that comes first behind `only`: `only a library is quiet`."""
    only = _ONLY.search(sentence)
    places = _mentions(sentence[only.end() :], options, deniable=False) if only else {}
    first = min((mention.place for mention in places.values()), default=None)
    names = {name: mention for name, mention in places.items() if mention.place == first}
    most = max((mention.share for mention in names.values()), default=None)
    named = [name for name, mention in names.items() if mention.share == most]
    return named[0] if len(named) == 1 else None


def _mostly_named(sentence: str, options: Sequence[str]) -> set[str]:
    """The choices of which a sentence has the largest part, half of their words or more."""
    mentions = _mentions(sentence, options)
    most = max((mention.share for mention in mentions.values()), default=None)
    return {name for name, mention in mentions.items() if mention.share == most}


class _Mention(NamedTuple):
    """Where a choice is first mentioned, and how much of it: a share, and how many words."""

    place: int
    share: tuple[float, int]


def _mentions(
    sentence: str, options: Sequence[str], *, deniable: bool = True
) -> dict[str, _Mention]:
    words = [_stem(word) for word in words_of(sentence[:MAX_CHARACTERS])]
    mentions = {}
    for option in options:
        wanted = {_stem(word) for word in words_of(option) if word not in _LITTLE}
        places = [place for place, word in enumerate(words) if word in wanted]
        found = len({words[place] for place in places})
        if not wanted or 2 * found < len(wanted):
            continue
        if not (deniable and _denied(words, places)):
            mentions[folded(option)] = _Mention(places[0], (found / len(wanted), found))
    return mentions


def _denied(words: Sequence[str], places: Sequence[int]) -> bool:
    """Whether a denial stands before a choice, or right behind it: `a bank is not`."""
    first, last = places[0], places[-1]
    return not _NEGATIONS.isdisjoint((*words[:first], *words[last + 1 : last + 1 + _AFTER]))


def _stem(word: str) -> str:
    """A word without the endings of English plurals and verbs, so that its forms are alike."""
    for endings in (('ies', 'ied', 'ying'), ('s',), ('ing', 'ed'), ('e', 'y')):
        for ending in endings:
            shorter = word.removesuffix(ending)
            if shorter != word and len(shorter) >= 3 and not word.endswith('ss'):
                word = shorter
                break
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word
