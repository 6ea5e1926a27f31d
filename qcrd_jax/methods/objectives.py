"""What a step minimises: the terms of the losses from a student, a batch and rationales.

Between `losses` (arrays) and the methods: here a student decodes, rationales are selected, and the
losses are reduced. Everything is differentiable in the student's parameters and pure.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from qcrd_jax import losses
from qcrd_jax.methods.metrics import Metrics, over, single
from qcrd_jax.methods.rationales import Batch, Rationales, choose, concatenate
from qcrd_jax.models.protocol import Context, Params, Student

DecayEvery = Literal['update', 'step']


@dataclasses.dataclass(frozen=True)
class Contrast:
    """The constants of QCRD's losses (sections 3.3 and 4.1)."""

    alpha_pred: float = 0.5
    alpha_cl: float = 0.5
    alpha_disc: float = 0.5
    alpha_disc_decay: float = 0.9
    decay_every: DecayEvery = 'update'
    beta: float = 0.2
    margin: float = 3.0
    scheme: str = 'min_max'
    discriminator_loss: str = 'ratio'
    update_every: int = 100  # steps between updates of the discriminator; 0: never
    teacher_negatives: bool = False  # contrast the teacher's negatives too (Table A3, "SC")


@dataclasses.dataclass(frozen=True)
class MutualInformation:
    """MI's extra term (Chen et al., 2024): `losses.mutual_information_loss` times a weight."""

    weight: float = 0.1
    variant: str = 'official'  # official | masked


class Decoded(NamedTuple):
    """R targets per question with their logits."""

    logits: Any  # [B, R, T, V]
    token_mask: Any  # bool [B, R, T]
    mask: Any  # bool [B, R], which exist


def encode_both_tasks(
    student: Student, params: Params, batch: Batch, key: Key[Array, '']
) -> tuple[Context, Context]:
    """The questions under both prefixes, encoded in one pass: (predict, explain)."""
    size = batch['predict_ids'].shape[0]
    ids = jnp.concatenate([batch['predict_ids'], batch['explain_ids']])
    context = student.encode(params, ids, ids != student.pad_id, key)
    return (
        jax.tree.map(lambda leaf: leaf[:size], context),
        jax.tree.map(lambda leaf: leaf[size:], context),
    )


def label_loss(
    student: Student, params: Params, context: Context, batch: Batch, key: Key[Array, '']
) -> tuple[Float[Array, ''], Decoded]:
    """L_pred of eq. 8, and the label's logits; a question without a label has no term."""
    ids = batch['label_ids'][:, None]
    logits = student.decode(params, context, ids, key)
    mask = (ids != student.pad_id) & batch['example_mask'][:, None, None]
    return losses.seq2seq_loss(logits, ids, mask), Decoded(logits, mask, jnp.any(mask, axis=-1))


def mutual_information(
    rationales: Decoded, label: Decoded, how: MutualInformation | None
) -> tuple[Float[Array, ''] | float, Metrics]:
    """MI's term times its weight, over the rationales of questions that have a label.

    Returns:
      0 and no metric where `how` is None.
    """
    if how is None:
        return 0.0, {}

    def of_rationale(logits: Float[Array, 'B T V'], mask: Any) -> Float[Array, ' B']:
        return losses.mutual_information_loss(
            logits, label.logits[:, 0], mask, label.token_mask[:, 0], variant=how.variant
        )

    values = jax.vmap(of_rationale, in_axes=1, out_axes=1)(rationales.logits, rationales.token_mask)
    loss = losses.masked_mean(values, rationales.mask & label.mask)
    return how.weight * loss, {'mutual_information_loss': single(loss)}


def contrast_rationales(
    decode: Callable[[Rationales], Float[Array, 'B R T V']],
    decode_constant: Callable[[Rationales], Float[Array, 'B R T V']],
    score: Callable[[Int[Array, 'B R T']], Float[Array, 'B R'] | None],
    positives: Rationales,
    negatives: Rationales,
    contrast: Contrast,
    draw_key: Key[Array, ''],
) -> tuple[Float[Array, ' B'], Decoded, Metrics]:
    """L_cl per question, and the positives that carry gradient.

    Under a selecting scheme (min-max, eqs. 4-7) one positive and one negative of a question carry
    gradient, and only their scores count. So all rationales are decoded once without gradient to
    select, and the two selected ones once more with it: dropout is shared by the rationales of a
    question, hence the second pass repeats the values of the first, and the gradient is that of
    the plain min and max.

    Args:
      decode: logits of rationales.
      decode_constant: the same with no gradient.
      score: D(x, r) of rationales, None without a discriminator.
      positives: of every question.
      negatives: likewise.
      contrast: constants of the losses.
      draw_key: only read by the scheme 'sampling'.
    """
    scheme = contrast.scheme
    if scheme in losses.SELECTING_SCHEMES:
        if _several(positives, negatives):
            positive_key, negative_key = jax.random.split(draw_key)
            everything = concatenate(positives, negatives)
            constant = _cross_entropies(decode_constant(everything), everything)
            count = positives.mask.shape[1]
            hard = losses.margin_loss(constant[:, count:], margin=contrast.margin)
            positives = choose(positives, constant[:, :count], scheme, 'positive', positive_key)
            negatives = choose(negatives, hard, scheme, 'negative', negative_key)
        scheme = 'min_max'  # one of each is left: all selecting schemes agree on it
    count = positives.mask.shape[1]
    both = concatenate(positives, negatives)
    logits = decode(both)
    values = _cross_entropies(logits, both)
    scores = score(both.ids)
    constant = jnp.broadcast_to(jnp.arange(values.shape[1]) < count, values.shape)
    weights = constant.astype(jnp.float32) if scores is None else scores
    result = losses.contrastive_loss(
        values[:, :count],
        values[:, count:],
        weights[:, :count],
        weights[:, count:],
        positives.mask,
        negatives.mask,
        beta=contrast.beta,
        margin=contrast.margin,
        scheme=scheme,
    )
    inside = (values[:, count:] < contrast.margin).astype(jnp.float32)
    metrics = {
        'positive_loss': over(values[:, :count], positives.mask),
        'negative_loss': over(values[:, count:], negatives.mask),
        'negative_active': over(inside, negatives.mask),
    }
    if scores is not None:
        metrics['positive_score'] = over(scores[:, :count], positives.mask)
        metrics['negative_score'] = over(scores[:, count:], negatives.mask)
    decoded = Decoded(logits[:, :count], positives.token_mask, positives.mask)
    return result.total, decoded, metrics


def _cross_entropies(
    logits: Float[Array, 'B R T V'], rationales: Rationales
) -> Float[Array, 'B R']:
    return losses.sequence_cross_entropy(logits, rationales.ids, rationales.token_mask)


def _several(*groups: Rationales) -> bool:
    """Whether there is anything to select from."""
    return any(group.mask.shape[1] > 1 for group in groups)
