"""Corrupted rationales: negatives made to balance the discriminator's classes (section A.3).

The paper masks and replaces words that StanfordNLP picks out. Here a tagger (`tagging`) says what
carries the reasoning, and one to three places of it are changed (`corruptions`): a slip in a
calculation, a claim turned round (`is` to `is not`, `more` to `less`), or a word replaced by
another of its kind.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from qcrd_jax.data import corruptions, lexicon
from qcrd_jax.data.corruptions import Target, like
from qcrd_jax.data.tagging import Tagger, Word, load_tagger, rules

__all__ = ['MASK', 'Tagger', 'Word', 'corrupt', 'load_tagger', 'rules']

MASK = '_'  # stands for a masked word; no tokenizer of ours knows it as a word
_MASK_SHARE = 0.1  # of the words and numbers that are changed: hidden instead of replaced
_COUNTS = (0.65, 0.25, 0.1)  # how often one, two or three places are changed
_CLAIM_FIRST = 0.6  # how often a claim is turned round, where that is possible
_PEER_SHARE = 0.8  # how often the rationale itself lends the word that replaces another
_READ = 10_000  # characters of a rationale that are looked at: no student reads further
_MAX_DIGITS = 15  # of a number that is calculated with


def corrupt(
    rationale: str, rng: np.random.Generator, *, arithmetic: bool = True, tagger: Tagger = rules
) -> str:
    """Returns the rationale with one to three of its words masked or replaced.

    In arithmetic it is one number or operator, where there is any: two slips could undo each other,
    and other words would only give the corruption away. For the same reasons at most one claim is
    turned round, and no word moves to where another is changed.

    Args:
      rationale: a good rationale, in English; other languages and anything else are survived.
      rng: decides which words change, and how.
      arithmetic: whether the rationale is a calculation.
      tagger: gives the parts of speech, see `load_tagger`.

    Returns:
      A text that always differs from `rationale`, by more than punctuation.

    Examples:
      >>> corrupt('30 - 12 = 18 pens are left.', np.random.default_rng(0))
      '30 - 12 = 30 pens are left.'
    """
    text = rationale[:_READ]
    words = tagger(text)
    targets = corruptions.find_targets(text, words, arithmetic)
    if not targets:
        return f'{rationale} {MASK}' if rationale else MASK
    chosen = _choose(targets, arithmetic, rng)
    substitutes = _Substitutes(text, words, chosen)
    # From the end, so that the places before stay where they are.
    for target in sorted(chosen, key=lambda target: target.start, reverse=True):
        text = _put(text, target, substitutes.draw(target, rng))
    return text + rationale[_READ:]


def _choose(targets: Sequence[Target], arithmetic: bool, rng: np.random.Generator) -> list[Target]:
    """Draws the places to change: one slip in a calculation, else one to three places."""
    calculation = [target for target in targets if target.kind in ('operator', 'number')]
    if arithmetic and calculation:
        return [_draw(calculation, rng)]
    claims = [target for target in targets if target.kind == 'claim']
    rest = [target for target in targets if target.kind != 'claim']
    claim_first = claims and (not rest or rng.random() < _CLAIM_FIRST)
    chosen = [_draw(claims if claim_first else rest, rng)]
    for _ in range(int(rng.choice(len(_COUNTS), p=_COUNTS))):
        rest = [
            target
            for target in rest
            if all(target.start > c.end + 1 or c.start > target.end + 1 for c in chosen)
        ]
        if rest:
            chosen.append(_draw(rest, rng))
    return chosen


def _draw(targets: Sequence[Target], rng: np.random.Generator) -> Target:
    weights = np.array([target.weight for target in targets])
    return targets[rng.choice(len(targets), p=weights / weights.sum())]


class _Substitutes:
    """What may stand in a target's place: words of the rationale, of a group, of a list."""

    def __init__(self, text: str, words: Sequence[Word], chosen: Sequence[Target]):
        self._text = text
        # A word that is changed lends itself to no other place: `from A to B` as `from B to A`.
        self._changed = {text[target.start : target.end].casefold() for target in chosen}
        self._numbers = [
            number
            for number in corruptions.NUMBER_PATTERN.findall(text)
            if number not in self._changed and len(number) <= _MAX_DIGITS
        ]
        self._peers: dict[tuple[str, str], list[str]] = defaultdict(list)
        for start, end, tag in words:
            if corruptions.is_content(text[start:end].casefold(), tag):
                self._peers[tag, _inflection(text[start:end], tag)].append(text[start:end])

    def draw(self, target: Target, rng: np.random.Generator) -> str:
        """Returns what stands in the place of the target: never the same text."""
        if target.options:
            return _pick(target.options, rng)
        if rng.random() < _MASK_SHARE:
            return MASK
        if target.kind == 'number':
            return self._number(self._text[target.start : target.end], rng)
        return self._word(target, rng)

    def _number(self, text: str, rng: np.random.Generator) -> str:
        """Another number of the rationale, or one close by, as a slip gives; of another value."""
        if len(text) > _MAX_DIGITS:
            return text[:-1] + str((int(text[-1]) + 1) % 10)
        old = corruptions.value(text)
        others = [number for number in self._numbers if corruptions.value(number) != old]
        if others and rng.random() < _PEER_SHARE:
            return _pick(others, rng)
        whole, point, decimals = text.partition('.')
        number, step = int(whole.replace(',', '')), int(_pick(('1', '2', '3', '10'), rng))
        number += -step if number > step and rng.random() < 0.5 else step
        return f'{number:{"," if "," in whole else ""}}{point}{decimals}'

    def _word(self, target: Target, rng: np.random.Generator) -> str:
        word, tag = self._text[target.start : target.end], target.tag
        form, inflection = word.casefold(), _inflection(word, tag)
        group = self._unused(lexicon.EXCLUSIVE.get((tag, form), ()), target)
        peers = self._unused(self._peers[tag, inflection], target)
        regular = inflection if tag in ('NOUN', 'VERB') else ''
        if regular or tag != 'ADJ' or not inflection:
            listed = [lexicon.inflect(other, regular) for other in lexicon.OTHERS.get(tag, ())]
        else:
            listed = []  # comparatives have none
        if not word.isascii():
            listed = []  # an English word would give itself away
        listed = self._unused(listed, target)
        for candidates, share in ((group, 0.8), (peers, _PEER_SHARE if listed else 1.0)):
            if candidates and rng.random() < share:
                return like(_pick(candidates, rng), word)
        return like(_pick(listed, rng), word) if listed else MASK

    def _unused(self, candidates: Iterable[str], target: Target) -> list[str]:
        """The candidates that neither are changed themselves nor stand beside the target."""
        beside = self._text[max(0, target.start - 25) : target.end + 25].casefold().split()
        return [
            word
            for word in candidates
            if word.casefold() not in self._changed and word.casefold() not in beside
        ]


def _inflection(word: str, tag: str) -> str:
    """'' or 's', 'ed', 'ing'; of adjectives 'er', 'est'."""
    form = word.casefold()
    if tag == 'VERB' and form in lexicon.VERB_FORMS:
        return lexicon.VERB_FORMS[form]
    if tag == 'NOUN' and form in lexicon.PLURALS:
        return 's'
    if form.endswith(('ss', 'us', 'is')):
        return ''
    endings = {'NOUN': ('s',), 'VERB': ('ing', 'ed', 's'), 'ADJ': ('er', 'est')}.get(tag, ())
    return next((ending for ending in endings if form.endswith(ending)), '')


def _put(text: str, target: Target, replacement: str) -> str:
    """Puts the replacement in its place, with `a` or `an` before it set right."""
    before, after = text[: target.start], text[target.end :]
    article = re.search(r'\b(an?) $', before[-4:], re.IGNORECASE)
    if article and replacement[:1].isalpha():
        right = 'an' if replacement[0].casefold() in 'aeiou' else 'a'
        before = f'{before[: len(before) - len(article.group())]}{like(right, article.group(1))} '
    return f'{before}{replacement}{after}'


def _pick(candidates: Sequence[str], rng: np.random.Generator) -> str:
    return candidates[int(rng.integers(len(candidates)))]
