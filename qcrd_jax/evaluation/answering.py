"""Asking a student: labels and rationales of questions, greedy or sampled, as text."""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from qcrd_jax import interruption, sampling
from qcrd_jax.data import targets
from qcrd_jax.data.answers import answers_match
from qcrd_jax.data.schema import AnswerType, Example
from qcrd_jax.evaluation.metrics import Ratio, accuracy
from qcrd_jax.evaluation.portions import Portions
from qcrd_jax.models.protocol import Params, Student

Batches = Sequence[dict[str, np.ndarray]]


@dataclasses.dataclass(frozen=True)
class Answering:
    """How a student is asked; its parameters come with each call.

    A batch that memory does not hold is answered in smaller portions, see `Portions`.

    Attributes:
      student: the model.
      tokenizer: of the student.
      label_length: tokens of a label at most, with its rationale where `joint`.
      rationale_length: tokens of a rationale at most.
      joint: whether the student writes rationale and label as one text (`data.targets`).
      seed: of the draws of rationales.
      portions: remembers how many questions fit at once.
    """

    student: Student
    tokenizer: Any
    label_length: int
    rationale_length: int
    joint: bool = False
    seed: int = 0
    portions: Portions = dataclasses.field(
        default_factory=lambda: Portions('questions'), compare=False
    )

    def labels(self, params: Params, asked: Batches) -> list[str]:
        """Returns the greedy label of every question, each once, in their order."""
        if self.joint:
            return [targets.split(text)[1] for text in self._reasoned(params, asked, 0.0)]
        return self._texts(params, asked, 'predict_ids', self.label_length, 0.0)

    def rationales(self, params: Params, asked: Batches, temperature: float = 0.0) -> list[str]:
        """Returns a rationale for every question; greedy at temperature 0."""
        texts = self._reasoned(params, asked, temperature)
        return [targets.split(text)[0] for text in texts] if self.joint else texts

    def rationale_ids(
        self, params: Params, asked: Batches, temperature: float, key: Key[Array, '']
    ) -> Iterator[tuple[dict[str, np.ndarray], Int[np.ndarray, 'B 1 T']]]:
        """Yields every batch with a rationale for each of its rows, filling rows too."""
        return self._written(params, asked, 'explain_ids', self.rationale_length, temperature, key)

    def decode(self, batch: dict[str, np.ndarray], ids: Int[np.ndarray, 'B 1 T']) -> list[str]:
        """Returns the texts of the rows of a batch that are questions."""
        real = ids[batch['example_mask'], 0]
        return self.tokenizer.batch_decode(real, skip_special_tokens=True)

    def _reasoned(self, params: Params, asked: Batches, temperature: float) -> list[str]:
        """What the student reasons, with its answer where both are one text."""
        if self.joint:
            return self._texts(params, asked, 'predict_ids', self.label_length, temperature)
        return self._texts(params, asked, 'explain_ids', self.rationale_length, temperature)

    def _texts(
        self, params: Params, asked: Batches, prompt: str, length: int, temperature: float
    ) -> list[str]:
        key = jax.random.key(self.seed)
        written = self._written(params, asked, prompt, length, temperature, key)
        return [text for batch, ids in written for text in self.decode(batch, ids)]

    def _written(
        self,
        params: Params,
        asked: Batches,
        prompt: str,
        length: int,
        temperature: float,
        key: Key[Array, ''],
    ) -> Iterator[tuple[dict[str, np.ndarray], Int[np.ndarray, 'B 1 T']]]:
        params = jax.tree.map(jnp.asarray, params)  # placed once, not for every batch

        def answer(prompts: np.ndarray, rows: np.ndarray) -> np.ndarray:
            ids = generate_ids(
                self.student,
                params,
                prompts,
                jnp.asarray(rows),
                key,
                max_length=length,
                temperature=temperature,
            )
            return np.asarray(ids)

        for batch in interruption.polled(asked):
            # What is drawn for a question depends on its number, whatever portion it is in.
            prompts, rows = batch[prompt], batch['example_index']
            ids = self.portions.compute(
                len(rows),
                functools.partial(answer, prompts, rows),
                lambda chosen, prompts=prompts, rows=rows: answer(prompts[chosen], rows[chosen]),
            )
            yield batch, ids


@functools.partial(jax.jit, static_argnames=('student', 'count', 'max_length', 'temperature'))
def generate_ids(
    student: Student,
    params: Params,
    prompt_ids: Int[Array, 'B S'],
    rows: Int[Array, ' B'],
    key: Key[Array, ''],
    *,
    max_length: int,
    temperature: float = 0.0,
    count: int = 1,
) -> Int[Array, 'B R T']:
    """Decodes `count` sequences for every prompt; what is drawn for a row only depends on the row.

    Args:
      student: the model.
      params: its parameters.
      prompt_ids: prompts, padded.
      rows: a number for each prompt, which seeds what is drawn for it.
      key: of all draws; not read at temperature 0.
      max_length: tokens decoded at most.
      temperature: 0 decodes greedily.
      count: R, sequences per prompt.
    """
    context = student.encode(params, prompt_ids, prompt_ids != student.pad_id)
    keys = sampling.sequence_keys(key, rows, count)
    return sampling.sample(
        student, params, context, keys, max_length=max_length, temperature=temperature
    ).ids


def answer_accuracy(
    predictions: Sequence[str], examples: Sequence[Example], answer_type: AnswerType
) -> tuple[list[bool], Ratio]:
    """Compares with the gold labels by value; returns the verdict on every example, and a count."""
    verdicts = [
        answers_match(prediction, example.label, answer_type, example.options)
        for prediction, example in zip(predictions, examples, strict=True)
    ]
    return verdicts, accuracy(verdicts)
