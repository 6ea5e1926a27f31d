"""What a student writes, as text: greedy labels and rationales, and hot samples."""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from qcrd_jax import sampling
from qcrd_jax.data.answers import answers_match
from qcrd_jax.data.schema import AnswerType, Example
from qcrd_jax.evaluation.metrics import Ratio, accuracy
from qcrd_jax.models.protocol import Params, Student

Batches = Sequence[dict[str, np.ndarray]]


@functools.partial(jax.jit, static_argnames=('student', 'count', 'max_length', 'temperature'))
def generate_ids(
    student: Student,
    params: Params,
    prompt_ids: Int[Array, 'B S'],
    rows: Int[Array, 'B'],
    key: Key[Array, ''],
    *,
    max_length: int,
    temperature: float = 0.0,
    count: int = 1,
) -> Int[Array, 'B R T']:
    """Decodes `count` sequences for every prompt; what is drawn for a row depends on it alone.

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


def generate_texts(
    student: Student,
    params: Params,
    tokenizer: Any,
    batches: Batches,
    prompt: str,
    *,
    max_length: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> list[str]:
    """One text per example of the batches, in their order.

    Args:
      student: the model.
      params: its parameters.
      tokenizer: of the student.
      batches: of `data.batches.evaluation_batches`.
      prompt: 'predict_ids' (the label) or 'explain_ids' (the rationale).
      max_length: tokens decoded at most.
      temperature: 0 decodes greedily.
      seed: of the draws.
    """
    texts = []
    for batch in batches:
        ids = generate_ids(
            student,
            params,
            batch[prompt],
            jnp.asarray(batch['example_index']),
            jax.random.key(seed),
            max_length=max_length,
            temperature=temperature,
        )
        real = np.asarray(ids)[batch['example_mask'], 0]
        texts.extend(tokenizer.batch_decode(real, skip_special_tokens=True))
    return texts


def answer_accuracy(
    predictions: Sequence[str], examples: Sequence[Example], answer_type: AnswerType
) -> tuple[list[bool], Ratio]:
    """Compares with the gold labels by value; returns the verdict on every example, and a count."""
    verdicts = [
        answers_match(prediction, example.label, answer_type, example.options)
        for prediction, example in zip(predictions, examples, strict=True)
    ]
    return verdicts, accuracy(verdicts)
