"""Which class a text names: by its words, its letter and, in language inference, by synonyms."""

import functools
import itertools
import re

from qcrd_jax.data.phrases import (
    Phrases,
    all_folded,
    by_letter,
    exactly,
    findable,
    lowered,
    mentioned,
    only,
    words_of,
)

_LETTER_ALONE = re.compile(r'^\W*(?:(?:option|choice|letter|answer)\W+)?([a-z])\W*$')


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
    if name := exactly(text, classes):
        return name
    low = lowered(text)
    if all_folded(classes) == frozenset(_NLI):
        # Before a comma or at the end `no` is an answer, elsewhere it denies what follows it.
        low = _YES_OR_NO.sub(lambda match: _YES_AND_NO[match.group()], low)
        phrases = _nli_phrases()
    else:
        phrases = findable(classes)
    named = mentioned(words_of(low), phrases)
    if named:
        return only(named)
    letter = _LETTER_ALONE.match(low)
    return by_letter(letter.group(1), classes) if letter else None


def is_class(text: str, classes: tuple[str, ...]) -> bool:
    """Returns whether the text is a class, a form of one or its letter, and nothing more.

    Examples:
      >>> is_class('**Neutral**', ('entailment', 'neutral', 'contradiction'))
      True
      >>> is_class('It is neutral.', ('entailment', 'neutral', 'contradiction'))
      False
    """
    if exactly(text, classes) or _LETTER_ALONE.match(lowered(text)):
        return named_class(text, classes) is not None
    return all_folded(classes) == frozenset(_NLI) and words_of(text) in _nli_phrases()


# --- The classes of natural language inference ----------------------------------------------------

_ENTAILED = ('entailment', 'entailed', 'entails', 'entail', 'entailing', 'supported',
             'supports', 'support', 'true')  # fmt: skip
_CONTRADICTED = (
    'contradiction', 'contradictory', 'contradicted', 'contradicts', 'contradict', 'contradicting',
    'refuted', 'refutes', 'refute', 'refuting', 'disproved', 'disproves', 'inconsistent', 'false',
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
        'not specified', 'does not say', 'doesnt say', 'not enough info', 'nei', 'not enough data',
        'insufficient evidence', 'insufficient info', 'lack of information', 'no evidence',
        'unverifiable', 'unverified', 'not verifiable', 'cannot be verified', 'cant be verified',
        'cannot be confirmed', 'cant be confirmed', 'cannot be proven', 'cannot be known',
        'cant be known', 'cannot know', 'cannot infer', 'cant infer', 'cant be inferred',
        'cannot conclude', 'not possible to infer', 'unknowable', 'neither of them', 'neither',
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
def _nli_phrases() -> Phrases:
    return {tuple(form.split()): name for name, forms in _NLI.items() for form in forms}
