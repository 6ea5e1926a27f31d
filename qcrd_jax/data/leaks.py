"""Questions of validation and test that stand in a split they are to be kept from.

What is compared are wordings (see `wording`), in four grades:

- exact: the same words, numbers and choices;
- numbers: the same but for the numbers;
- choices: the same question, other choices;
- near: most of the words and of their neighbourhoods are the same (see `shingles`). Of a premise
  with a hypothesis both are, since datasets ask several hypotheses of one premise by design; of a
  question with choices so are some of the choices, since the templates of their authors repeat.
"""

import collections
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from absl import logging

from qcrd_jax.data.schema import SPLITS, AnswerType, Example
from qcrd_jax.data.shingles import ShingleIndex, jaccard, shingles_of
from qcrd_jax.data.splits import Dataset
from qcrd_jax.data.wording import Wording, without_numbers, wording
from qcrd_jax.errors import InputError

LeaksRule = Literal['keep', 'drop']

KINDS = {
    'exact': 'word for word',
    'numbers': 'with other numbers',
    'choices': 'with other choices',
    'near': 'nearly',
}
"""What a leak may be, the closest first, in words for a person."""

LEAST = 0.7  # similarity of what is near; with choices: of question and choices together
_LEAST_QUESTION, _LEAST_CHOICES = 0.5, 0.4  # of a question with choices, and of its choices
_AT_ONCE = 2048  # questions that are compared at once
_ENOUGH = 2000  # questions of similar words among which the nearest is looked for
_NAMED = 5  # questions of a split that are named on the terminal
_SHOWN_TEXT = 500  # characters of a question in the list of leaks


class Leak(NamedTuple):
    """A question, and the closest of those of another split.

    Attributes:
      split: of the question.
      id: of the question.
      found_in: the other split.
      found_id: of the question there.
      kind: one of `KINDS`.
      similarity: 0 to 1.
      input: the question, its beginning.
      found_input: the one there, its beginning.
    """

    split: str
    id: str
    found_in: str
    found_id: str
    kind: str
    similarity: float
    input: str
    found_input: str


class _Found(NamedTuple):
    kind: str
    similarity: float
    example: Example


def _closeness(found: _Found) -> tuple[int, float]:
    return -list(KINDS).index(found.kind), found.similarity


class LeakSearch:
    """Compares questions that pass by with those that are held out.

    Args:
      held: the questions of each split that is to be kept from others.
      answer_type: how their answers are compared; it says which have choices.
    """

    def __init__(self, held: Mapping[str, Iterable[Example]], answer_type: AnswerType):
        self._answer_type: AnswerType = answer_type
        self._names: list[tuple[str, str, str]] = []
        self._wordings: list[Wording] = []
        for split, examples in held.items():
            for example in examples:
                self._names.append((split, example.id, example.input[:_SHOWN_TEXT]))
                self._wordings.append(wording(example, answer_type))
        self._splits = np.array([split for split, _, _ in self._names])
        self._places = {kind: _gathered(map(key, self._wordings)) for kind, key in _KEYS.items()}
        least = _LEAST_QUESTION if answer_type == 'choice' else LEAST
        masked = [without_numbers(words.words) for words in self._wordings]
        self._index = ShingleIndex(masked, least)
        self._best: dict[tuple[int, str], _Found] = {}
        self._compared: dict[str, np.ndarray] = {}

    def look(self, split: str, examples: Iterable[Example]) -> Iterator[Example]:
        """Yields the examples of a split, and compares them on the way with those of others."""
        waiting: list[Example] = []
        for example in examples:
            yield example
            waiting.append(Example(example.id, example.input, '', (), example.options))
            if len(waiting) == _AT_ONCE:
                self._compare(split, waiting)
                waiting = []
        self._compare(split, waiting)

    def leaks(self) -> list[Leak]:
        """Returns what was found: of every question and other split the closest, test first."""
        order = sorted(self._best, key=lambda key: (self._names[key[0]][0] != 'test', key[1], key))
        return [self._leak(place, split, self._best[place, split]) for place, split in order]

    def _leak(self, place: int, split: str, found: _Found) -> Leak:
        name, identity, text = self._names[place]
        other = found.example
        return Leak(
            split=name,
            id=identity,
            found_in=split,
            found_id=other.id,
            kind=found.kind,
            similarity=round(found.similarity, 3),
            input=text,
            found_input=other.input[:_SHOWN_TEXT],
        )

    def _compare(self, split: str, examples: Sequence[Example]) -> None:
        wordings = [wording(example, self._answer_type) for example in examples]
        for example, words in zip(examples, wordings, strict=True):
            for kind, places in self._places.items():
                for place in places.get(_KEYS[kind](words), ()):
                    self._keep(place, split, _Found(kind, 1.0, example))
        compared = self._compared.setdefault(split, np.zeros(len(self._wordings), np.int64))
        wanted = (self._splits != split) & (compared < _ENOUGH)
        for (place, other), found in self._best.items():
            if other == split and found.kind != 'near':
                wanted[place] = False
        pairs = self._index.near([without_numbers(words.words) for words in wordings], wanted)
        compared += np.bincount(pairs.places, minlength=len(compared))
        if not any(words.rest for words in wordings):
            pairs = pairs.nearest()
        for row, place, similarity in zip(*map(np.ndarray.tolist, pairs), strict=True):
            whole = _similarity(similarity, self._wordings[place], wordings[row])
            if whole >= LEAST:
                self._keep(place, split, _Found('near', whole, examples[row]))

    def _keep(self, place: int, split: str, found: _Found) -> None:
        if self._names[place][0] == split:
            return
        other = self._best.get((place, split))
        if other is None or _closeness(found) > _closeness(other):
            self._best[place, split] = found


def _similarity(of_words: float, one: Wording, other: Wording) -> float:
    """Returns how similar two questions are whose words are that similar; 0 for not near."""
    if not (one.rest or other.rest):
        return of_words
    if not one.choices:
        return min(of_words, jaccard(*(shingles_of(without_numbers(w.rest)) for w in (one, other))))
    choices = jaccard(frozenset(one.rest), frozenset(other.rest))
    if choices < _LEAST_CHOICES:
        return 0.0
    whole = (shingles_of(without_numbers(w.words)) | _tagged(w.rest) for w in (one, other))
    return jaccard(*whole)


def _tagged(choices: Iterable[str]) -> frozenset[str]:
    return frozenset(f'\n{choice}' for choice in choices)  # no word begins so


def _but_for_numbers(words: Wording) -> object:
    rest = without_numbers(words.rest)
    if words.choices:
        rest = tuple(' '.join(without_numbers(tuple(choice.split()), 0)) for choice in words.rest)
    return without_numbers(words.words), rest


def _but_for_choices(words: Wording) -> object:
    return words.words if words.choices else words


_KEYS: dict[str, Callable[[Wording], object]] = {
    'exact': lambda words: words,
    'numbers': _but_for_numbers,
    'choices': _but_for_choices,
}


def _gathered(keys: Iterable[object]) -> dict[object, list[int]]:
    places = collections.defaultdict(list)
    for place, key in enumerate(keys):
        places[key].append(place)
    return dict(places)


# --- What is said of them -------------------------------------------------------------------------


def counts(leaks: Iterable[Leak], split: str) -> dict[str, dict[str, int]]:
    """Returns how many questions of a split stand in each other one, by kind."""
    found: dict[str, dict[str, int]] = {}
    for leak in leaks:
        if leak.split == split:
            kinds = found.setdefault(leak.found_in, dict.fromkeys(KINDS, 0))
            kinds[leak.kind] += 1
    return found


def as_text(leaks: Sequence[Leak], sizes: Mapping[str, int]) -> str:
    """Returns in words how many questions stand where they should not, and which are the closest.

    Args:
      leaks: of `LeakSearch.leaks`.
      sizes: how many questions each split has.
    """
    lines = []
    for split, other in (('test', 'train'), ('test', 'validation'), ('validation', 'train')):
        these = [leak for leak in leaks if (leak.split, leak.found_in) == (split, other)]
        numbers = collections.Counter(leak.kind for leak in these)
        kinds = ', '.join(
            f'{numbers[kind]} {words}' for kind, words in KINDS.items() if numbers[kind]
        )
        lines.append(
            f'{len(these)} of {sizes[split]} {split} questions stand in {other}'
            + (f': {kinds}' if kinds else '')
        )
        closest = sorted(these, key=lambda leak: (list(KINDS).index(leak.kind), -leak.similarity))
        for leak in closest[:_NAMED]:
            nearly = f' ({leak.similarity:.2f})' if leak.kind == 'near' else ''
            lines.append(f'  {leak.id} is {leak.found_id} {KINDS[leak.kind]}{nearly}')
        if len(these) > _NAMED:
            lines.append(f'  and {len(these) - _NAMED} more')
    return '\n'.join(lines)


def warn(leaks: Sequence[Leak]) -> None:
    """Warns of test questions that a student is trained on, word for word."""
    exact = [leak for leak in leaks if leak.kind == 'exact' and leak.found_in == 'train']
    for split in ('test', 'validation'):
        if these := [leak for leak in exact if leak.split == split]:
            logging.warning(
                '%d %s questions stand in train word for word (%s is %s, ...): leave those out of '
                'train by --config.data.leaks=drop, or say so with the results.',
                len(these), split, these[0].id, these[0].found_id,
            )  # fmt: skip


def kept_apart(dataset: Dataset) -> Dataset:
    """Returns a dataset without the training questions that stand in others word for word.

    Raises:
      InputError: if none is left.
    """
    train, *held = (dataset.splits[split] for split in SPLITS)
    known = {wording(example, dataset.answer_type) for examples in held for example in examples}
    apart = np.array([wording(example, dataset.answer_type) not in known for example in train])
    logging.info('data.leaks: %d training questions are left out', np.count_nonzero(~apart))
    if apart.all():
        return dataset
    if not apart.any():
        raise InputError(
            'data.leaks: every training question stands in validation or test; give others, or '
            'keep them by --config.data.leaks=keep.'
        )
    return dataset.with_train(np.flatnonzero(apart), 'apart')
