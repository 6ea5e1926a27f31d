"""Universal parts of speech: a small rule set, or stanza's models behind the same function.

The rules know the closed classes by heart, some hundred frequent words, and suffixes; a glance at
the words before and after settles the rest. They are made for short English rationales, where a
word that is not understood is better left alone: it gets the tag 'X'.
"""

import re
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

from qcrd_jax.data import lexicon
from qcrd_jax.errors import InputError


class Word(NamedTuple):
    """Where a word stands in a text, and its universal part of speech.

    Attributes:
      start: of its first character.
      end: after its last character.
      tag: 'NOUN', 'VERB', 'ADJ', 'ADV', 'NUM', 'PROPN', 'AUX', 'DET', 'PRON', ...; 'X': unknown.
    """

    start: int
    end: int
    tag: str


Tagger = Callable[[str], Sequence[Word]]
"""Gives the words of a text in their order, without overlap."""

TaggerName = Literal['rules', 'stanza']

NUMBER = r'[0-9]+(?:,[0-9]{3})*(?:\.[0-9]+)?'
_TOKEN = re.compile(
    rf"""
      (?P<number>(?<![^\W_]){NUMBER}(?![^\W_]))
    | (?P<word>[^\W\d_]+(?:-[^\W\d_]+)*?(?=n['’]t\b)|[^\W\d_]+(?:-[^\W\d_]+)*)
    """,
    re.VERBOSE | re.IGNORECASE,
)
_SENTENCE_END = re.compile(r'[.!?:;\n"“”`]\s*$')

_SUFFIXES = (
    ('ADV', ('ly',)),
    ('NOUN', ('tion', 'tions', 'sion', 'sions', 'ment', 'ments', 'ness', 'ity', 'ities', 'ship',
              'ism', 'ist', 'ists', 'ance', 'ence', 'hood', 'ology', 'graphy', 'ers', 'ors')),
    ('ADJ', ('ous', 'ful', 'able', 'ible', 'ive', 'less', 'ical', 'ial', 'ish')),
    ('VERB', ('ing', 'ed', 'ize', 'ify')),
)  # fmt: skip
_SUFFIX_TAG = {suffix: tag for tag, suffixes in _SUFFIXES for suffix in suffixes}
_BEFORE_VERBS = frozenset(
    'to will would can could cannot shall should must may might do does did'.split(' ')
)
_NOMINAL = frozenset(('DET', 'ADJ', 'NUM', 'ADP'))  # what a noun follows


def rules(text: str) -> list[Word]:
    """Tags the words of an English text by lists, suffixes and context; any text is survived.

    Examples:
      >>> text = 'Anna gave 12 pens to her friend.'
      >>> [(text[start:end], tag) for start, end, tag in rules(text)][:4]
      [('Anna', 'PROPN'), ('gave', 'VERB'), ('12', 'NUM'), ('pens', 'NOUN')]
    """
    matches = list(_TOKEN.finditer(text))
    forms = [match.group().casefold() for match in matches]
    cased = text != text.lower()  # where nothing has a capital, a name looks like a noun
    words: list[Word] = []
    previous = ''
    for i, match in enumerate(matches):
        after = forms[i + 1] if i + 1 < len(forms) else ''
        gap = text[matches[i - 1].end() : match.start()] if i else '\n'
        starts = bool(_SENTENCE_END.search(gap)) or i == 0
        if starts:
            previous = ''
        if match.lastgroup == 'number' or forms[i] in lexicon.NUMBER_WORDS:
            tag = 'NUM'
        elif len(forms[i]) == 1 and forms[i] not in 'ai':
            tag = 'X'  # the letter of a choice, an unknown of an equation
        else:
            tag = _tag(match.group(), previous, after, starts, cased)
        words.append(Word(match.start(), match.end(), tag))
        if forms[i] in _BEFORE_VERBS and tag != 'VERB':
            previous = 'modal' if tag == 'AUX' else 'to'
        elif tag not in ('ADV', 'PART'):  # `is not always seen` is like `is seen`
            previous = tag
    return words


def _tag(word: str, previous: str, after: str, starts: bool, cased: bool) -> str:
    """The part of speech of one word.

    Args:
      word: as it is written.
      previous: the tag before it, 'modal' or 'to'; '' where a sentence starts.
      after: the word after it, casefolded.
      starts: whether a sentence starts here.
      cased: whether the text has capitals at all.
    """
    form = word.casefold()
    known_verb = form in lexicon.VERB_FORMS
    if form in lexicon.CLOSED_TAG and not (known_verb and previous in ('to', 'modal')):
        return _closed(form, previous, after)
    if not starts and word[0].isupper() and not word.isupper():
        return 'PROPN'
    if _is_adjective(form) and not (known_verb and previous in ('to', 'modal', 'PRON')):
        return 'ADJ'
    if form in lexicon.NOUNS:
        return 'NOUN'
    if known_verb or form.endswith(('ing', 'ed')):
        return 'NOUN' if _is_nominal(form, previous, after) else 'VERB'
    if previous == 'modal' or (previous == 'to' and lexicon.CLOSED_TAG.get(after) == 'DET'):
        return 'VERB'
    for length in (6, 5, 4, 3, 2):
        tag = _SUFFIX_TAG.get(form[-length:]) if len(form) > length + 2 else None
        if tag:
            return tag
    if starts and cased and word[0].isupper() and not form.endswith('s'):
        return 'PROPN' if _is_verb(after) else 'NOUN'
    plural = form.endswith('s') and not form.endswith(('ss', 'us', 'is'))
    if plural and previous in ('NOUN', 'PROPN', 'X') and lexicon.CLOSED_TAG.get(after) == 'DET':
        return 'VERB'  # `the system comprises the`
    return 'NOUN' if cased or plural or previous in _NOMINAL - {'ADP'} else 'X'


def _closed(form: str, previous: str, after: str) -> str:
    """A closed class, where `have` and `do` may also be verbs of their own."""
    if form in ('has', 'have', 'had') and not _is_participle(after):
        return 'VERB'
    if form in ('do', 'does', 'did') and (previous in ('to', 'modal') or not _takes_do(after)):
        return 'VERB'
    if form == 'that' and previous in ('NOUN', 'VERB', 'PRON', 'PROPN'):
        return 'SCONJ'
    return lexicon.CLOSED_TAG[form]


def _is_nominal(form: str, previous: str, after: str) -> bool:
    """Whether a word that may be a verb is a noun here: `the play`, `more work`, `her building`."""
    if previous != 'DET' and lexicon.CLOSED_TAG.get(after) in ('DET', 'PRON'):
        return False  # `being active requires a rest`
    if form.endswith(('ing', 'ed')) and (previous == 'ADP' or _is_content(after)):
        return False  # `for making it`, `the opposing teams`
    return previous in _NOMINAL


def _is_adjective(form: str) -> bool:
    """Whether it is known, also as a comparative or superlative: `smaller`, `closest`."""
    stems = [form, *(form.removesuffix(ending) for ending in ('r', 'st', 'er', 'est'))]
    return any(stem in lexicon.ADJECTIVES for stem in stems)


def _is_content(form: str) -> bool:
    return bool(form) and form not in lexicon.CLOSED_TAG


def _is_verb(form: str) -> bool:
    return lexicon.CLOSED_TAG.get(form) == 'AUX' or form in lexicon.VERB_FORMS


def _is_participle(form: str) -> bool:
    return form in ('not', 'been', 'had', 'to', 'n') or (
        form.endswith('ed') or lexicon.VERB_FORMS.get(form) == 'ed'
    )


def _takes_do(form: str) -> bool:
    return form in ('not', 'n') or lexicon.CLOSED_TAG.get(form) == 'PRON' or form in lexicon.VERBS


def load_tagger(name: str) -> Tagger:
    """Returns the tagger of a name.

    Args:
      name: 'rules', or 'stanza' for its English models (the paper's choice), from the folder that
        STANZA_RESOURCES_DIR names or stanza's own; nothing is downloaded.

    Raises:
      InputError: if the name is another, or stanza or its models are missing.
    """
    if name == 'rules':
        return rules
    if name == 'stanza':
        return _load_stanza()
    known = ' | '.join(get_args(TaggerName))
    raise InputError(f'--config.data.tagger: expected {known}, got {name!r}.')


def _load_stanza() -> Tagger:
    try:
        import stanza  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError(
            f'--config.data.tagger=stanza: stanza cannot be imported ({error}). '
            'Run `pip install stanza`; --config.data.tagger=rules works without it.'
        ) from error
    try:
        pipeline = stanza.Pipeline(
            'en', processors='tokenize,pos', download_method=None, use_gpu=False, verbose=False
        )
    except Exception as error:  # stanza has a class for each way of not finding its models
        raise InputError(
            f'--config.data.tagger=stanza: its English models cannot be loaded ({error}). Run '
            "`python -c \"import stanza; stanza.download('en', processors='tokenize,pos')\"`, or "
            'set STANZA_RESOURCES_DIR to the folder that holds them; --config.data.tagger=rules '
            'works without them.'
        ) from error
    return lambda text: document_words(pipeline(text)) if text.strip() else []


def document_words(document: Any) -> list[Word]:
    """The words of a `stanza.models.common.doc.Document`.

    A contraction such as `don't` is one token of several words: it gets the tag of its first.
    """
    return [
        Word(token.start_char, token.end_char, token.words[0].upos)
        for sentence in document.sentences
        for token in sentence.tokens
    ]
