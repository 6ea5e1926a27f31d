"""What a step minimises: the terms of the losses from a student, a batch and rationales.

Between `losses` (arrays) and the methods: here a student decodes, rationales are selected, and the
losses are reduced. Everything is differentiable in the student's parameters and pure.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Int, Key

from qcrd_jax import losses
from qcrd_jax.methods.metrics import Metrics, over, single
from qcrd_jax.methods.parts import share
from qcrd_jax.methods.rationales import Batch, Rationales, choose, concatenate
from qcrd_jax.models.protocol import Context, Dropping, Params, Student

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
    scheme: losses.Scheme = 'min_max'
    discriminator_loss: losses.DiscriminatorLoss = 'ratio'
    update_every: int = 100  # steps between updates of the discriminator; 0: never
    teacher_negatives: bool = False  # contrast the teacher's negatives too (Table A3, "SC")


@dataclasses.dataclass(frozen=True)
class MutualInformation:
    """MI's extra term (Chen et al., 2024): `losses.mutual_information_loss` times a weight."""

    weight: float = 0.1
    variant: losses.MutualInformationVariant = 'official'  # official | masked


class Decoded(NamedTuple):
    """R targets per question, as the student's decoder sees them; logits are never held."""

    states: Float[Array, 'B R T D']
    table: Float[Array, 'V D']  # that reads them out
    targets: Rationales

    def token_losses(self) -> Float[Array, 'B R T']:
        """Cross-entropy of every token, in nats."""
        return losses.linear_cross_entropy(self.states, self.table, self.targets.ids)

    def sequence_losses(self) -> Float[Array, 'B R']:
        """l(x, r) of every target."""
        return losses.sequence_mean(self.token_losses(), self.targets.token_mask)

    def log_probabilities(self) -> Float[Array, 'B R T']:
        """Those of every token, in nats; 0 for padding."""
        return jnp.where(self.targets.token_mask, -self.token_losses(), 0.0)

    def first(self, count: int) -> 'Decoded':
        """Returns the first targets of every question."""
        targets = jax.tree.map(lambda leaf: leaf[:, :count], self.targets)
        return self._replace(states=self.states[:, :count], targets=targets)


class Counts(NamedTuple):
    """What the sums over a batch are divided by; a part of a batch has those of the whole batch."""

    label_tokens: Int[Array, '']
    rationale_tokens: Int[Array, '']
    questions: Int[Array, '']
    shared: Int[Array, '']  # rationales of questions with a label, for MI
    label_length: Int[Array, '']  # tokens of the longest label
    rationale_length: Int[Array, '']  # tokens of the longest rationale

    @classmethod
    def of(cls, batch: Batch, positives: Rationales, pad_id: int, one: bool = False) -> 'Counts':
        """Returns the counts of a batch.

        Args:
          batch: the whole of it.
          positives: those that are learned.
          pad_id: id of padding.
          one: whether one positive of every question will be selected.
        """
        labels, mask = labels_of(batch, pad_id), positives.mask
        if one:
            mask = jnp.any(mask, axis=-1, keepdims=True)
        return cls(
            jnp.sum(labels.token_mask),
            jnp.sum(positives.token_mask & positives.mask[..., None]),
            jnp.sum(batch['example_mask']),
            jnp.sum(mask & labels.mask),
            _longest(labels),
            _longest(positives),
        )


def labels_of(batch: Batch, pad_id: int) -> Rationales:
    """The labels as targets, one for each question that has any."""
    ids = batch['label_ids'][:, None]
    mask = (ids != pad_id) & batch['example_mask'][:, None, None]
    return Rationales(ids, mask, jnp.any(mask, axis=-1))


def encode_both_tasks(
    student: Student, params: Params, batch: Batch, dropout: Dropping
) -> tuple[Context, Context]:
    """The questions under both prefixes, encoded in one pass: (predict, explain).

    The tasks lie behind the axis of questions: joined along it, a batch that is spread over devices
    would have to change places.
    """
    ids = jnp.stack([batch['predict_ids'], batch['explain_ids']], axis=1)
    context = student.encode(params, ids, ids != student.pad_id, dropout)
    predict, explain = (jax.tree.map(lambda leaf, i=i: leaf[:, i], context) for i in range(2))
    return predict, explain


def decode(
    student: Student,
    params: Params,
    groups: Sequence[tuple[Context, Rationales]],
    dropout: Sequence[Dropping] | Key[Array, ' groups'],
) -> list[Decoded]:
    """Decodes the targets of every group in one pass, teacher-forced, each with its own dropout."""
    asked = [(context, targets.ids) for context, targets in groups]
    states, table = student.decode_states(params, asked, list(dropout)), student.head(params)
    return [Decoded(part, table, own) for part, (_, own) in zip(states, groups, strict=True)]


def mutual_information(
    rationales: Decoded,
    label: Decoded,
    how: MutualInformation | None,
    counts: Counts,
    *,
    parts: int = 1,
) -> tuple[Float[Array, ''] | float, Metrics]:
    """MI's term times its weight, over the rationales of questions that have a label.

    The variant `official` pools over padding as far as its batches go, which are as long as the
    longest of their targets.

    Args:
      rationales: one of each question.
      label: of each question.
      how: the constants; None: there is no such term.
      counts: of the whole batch.
      parts: into how many the batch is cut.

    Returns:
      0 and no metric where `how` is None.
    """
    if how is None:
        return 0.0, {}

    def pooled(decoded: Decoded, length: Int[Array, '']) -> Float[Array, 'B R V']:
        mask = decoded.targets.token_mask
        if how.variant == 'official':
            mask = jnp.broadcast_to(jnp.arange(mask.shape[-1]) < length, mask.shape)
        return losses.max_probabilities(decoded.states, decoded.table, mask)

    mask = rationales.targets.mask & label.targets.mask
    values = losses.pooled_mutual_information(
        pooled(rationales, counts.rationale_length),
        pooled(lax.stop_gradient(label), counts.label_length),
        variant=how.variant,
    )
    loss = share(values, mask, counts.shared)
    return how.weight * loss, {'mutual_information_loss': single(loss, parts)}


class Choice(NamedTuple):
    """Uniform draws by which the scheme 'sampling' selects; None for the other schemes."""

    positives: Any = None  # float32 [B, M]
    negatives: Any = None  # float32 [B, K]

    @classmethod
    def of(
        cls,
        key: Key[Array, ''],
        positives: Rationales,
        negatives: Rationales,
        scheme: losses.Scheme,
    ) -> 'Choice':
        """Returns the draws of a batch."""
        if scheme != 'sampling':
            return cls()
        positive_key, negative_key = jax.random.split(key)
        return cls(
            jax.random.uniform(positive_key, positives.mask.shape),
            jax.random.uniform(negative_key, negatives.mask.shape),
        )


def select_rationales(
    decode_constant: Callable[[Rationales], Float[Array, 'B R']],
    positives: Rationales,
    negatives: Rationales,
    contrast: Contrast,
    choice: Choice,
    pad_id: int,
) -> tuple[Rationales, Rationales, losses.Scheme]:
    """Leaves the rationales that carry gradient, and the scheme that is left for them.

    Under a selecting scheme (min-max, eqs. 4-7) one positive and one negative of a question carry
    gradient, and only their scores count. So where there are several of a kind, they are decoded
    once without gradient to select, and the two selected ones once more with it: dropout is shared
    by the rationales of a question, hence the second pass repeats the values of the first, and the
    gradient is that of the plain min and max.

    Args:
      decode_constant: l(x, r) of rationales, with no gradient.
      positives: of every question.
      negatives: likewise.
      contrast: constants of the losses.
      choice: only read by the scheme 'sampling'.
      pad_id: id of padding.
    """
    scheme = contrast.scheme
    if scheme not in losses.SELECTING_SCHEMES:
        return positives, negatives, scheme
    m, k = positives.mask.shape[1], negatives.mask.shape[1]
    several = [group for group in (positives, negatives) if group.mask.shape[1] > 1]
    if several:
        values = decode_constant(concatenate(*several, pad_id=pad_id))
        hard = losses.margin_loss(values[:, values.shape[1] - k :], margin=contrast.margin)
        positives = choose(positives, values[:, :m], scheme, 'positive', choice.positives)
        negatives = choose(negatives, hard, scheme, 'negative', choice.negatives)
    return positives, negatives, 'min_max'  # of one each: all selecting schemes agree on it


class Selected(NamedTuple):
    """What a step learns from, decoded: the label, and the rationales that carry gradient."""

    label: Decoded
    rationales: Decoded  # the positives, then the negatives
    positives: Rationales
    negatives: Rationales
    scheme: losses.Scheme  # that of `select_rationales`


def decode_selected(
    student: Student,
    params: Params,
    batch: Batch,
    positives: Rationales,
    negatives: Rationales,
    contrast: Contrast,
    choice: Choice,
    dropout: Sequence[Dropping],
) -> Selected:
    """Encodes the questions, selects rationales, and decodes them and the labels in one pass.

    Args:
      student: the model.
      params: its parameters.
      batch: of the questions.
      positives: all of them.
      negatives: likewise.
      contrast: says how rationales are selected.
      choice: likewise.
      dropout: of the encoder, of the labels, of the rationales.
    """
    predict, explain = encode_both_tasks(student, params, batch, dropout[0])

    def decode_constant(rationales: Rationales) -> Float[Array, 'B R']:
        constant, context = lax.stop_gradient((params, explain))
        (decoded,) = decode(student, constant, [(context, rationales)], dropout[2:])
        return decoded.sequence_losses()

    positives, negatives, scheme = select_rationales(
        decode_constant, positives, negatives, contrast, choice, student.pad_id
    )
    labels = labels_of(batch, student.pad_id)
    both = concatenate(positives, negatives, pad_id=student.pad_id)
    label, rationales = decode(student, params, [(predict, labels), (explain, both)], dropout[1:])
    return Selected(label, rationales, positives, negatives, scheme)


def contrast_rationales(
    values: Float[Array, 'B R'],
    scores: Float[Array, 'B R'] | None,
    positives: Rationales,
    negatives: Rationales,
    contrast: Contrast,
    scheme: losses.Scheme,
) -> tuple[Float[Array, ' B'], Metrics]:
    """L_cl per question.

    Args:
      values: l(x, r) of the positives, then the negatives.
      scores: D(x, r) likewise, None without a discriminator.
      positives: of every question.
      negatives: likewise.
      contrast: constants of the losses.
      scheme: that of `select_rationales`.
    """
    count = positives.mask.shape[1]
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
    return result.total, metrics


def _longest(targets: Rationales) -> Int[Array, '']:
    """Tokens of the longest target of a batch."""
    places = jnp.arange(targets.token_mask.shape[-1]) + 1
    return jnp.max(jnp.where(targets.token_mask, places, 0), initial=0)
