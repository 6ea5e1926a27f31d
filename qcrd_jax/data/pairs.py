"""Rationales as preferences: a good and a bad one to the same question, as TRL's trainers read."""

import collections
import dataclasses
import itertools
import pathlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from qcrd_jax import bars, files
from qcrd_jax.data.schema import SEPARATOR, AnswerType, Example, PositivesRule
from qcrd_jax.data.self_consistency import split_samples
from qcrd_jax.data.splits import Dataset
from qcrd_jax.errors import InputError

PairsFormat = Literal['standard', 'conversational']

OUTCOMES = {
    'paired': 'have a right and a wrong rationale',
    'only_right': 'have only right ones',
    'only_wrong': 'have only wrong ones',
    'only_equal': 'have right and wrong ones of the same words',
    'no_rationale': 'have none',
}
"""What becomes of a question, in words for a person."""


@dataclasses.dataclass(frozen=True)
class Pairing:
    """How samples become pairs.

    Attributes:
      answer_type: how answers are compared.
      positives: which samples are right; see `self_consistency.split_samples`.
      samples: K, of each question's samples the first K are used.
      form: 'standard': texts; 'conversational': lists of messages, for a chat template.
      most: pairs of one question, drawn at random from all of them; 0: all.
      seed: of the draw.
    """

    answer_type: AnswerType
    positives: PositivesRule = 'self_consistency'
    samples: int = 5
    form: PairsFormat = 'standard'
    most: int = 0
    seed: int = 0


def preferences(
    examples: Iterable[Example], pairing: Pairing, counts: collections.Counter[str]
) -> Iterator[dict[str, Any]]:
    r"""Yields preferences with an explicit prompt, as TRL calls them, and the question's id.

    Every right rationale of a question is paired with every wrong one.

    Args:
      examples: are read one by one.
      pairing: how they are paired.
      counts: of `pairs`, and of questions by their outcome (`OUTCOMES`); is added to on the way.

    Examples:
      >>> from qcrd_jax.data.schema import TeacherSample
      >>> samples = [TeacherSample('', f'It is 3 * {n}.', str(3 * n), '') for n in (5, 4)]
      >>> pens = Example('1', 'A pen costs 3. What do 4 cost?', '12', tuple(samples))
      >>> pair = next(preferences([pens], Pairing('equation', 'gold'), collections.Counter()))
      >>> pair['prompt'], pair['chosen'], pair['rejected']
      ('A pen costs 3. What do 4 cost?\n', 'It is 3 * 4.', 'It is 3 * 5.')
    """
    for example in examples:
        split = split_samples(
            example.samples[: pairing.samples],
            example.label,
            pairing.answer_type,
            pairing.positives,
            example.options,
        )
        pairs, outcome = _pairs(split.positives, split.negatives)
        counts.update({outcome: 1, 'pairs': 0})
        for chosen, rejected in _drawn(pairs, example.id, pairing):
            counts['pairs'] += 1
            yield _record(example, chosen, rejected, pairing.form)


def _pairs(right: Sequence[str], wrong: Sequence[str]) -> tuple[list[tuple[str, str]], str]:
    """Returns all pairs, and what becomes of the question; a wording counts once."""
    chosen, rejected = _wordings(right), _wordings(wrong)
    different = rejected.keys() - chosen.keys()
    pairs = list(
        itertools.product(
            chosen.values(), (text for words, text in rejected.items() if words in different)
        )
    )
    if pairs:
        return pairs, 'paired'
    if chosen and rejected:
        return [], 'only_equal'
    if chosen or rejected:
        return [], 'only_right' if chosen else 'only_wrong'
    return [], 'no_rationale'


def _wordings(texts: Sequence[str]) -> dict[str, str]:
    """Returns the texts that differ in more than white space, by their words."""
    found: dict[str, str] = {}
    for text in texts:
        if words := ' '.join(text.split()):
            found.setdefault(words, text.strip())
    return found


def _drawn(pairs: list[tuple[str, str]], name: str, pairing: Pairing) -> list[tuple[str, str]]:
    """Returns some of a question's pairs, the same ones whatever other questions there are."""
    if not 0 < pairing.most < len(pairs):
        return pairs
    random_ = random.Random(f'{pairing.seed}/{name}')
    places = random_.sample(range(len(pairs)), pairing.most)
    return [pairs[place] for place in sorted(places)]


def _record(example: Example, chosen: str, rejected: str, form: PairsFormat) -> dict[str, Any]:
    prompt = _question(example.input)
    if form == 'conversational':
        return {
            'prompt': [{'role': 'user', 'content': prompt}],
            'chosen': [{'role': 'assistant', 'content': chosen}],
            'rejected': [{'role': 'assistant', 'content': rejected}],
            'id': example.id,
        }
    # A trainer joins the texts: the line's end keeps the last word apart from the first.
    return {'prompt': f'{prompt}\n', 'chosen': chosen, 'rejected': rejected, 'id': example.id}


def _question(text: str) -> str:
    """Returns a question without `</s>`, which to most tokenizers is the end of everything."""
    premise, separator, hypothesis = text.partition(SEPARATOR)
    return f'Premise: {premise}\nHypothesis: {hypothesis}' if separator else text


# --- Files ----------------------------------------------------------------------------------------


def write_pairs(config: Any, dataset: Dataset, workdir: pathlib.Path) -> dict[str, pathlib.Path]:
    """Writes the pairs of each split that `config.pairs.splits` names, and `pairs.json`: counts.

    Nothing of a dataset is held in memory but the question that is read. A line is printed for
    every split.

    Args:
      config: of the run; its groups `data` and `pairs` and its seed are read.
      dataset: of `builders.load`.
      workdir: the folder of the files.

    Returns:
      The files, by split: `pairs.jsonl` of train, `pairs.validation.jsonl` of validation.

    Raises:
      InputError: if a split makes no pair; its file is not written.
    """
    if config.data.positives == 'first':
        raise InputError(
            "--config.data.positives: 'first' takes one rationale, right or wrong, and no wrong "
            'ones to pair it with; expected self_consistency or gold.'
        )
    pairing = Pairing(
        dataset.answer_type,
        positives=config.data.positives,
        samples=config.data.samples,
        form=config.pairs.format,
        most=config.pairs.most,
        seed=config.seed,
    )
    paths, report = {}, {}
    for split in dict.fromkeys(config.pairs.splits):
        path = workdir / ('pairs.jsonl' if split == 'train' else f'pairs.{split}.jsonl')
        counts: collections.Counter[str] = collections.Counter()
        files.write_jsonl(path, _at_least_one(split, dataset.splits[split], pairing, counts))
        print(summary(split, counts))
        paths[split], report[split] = path, {name: counts[name] for name in ('pairs', *OUTCOMES)}
    files.write_json(workdir / 'pairs.json', report)
    return paths


def _at_least_one(
    split: str, examples: Sequence[Example], pairing: Pairing, counts: collections.Counter[str]
) -> Iterator[dict[str, Any]]:
    shown = bars.shown(examples, f'pairing {split}', 'questions')
    yield from preferences(shown, pairing, counts)
    if not counts['pairs']:
        raise InputError(
            f'--config.pairs.splits: {summary(split, counts)}. Expected questions with right and '
            'with wrong rationales; name the answers by --config.data.teacher_samples, or use more '
            'of them by --config.data.samples.'
        )


def summary(split: str, counts: Mapping[str, int]) -> str:
    """Returns one line for a person."""
    outcomes = (f'{counts[name]} {words}' for name, words in OUTCOMES.items() if counts[name])
    total = sum(counts[name] for name in OUTCOMES)
    return f'{split}: {counts["pairs"]} pairs; of {total} questions ' + ', '.join(outcomes)
