"""Whose scores weigh rationales beside the discriminator's: the gold answer's, or given ones."""

from collections.abc import Callable

import numpy as np
from ml_collections import config_dict

from qcrd_jax import processes
from qcrd_jax.data import encoding
from qcrd_jax.data.answers import canonical
from qcrd_jax.data.corpus import Corpus
from qcrd_jax.data.schema import AnswerType, Example
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation import arrival
from qcrd_jax.methods.host_scores import HostScores, ScoresSource


def host_scores(config: config_dict.ConfigDict, corpus: Corpus) -> HostScores | None:
    """Returns what scores rationales by their texts; None where a discriminator does.

    Raises:
      InputError: if rationales have no score, or one that is no weight; or with several processes.
    """
    source: ScoresSource = config.discriminator.scores
    if source == 'discriminator':
        return None
    if processes.several():
        raise InputError(
            f'--config.discriminator.scores: {source} needs the texts of all rationales in one '
            'process; use one process, or the discriminator.'
        )
    made = GoldScores(corpus) if source == 'gold' else GivenScores(corpus, config.data.samples)
    return HostScores(made)


class GoldScores:
    """1 where the value that a rationale arrives at is the gold answer, else 0."""

    def __init__(self, corpus: Corpus):
        """Args: corpus: of the run; scores are of its training questions."""
        self._corpus, self._pad_id = corpus, corpus.encoded['train'].pad_id

    def __call__(self, places: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """See `host_scores.ScoreTexts`."""
        return _each(self._score, places, ids, self._pad_id)

    def _score(self, place: int, ids: np.ndarray) -> float:
        corpus = self._corpus
        text = corpus.tokenizer.decode(ids, skip_special_tokens=True)
        return float(_is_right(text, corpus.examples['train'][place], corpus.answer_type))


class GivenScores:
    """The field `score` of the teacher's samples; 0 for what no teacher wrote."""

    def __init__(self, corpus: Corpus, samples: int):
        """Looks up the scores.

        Args:
          corpus: of the run; scores are of its training questions.
          samples: K, of the samples of a question the first K are used.

        Raises:
          InputError: if a sample with a rationale has no score, or one outside of 0 to 1.
        """
        encoded, examples = corpus.encoded['train'], corpus.examples['train']
        used = [
            [sample for sample in example.samples[:samples] if sample.rationale]
            for example in examples
        ]
        _check([sample.score for group in used for sample in group])
        texts = [[sample.rationale for sample in group] for group in used]
        ids = encoding.with_negatives(encoded, corpus.tokenizer, texts).negatives
        self._longest, self._eos_id = corpus.lengths.rationale, encoded.eos_id
        self._pad_id = encoded.pad_id
        self._scores = {
            (place, self._cut(written)): sample.score
            for place, group in enumerate(used)
            for written, sample in zip(ids[place], group, strict=True)
            if sample.score is not None  # none is
        }

    def __call__(self, places: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """See `host_scores.ScoreTexts`."""
        return _each(self._score, places, ids, self._pad_id)

    def _score(self, place: int, ids: np.ndarray) -> float:
        return self._scores.get((place, ids.astype(np.int32).tobytes()), 0.0)

    def _cut(self, ids: np.ndarray) -> bytes:
        """A rationale as batches have it."""
        ids = np.array(ids[: self._longest], np.int32)
        if len(ids):
            ids[-1] = self._eos_id
        return ids.tobytes()


def _each(
    score: Callable[[int, np.ndarray], float], places: np.ndarray, ids: np.ndarray, pad_id: int
) -> np.ndarray:
    """Scores of all rationales, without their padding; 0 where there is nothing but padding."""
    found = np.zeros(ids.shape[:2], np.float32)
    for row, place in enumerate(places.tolist()):
        for column, padded in enumerate(ids[row]):
            (real,) = np.nonzero(padded != pad_id)
            if real.size:
                found[row, column] = score(place, padded[: real[-1] + 1])
    return found


def _is_right(text: str, example: Example, answer_type: AnswerType) -> bool:
    value = arrival.arrives_at(text, answer_type, example.options)
    return value is not None and value == canonical(example.label, answer_type, example.options)


def _check(scores: list[float | None]) -> None:
    field = "--config.discriminator.scores=samples: reads the field 'score' of teacher samples; "
    missing = sum(score is None for score in scores)
    if missing or not scores:
        raise InputError(
            f'{field}expected one of each, got none for {missing} of {len(scores)} that have a '
            'rationale and belong to training questions.'
        )
    outside = [score for score in scores if score is not None and not 0 <= score <= 1]
    if outside:
        raise InputError(
            f'{field}expected numbers from 0 to 1, for they are weights, got {outside[0]} '
            f'({len(outside)} of {len(scores)} are outside); scale them.'
        )
