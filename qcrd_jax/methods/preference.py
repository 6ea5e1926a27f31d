"""Rivals of QCRD: other losses on the very pairs that it contrasts, and on the same ring.

A pair is a teacher's positive and a negative that the student of j iterations before wrote, which
is also the reference where a loss has one: its log-probabilities of both are computed in the step
that samples it, from the same slot. Selection, label task and sampling are QCRD's, so that a
difference between two of these methods is one of their losses.
"""

import dataclasses
import functools
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Key

from qcrd_jax import losses
from qcrd_jax.methods.host_scores import HostScores
from qcrd_jax.methods.method import update_student
from qcrd_jax.methods.metrics import Metrics, over, padding, single
from qcrd_jax.methods.negatives import sample_negatives
from qcrd_jax.methods.objectives import (
    Choice,
    Contrast,
    Counts,
    Selected,
    decode,
    decode_selected,
    encode_both_tasks,
    labels_of,
)
from qcrd_jax.methods.parts import share
from qcrd_jax.methods.rationales import (
    Batch,
    NegativeSampling,
    Rationales,
    concatenate,
    first_of,
    teacher_negatives,
    teacher_positives,
)
from qcrd_jax.methods.state import TrainState, step_keys
from qcrd_jax.models.dropout import Draws
from qcrd_jax.models.protocol import Params, Student

PreferenceName = Literal['redi', 'spin', 'dpo', 'simpo', 'orpo', 'kto', 'unlikelihood']

REFERRING = ('spin', 'dpo', 'kto')
"""Those that have a reference."""


@dataclasses.dataclass(frozen=True)
class PreferenceLoss:
    """A rival's loss of a pair, and its constants; see `losses.preference`.

    Attributes:
      name: which.
      weight: of its negative half: alpha of REDI, lambda of ORPO, that of unlikelihood.
      beta: of DPO, SimPO and KTO; lambda of SPIN.
      gamma_ratio: of SimPO.
      smoothing: of DPO.
      anchor: weight of the positive's mean cross-entropy beside SPIN, DPO, SimPO and KTO, whose
        papers begin with a student that was fine-tuned on positives; 0 is their loss alone.
    """

    name: PreferenceName
    weight: float = 1.0
    beta: float = 0.1
    gamma_ratio: float = 0.5
    smoothing: float = 0.0
    anchor: float = 1.0


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=['negatives', 'positives', 'others'],
    meta_fields=[],
)
@dataclasses.dataclass(frozen=True)
class Referred:
    """Sampled negatives, and what the generator that wrote them thinks of all rationales."""

    negatives: Rationales  # with `reference`
    positives: Any  # float32 [B, M], log-probabilities of the teacher's positives
    others: Any  # float32 [B], those of the first positive of the question before, as an answer;
    # None where nobody asks


@dataclasses.dataclass(frozen=True)
class Preference:
    """A preference loss on QCRD's pairs.

    Attributes:
      student: the model.
      optimizer: the student's.
      loss: of a pair.
      negatives: how the generator is sampled.
      contrast: how pairs are selected, and the weights of the two tasks.
      parts: into how many the questions of a batch are cut, one after another in memory.
    """

    student: Student
    optimizer: optax.GradientTransformation
    loss: PreferenceLoss
    negatives: NegativeSampling
    contrast: Contrast = dataclasses.field(default_factory=Contrast)
    parts: int = 1

    def sample(self, generators: Params | None, batches: Batch, keys: Key[Array, '*lead']) -> Any:
        """Negatives of the questions, and what a reference is asked for; see `method.Method`."""
        assert generators is not None
        negatives = sample_negatives(self.student, generators, batches, keys, self.negatives)
        if not self.negatives.reference:
            return negatives
        inputs = {name: batches[name] for name in ('explain_ids', 'positive_ids', 'positive_mask')}
        refer = functools.partial(_referred, self.student, others=self.loss.name == 'kto')
        for _ in keys.shape:
            refer = jax.vmap(refer)
        return refer(generators, inputs, negatives)

    def update(
        self, state: TrainState, batch: Batch, sampled: Any, key: Key[Array, '']
    ) -> tuple[TrainState, Metrics]:
        """alpha_1 L_pred + alpha_2 times the loss of pairs, a mean over questions."""
        student, contrast = self.student, self.contrast
        positives, negatives, others = teacher_positives(batch, student.pad_id), sampled, None
        if isinstance(sampled, Referred):
            positives = dataclasses.replace(positives, reference=sampled.positives)
            negatives, others = sampled.negatives, sampled.others
        divergence = self._divergence(state.params, batch, others)
        counts = Counts.of(batch, positives, student.pad_id, one=True)
        *keys, draw_key = jax.random.split(step_keys(key, state.step).student, 4)
        choice = Choice.of(draw_key, positives, negatives, contrast.scheme)

        def loss_fn(params, inputs, rows):
            batch, positives, negatives, choice = inputs
            dropout = [Draws.of(key).of_rows(rows) for key in keys]
            read = batch['predict_ids'], batch['explain_ids'], batch['label_ids']
            read = *read, positives.ids, negatives.ids
            selected = decode_selected(
                student, params, batch, positives, negatives, contrast, choice, dropout
            )
            mask = selected.label.targets.token_mask
            prediction = share(selected.label.token_losses(), mask, counts.label_tokens)
            values, metrics = prefer(selected, self.loss, divergence)
            preference = share(values, batch['example_mask'], counts.questions)
            loss = losses.total_loss(
                prediction,
                preference,
                alpha_pred=contrast.alpha_pred,
                alpha_cl=contrast.alpha_cl,
            )
            return loss, metrics | {
                'padding': padding(read, student.pad_id),
                'prediction_loss': single(prediction, self.parts),
                'preference_loss': single(preference, self.parts),
            }

        inputs = batch, positives, negatives, choice
        new_state, metrics = update_student(
            state, self.optimizer, loss_fn, inputs, parts=self.parts
        )
        lengths = jnp.sum(negatives.token_mask, axis=-1).astype(jnp.float32)
        return new_state, metrics | {'negative_length': over(lengths, negatives.mask)}

    def _divergence(
        self, params: Params, batch: Batch, others: Float[Array, ' B'] | None
    ) -> Float[Array, '']:
        """KTO's z: how much likelier than the reference the student finds other answers."""
        if self.loss.name != 'kto':
            return jnp.float32(0)
        assert others is not None
        params = jax.lax.stop_gradient(params)
        answers = _others(batch, self.student.pad_id)
        found = _log_probabilities(self.student, params, batch['explain_ids'], answers)
        exist = answers.mask[:, 0] & batch['example_mask']
        return losses.kto_divergence(found[:, 0] - others, exist)


def prefer(
    selected: Selected, loss: PreferenceLoss, divergence: Float[Array, '']
) -> tuple[Float[Array, ' B'], Metrics]:
    """The loss of the pair of every question, and its metrics.

    A question that lacks one of the two has the terms that need only the other.

    Args:
      selected: one positive and one negative of each question.
      loss: of a pair.
      divergence: KTO's z, where it is asked for.
    """
    log_p = selected.rationales.log_probabilities()
    reference = selected.rationales.targets.reference
    (good, bad), exist = _halves(log_p), (selected.positives.mask, selected.negatives.mask)
    good_mask, bad_mask = _halves(selected.rationales.targets.token_mask)
    has = tuple(mask[:, 0] for mask in exist)
    means = -losses.sequence_mean(-good, good_mask), -losses.sequence_mean(-bad, bad_mask)
    sums = jnp.sum(good, axis=-1), jnp.sum(bad, axis=-1)
    referred = _halves(reference) if reference is not None else sums
    rewards = sums[0] - referred[0], sums[1] - referred[1]

    def both(values: Float[Array, ' B']) -> Float[Array, ' B']:
        return jnp.where(has[0] & has[1], values, 0.0)

    def each(values: Float[Array, ' B'], side: int) -> Float[Array, ' B']:
        return jnp.where(has[side], values, 0.0)

    likelihood = each(-means[0], 0)
    anchor, weight, beta = loss.anchor * likelihood, loss.weight, loss.beta
    match loss.name:
        case 'redi':
            values = losses.redi_loss(-likelihood, each(means[1], 1), alpha=weight)
        case 'unlikelihood':
            values = likelihood + weight * each(losses.unlikelihood_loss(bad, bad_mask), 1)
        case 'orpo':
            values = likelihood + weight * both(losses.orpo_loss(*means))
        case 'simpo':
            pair = losses.simpo_loss(*means, beta=beta, gamma_ratio=loss.gamma_ratio)
            values = anchor + both(pair)
        case 'spin':
            values = anchor + both(losses.spin_loss(*sums, *referred, scale=beta))
        case 'dpo':
            pair = losses.dpo_loss(*sums, *referred, beta=beta, smoothing=loss.smoothing)
            values = anchor + both(pair)
        case 'kto':
            halves = [
                each(losses.kto_loss(reward, divergence, desirable=side == 0, beta=beta), side)
                for side, reward in enumerate(rewards)
            ]
            values = anchor + (halves[0] + halves[1]) / 2
    compared = means if reference is None else rewards
    return values, {
        'positive_loss': over(-means[0], has[0]),
        'negative_loss': over(-means[1], has[1]),
        'preferred': over((compared[0] > compared[1]).astype(jnp.float32), has[0] & has[1]),
    }


@dataclasses.dataclass(frozen=True)
class Advantage:
    """AdvDistill: all of the teacher's rationales, weighed by their group-relative rewards.

    The reward of a positive is 1 and that of a negative 0, unless there are `scores`. Nothing is
    sampled.

    Attributes:
      student: the model.
      optimizer: the student's.
      alpha: weight of the label; 1 - alpha is that of the rationales.
      temperature: of the weights.
      scores: rewards from elsewhere.
      parts: into how many the questions of a batch are cut, one after another in memory.
    """

    student: Student
    optimizer: optax.GradientTransformation
    alpha: float = 0.5
    temperature: float = 1.0
    scores: HostScores | None = None
    parts: int = 1

    @property
    def negatives(self) -> None:
        """Nothing is sampled."""

    def sample(self, generators: Params | None, batches: Batch, keys: Key[Array, '*lead']) -> None:
        """Samples nothing."""

    def update(
        self, state: TrainState, batch: Batch, sampled: Any, key: Key[Array, '']
    ) -> tuple[TrainState, Metrics]:
        """See `method.Method`."""
        student = self.student
        groups = teacher_positives(batch, student.pad_id), teacher_negatives(batch, student.pad_id)
        counts = Counts.of(batch, groups[0], student.pad_id)
        keys = jax.random.split(jax.random.fold_in(key, state.step), 3)

        def loss_fn(params, inputs, rows):
            batch, groups = inputs
            dropout = [Draws.of(key).of_rows(rows) for key in keys]
            predict, explain = encode_both_tasks(student, params, batch, dropout[0])
            labels = labels_of(batch, student.pad_id)
            every = concatenate(*groups, pad_id=student.pad_id)
            asked = [(predict, labels), (explain, every)]
            label, rationales = decode(student, params, asked, dropout[1:])
            prediction = share(label.token_losses(), labels.token_mask, counts.label_tokens)
            values, positive = rationales.sequence_losses(), groups[0].mask.shape[1]
            weights = losses.advantage_weights(
                self._rewards(batch, every, positive), every.mask, temperature=self.temperature
            )
            per_question = jnp.sum(weights * jnp.where(every.mask, values, 0.0), axis=-1)
            explanation = share(per_question, batch['example_mask'], counts.questions)
            read = batch['predict_ids'], batch['explain_ids'], labels.ids, every.ids
            return losses.dss_loss(prediction, explanation, alpha=self.alpha), {
                'padding': padding(read, student.pad_id),
                'prediction_loss': single(prediction, self.parts),
                'explanation_loss': single(explanation, self.parts),
                'positive_loss': over(values[:, :positive], groups[0].mask),
                'negative_loss': over(values[:, positive:], groups[1].mask),
            }

        return update_student(state, self.optimizer, loss_fn, (batch, groups), parts=self.parts)

    def _rewards(self, batch: Batch, every: Rationales, positive: int) -> Float[Array, 'B R']:
        if self.scores is not None:
            return self.scores.of(batch, every.ids)
        shape = every.mask.shape
        return jnp.broadcast_to(jnp.arange(shape[1]) < positive, shape).astype(jnp.float32)


def _referred(
    student: Student, generator: Params, batch: Batch, negatives: Rationales, *, others: bool
) -> Referred:
    """What a generator thinks of the teacher's positives, its own samples, and other answers."""
    positives = teacher_positives(batch, student.pad_id)
    groups = [positives, negatives, *([_others(batch, student.pad_id)] if others else [])]
    every = concatenate(*groups, pad_id=student.pad_id)
    found = _log_probabilities(student, generator, batch['explain_ids'], every)
    m, k = positives.mask.shape[1], negatives.mask.shape[1]
    negatives = dataclasses.replace(negatives, reference=found[:, m : m + k])
    return Referred(negatives, found[:, :m], found[:, m + k] if others else None)


def _others(batch: Batch, pad_id: int) -> Rationales:
    """Of every question the first positive of the question before it, as an answer to it."""
    first = first_of(teacher_positives(batch, pad_id))
    return jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=0), first)


def _log_probabilities(
    student: Student, params: Params, questions: Any, rationales: Rationales
) -> Float[Array, 'B R']:
    """Returns log p(r | explain: x) of rationales, nats, without dropout."""
    context = student.encode(params, questions, questions != student.pad_id)
    (decoded,) = decode(student, params, [(context, rationales)], [None])
    return jnp.sum(decoded.log_probabilities(), axis=-1)


def _halves(values: Any) -> tuple[Any, Any]:
    """The part of the positive, and that of the negative."""
    return values[:, 0], values[:, 1]
