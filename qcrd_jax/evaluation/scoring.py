"""Scores of a discriminator outside of any step, and how well they separate."""

import functools
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from qcrd_jax import interruption
from qcrd_jax.data import batches
from qcrd_jax.data.encoded import Encoded
from qcrd_jax.data.lengths import Lengths
from qcrd_jax.evaluation.metrics import roc_auc
from qcrd_jax.evaluation.portions import Portions
from qcrd_jax.methods.discriminator import score_rationales
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.protocol import Params
from qcrd_jax.placement import Placement, one_device


class Separation(NamedTuple):
    """How the discriminator scores rationales of questions that it was not pretrained on.

    Attributes:
      auc: area under the ROC curve, positives against all negatives; None without both kinds.
      auc_teacher: the same against the teacher's own negatives, the corrupted ones left out.
      positive_score: mean score of the positives.
      negative_score: mean score of the negatives.
    """

    auc: float | None
    auc_teacher: float | None
    positive_score: float | None
    negative_score: float | None

    def __str__(self) -> str:
        def show(value: float | None) -> str:
            return 'none held out' if value is None else f'{value:.3f}'

        return (
            'discriminator on held-out questions: '
            f'ROC-AUC {show(self.auc)} '
            f"(only against the teacher's own negatives {show(self.auc_teacher)}), "
            f'mean score of positives {show(self.positive_score)}, '
            f'of negatives {show(self.negative_score)}'
        )


def score(
    discriminator: Discriminator,
    params: Params,
    question_ids: Int[np.ndarray, 'B S'],
    rationale_ids: Int[np.ndarray, 'B R T'],
    portions: Portions | None = None,
    placement: Placement | None = None,
) -> Float[np.ndarray, 'B R']:
    """D(x, r) of eq. 1 for R rationales of every question.

    Args:
      discriminator: the model.
      params: its parameters.
      question_ids: the questions.
      rationale_ids: R rationales of each.
      portions: how many rationales memory holds at once; given by who scores several batches.
      placement: where parameters and questions live; None: on one device.
    """
    count, several, _ = rationale_ids.shape
    if not count * several:
        return np.zeros((count, several), np.float32)

    place = placement or one_device()

    def scored(*ids: np.ndarray) -> np.ndarray:
        return place.host(_score(discriminator, place, params, *place.placed(ids, place.rows(ids))))

    def some(pairs: np.ndarray) -> np.ndarray:
        questions, places = np.divmod(pairs, several)
        return scored(question_ids[questions], rationale_ids[questions, places][:, None])

    def whole() -> np.ndarray:
        return scored(question_ids, rationale_ids).reshape(-1, 1)

    portions = portions or scored_portions()
    return portions.compute(count * several, whole, some).reshape(count, several)


def scored_portions() -> Portions:
    """Returns what remembers, for `score`, how many rationales memory holds at once."""
    return Portions('rationales to score')


@functools.partial(jax.jit, static_argnums=(0, 1))
def _score(
    discriminator: Discriminator,
    place: Placement,
    params: Params,
    question_ids: Int[Array, 'B S'],
    rationale_ids: Int[Array, 'B R T'],
) -> Float[Array, 'B R']:
    batch = {'question_ids': question_ids}
    with place.reading():
        scores = score_rationales(discriminator, params, batch, rationale_ids, None)
    return place.shared(scores)


def score_groups(
    discriminator: Discriminator,
    params: Params,
    encoded: Encoded,
    lengths: Lengths,
    *,
    batch_size: int,
    placement: Placement | None = None,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Scores the teacher's rationales of a split.

    Returns:
      The scores of the positives of every question, in their order, and those of the negatives.
    """
    groups: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
    portions = scored_portions()
    asked = batches.evaluation_batches(encoded, lengths, batch_size=batch_size)
    for batch in interruption.polled(asked):
        for kind, group in zip(('positive', 'negative'), groups, strict=True):
            values = score(
                discriminator,
                params,
                batch['question_ids'],
                batch[f'{kind}_ids'],
                portions,
                placement,
            )
            mask = batch[f'{kind}_mask']
            group += [values[row][mask[row]] for row in np.flatnonzero(batch['example_mask'])]
    return groups


def measure(
    discriminator: Discriminator,
    params: Params,
    held_out: Encoded,
    held_out_teacher: Encoded,
    lengths: Lengths,
    *,
    batch_size: int,
    placement: Placement | None = None,
) -> Separation:
    """Scores rationales of questions that were held out.

    Args:
      discriminator: the model.
      params: its parameters.
      held_out: the questions, positives and negatives balanced.
      held_out_teacher: the same questions with only the teacher's negatives.
      lengths: the shape of the batches.
      batch_size: questions scored at once.
      placement: where parameters and questions live; None: on one device.
    """

    def scores(encoded: Encoded) -> list[np.ndarray]:
        groups = score_groups(
            discriminator, params, encoded, lengths, batch_size=batch_size, placement=placement
        )
        return [np.concatenate([np.zeros(0, np.float32), *group]) for group in groups]

    positive, negative = scores(held_out)
    _, teacher = scores(held_out_teacher)
    return Separation(
        roc_auc(positive, negative),
        roc_auc(positive, teacher),
        float(positive.mean()) if positive.size else None,
        float(negative.mean()) if negative.size else None,
    )
