"""Asking a student: labels and rationales of questions, greedy or sampled, as text."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Int, Key

from qcrd_jax.data import targets
from qcrd_jax.data.answers import answers_match
from qcrd_jax.data.schema import AnswerType, Example
from qcrd_jax.evaluation import decoding
from qcrd_jax.evaluation.metrics import Ratio, accuracy
from qcrd_jax.evaluation.portions import Portions
from qcrd_jax.evaluation.written import Written
from qcrd_jax.models.protocol import Params, Student
from qcrd_jax.placement import Placement, one_device

Batches = Sequence[dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Answering:
    """How a student is asked; its parameters come with each call.

    All questions are sorted by length for it, whatever their batches, and answers come back in the
    questions' own order (`decoding`). Questions that memory does not hold together are answered in
    smaller portions, see `Portions`.

    Attributes:
      student: the model.
      tokenizer: of the student.
      label_length: tokens of a label at most, with its rationale where `joint`.
      rationale_length: tokens of a rationale at most.
      joint: whether the student writes rationale and label as one text (`data.targets`).
      seed: of the draws of rationales.
      together: questions decoded at once at most, whatever the size of the batches.
      portions: remembers how many questions fit at once.
      placement: where the student and the questions live.
    """

    student: Student
    tokenizer: Any
    label_length: int
    rationale_length: int
    joint: bool = False
    seed: int = 0
    together: int = 128
    portions: Portions = dataclasses.field(
        default_factory=lambda: Portions('questions'), compare=False
    )
    placement: Placement = dataclasses.field(default_factory=one_device)

    def labels(self, params: Params, asked: Batches) -> list[str]:
        """Returns the greedy label of every question, each once, in their order."""
        if self.joint:
            return [label for label, _ in self._together(params, asked, 0.0)]
        written = self._texts(params, asked, 'predict_ids', self.label_length, 0.0)
        return [each.text for each in written]

    def rationales(self, params: Params, asked: Batches, temperature: float = 0.0) -> list[Written]:
        """Returns a rationale for every question; greedy at temperature 0.

        Where rationale and label are one text, the length of a rationale is that of its own part,
        and it is ended where the whole text is.
        """
        if self.joint:
            return [rationale for _, rationale in self._together(params, asked, temperature)]
        return self._texts(params, asked, 'explain_ids', self.rationale_length, temperature)

    def answers(self, params: Params, asked: Batches) -> tuple[list[str], list[Written]]:
        """Returns the greedy labels and rationales, decoded once where they are one text."""
        if not self.joint:
            return self.labels(params, asked), self.rationales(params, asked)
        both = self._together(params, asked, 0.0)
        return [label for label, _ in both], [rationale for _, rationale in both]

    def rationale_ids(
        self, params: Params, asked: Batches, temperature: float, key: Key[Array, '']
    ) -> Iterator[tuple[dict[str, np.ndarray], Int[np.ndarray, 'B 1 T']]]:
        """Yields every batch with a rationale for each of its rows, filling rows too."""
        return self._written(params, asked, 'explain_ids', self.rationale_length, temperature, key)

    def decode(self, batch: dict[str, np.ndarray], ids: Int[np.ndarray, 'B 1 T']) -> list[str]:
        """Returns the texts of the rows of a batch that are questions."""
        real = ids[batch['example_mask'], 0]
        return self.tokenizer.batch_decode(real, skip_special_tokens=True)

    def _together(
        self, params: Params, asked: Batches, temperature: float
    ) -> list[tuple[str, Written]]:
        """Labels with their rationales, where a student writes both as one text."""
        parts = []
        for text, _, ended in self._texts(
            params, asked, 'predict_ids', self.label_length, temperature
        ):
            rationale, label = targets.split(text)
            ids = self.tokenizer(rationale, add_special_tokens=False)['input_ids']
            parts.append((label, Written(rationale, len(ids), ended)))
        return parts

    def _texts(
        self, params: Params, asked: Batches, prompt: str, length: int, temperature: float
    ) -> list[Written]:
        key = jax.random.key(self.seed)
        written = self._written(params, asked, prompt, length, temperature, key)
        return [each for batch, ids in written for each in self._read(batch, ids)]

    def _read(
        self, batch: dict[str, np.ndarray], ids: Int[np.ndarray, 'B 1 T']
    ) -> Iterator[Written]:
        """What was written for the rows of a batch that are questions."""
        ends = ids[batch['example_mask'], 0] == self.student.eos_id
        for text, end in zip(self.decode(batch, ids), ends, strict=True):
            ended = bool(end.any())
            yield Written(text, int(end.argmax()) if ended else len(end), ended)

    def _written(
        self,
        params: Params,
        asked: Batches,
        prompt: str,
        length: int,
        temperature: float,
        key: Key[Array, ''],
    ) -> Iterator[tuple[dict[str, np.ndarray], Int[np.ndarray, 'B 1 T']]]:
        batches = list(asked)
        if not batches:
            return
        prompts, rows = self._questions(batches, prompt)
        place = self.placement  # parameters are placed once, not for every portion
        params = place.placed(params, place.parameters(params))
        cast = decoding.cast_params(self.student, params, place)
        ids = np.zeros((len(rows), length), np.int32)

        def answer(chosen: np.ndarray) -> np.ndarray:
            # What is drawn for a question depends on its number, whatever portion it is in.
            questions = decoding.Asked(prompts[chosen], rows[chosen], key, temperature)
            return decoding.decode(self.student, params, cast, questions, length, place)

        # The few that are encoded at once are neighbours, and about as long as each other.
        order = np.argsort((prompts != self.student.pad_id).sum(axis=1), kind='stable')
        for chosen in np.array_split(order, -(-len(order) // self.together)):
            ids[chosen] = self.portions.compute(
                len(chosen),
                functools.partial(answer, chosen),
                lambda some, chosen=chosen: answer(chosen[some]),
            )
        yield from _by_batch(batches, ids)

    def _questions(self, batches: Batches, prompt: str) -> tuple[np.ndarray, np.ndarray]:
        """Prompts, padded to the longest, and numbers of all rows that are questions."""
        longest = max(batch[prompt].shape[1] for batch in batches)
        prompts, rows = [], []
        for batch in batches:
            real, ids = batch['example_mask'], batch[prompt]
            wider = ((0, 0), (0, longest - ids.shape[1]))
            prompts.append(np.pad(ids[real], wider, constant_values=self.student.pad_id))
            rows.append(batch['example_index'][real])
        return np.concatenate(prompts), np.concatenate(rows)


def _by_batch(
    batches: Batches, ids: Int[np.ndarray, 'Q T']
) -> Iterator[tuple[dict[str, np.ndarray], Int[np.ndarray, 'B 1 T']]]:
    """Yields every batch with what was written for its rows."""
    end = 0
    for batch in batches:
        mask = batch['example_mask']
        start, end = end, end + int(mask.sum())
        # The rows that fill up a batch are copies of its last question.
        yield batch, ids[np.minimum(start + np.arange(len(mask)), end - 1)][:, None]


def answer_accuracy(
    predictions: Sequence[str], examples: Sequence[Example], answer_type: AnswerType
) -> tuple[list[bool], Ratio]:
    """Compares with the gold labels by value; returns the verdict on every example, and a count."""
    verdicts = [
        answers_match(prediction, example.label, answer_type, example.options)
        for prediction, example in zip(predictions, examples, strict=True)
    ]
    return verdicts, accuracy(verdicts)
