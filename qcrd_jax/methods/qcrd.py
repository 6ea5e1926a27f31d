"""QCRD (section 3): past parameters are sampled, rationales scored and contrasted, both updated."""

import dataclasses

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from qcrd_jax import losses
from qcrd_jax.methods.discriminator import score_rationales, update_discriminator
from qcrd_jax.methods.host_scores import HostScores
from qcrd_jax.methods.method import update_student
from qcrd_jax.methods.metrics import Metrics, over, padding, single
from qcrd_jax.methods.negatives import sample_negatives
from qcrd_jax.methods.objectives import (
    Choice,
    Contrast,
    Counts,
    MutualInformation,
    contrast_rationales,
    decode_selected,
    mutual_information,
)
from qcrd_jax.methods.parts import share
from qcrd_jax.methods.rationales import (
    Batch,
    NegativeSampling,
    Rationales,
    concatenate,
    no_rationales,
    teacher_negatives,
    teacher_positives,
)
from qcrd_jax.methods.state import TrainState, step_keys
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.dropout import Draws
from qcrd_jax.models.protocol import Params, Student


@dataclasses.dataclass(frozen=True)
class Qcrd:
    """QCRD: sample negatives from the generator, score, contrast, update.

    Attributes:
      student: the model.
      optimizer: the student's.
      contrast: constants of the losses.
      negatives: how the generator is sampled; None samples none.
      discriminator: None weighs every rationale alike (eqs. 4, 5), unless there are `scores`.
      discriminator_optimizer: its own, used every `contrast.update_every` steps; None: never.
      shared: adds MI's term for the positives that carry gradient (MI + QCRD, Table A5).
      scores: that weigh rationales in the place of a discriminator's.
      parts: into how many the questions of a batch are cut, one after another in memory.
      shards: devices that the questions of a batch are spread over.
    """

    student: Student
    optimizer: optax.GradientTransformation
    contrast: Contrast = dataclasses.field(default_factory=Contrast)
    negatives: NegativeSampling | None = dataclasses.field(default_factory=NegativeSampling)
    discriminator: Discriminator | None = None
    discriminator_optimizer: optax.GradientTransformation | None = None
    shared: MutualInformation | None = None
    scores: HostScores | None = None
    parts: int = 1
    shards: int = 1

    def spread(self, shards: int) -> 'Qcrd':
        """See `method.Spreading`."""
        return dataclasses.replace(self, shards=shards)

    def sample(
        self, generators: Params | None, batches: Batch, keys: Key[Array, '*lead']
    ) -> Rationales:
        """Negatives of the questions (section 3.2.1); see `method.Method`."""
        if self.negatives is None:
            return no_rationales(batches)
        assert generators is not None
        return sample_negatives(self.student, generators, batches, keys, self.negatives)

    def update(
        self, state: TrainState, batch: Batch, sampled: Rationales, key: Key[Array, '']
    ) -> tuple[TrainState, Metrics]:
        """Eq. 8: the student's terms, and the discriminator's where its update is due."""
        pad_id, keys = self.student.pad_id, step_keys(key, state.step)
        positives, teacher = teacher_positives(batch, pad_id), teacher_negatives(batch, pad_id)
        everything = concatenate(sampled, teacher, pad_id=pad_id)
        negatives = everything if self.contrast.teacher_negatives else sampled
        new_state, metrics = self._update_student(state, batch, positives, negatives, keys.student)
        metrics['negative_length'] = over(
            jnp.sum(negatives.token_mask, axis=-1).astype(jnp.float32), negatives.mask
        )
        optimizer = self.discriminator_optimizer
        if self.discriminator is None or optimizer is None or self.contrast.update_every == 0:
            return new_state, metrics
        due = (state.step + 1) % self.contrast.update_every == 0
        discriminator, its_metrics = update_discriminator(
            self.discriminator,
            optimizer,
            state.discriminator,
            batch,
            positives,
            everything,
            keys.discriminator,
            # No norm is negative: the update waits until the student's activations are gone, and
            # until nothing reads the parameters that it overwrites.
            due=due & ~(metrics['gradient_norm'][0] < 0),
            alpha=self._alpha_disc(state),
            kind=self.contrast.discriminator_loss,
            shards=self.shards,
        )
        return dataclasses.replace(new_state, discriminator=discriminator), metrics | its_metrics

    def _update_student(
        self,
        state: TrainState,
        batch: Batch,
        positives: Rationales,
        negatives: Rationales,
        key: Key[Array, ''],
    ) -> tuple[TrainState, Metrics]:
        """alpha_1 L_pred + alpha_2 L_cl, and MI's term where it is shared."""
        student, contrast = self.student, self.contrast
        selects = contrast.scheme in losses.SELECTING_SCHEMES
        counts = Counts.of(batch, positives, student.pad_id, one=selects)
        *keys, draw_key = jax.random.split(key, 4)
        choice = Choice.of(draw_key, positives, negatives, contrast.scheme)

        def score(batch: Batch, ids: Int[Array, 'B R T']) -> Float[Array, 'B R'] | None:
            if self.scores is not None:
                return self.scores.of(batch, ids)
            if self.discriminator is None:
                return None
            params = state.discriminator.params
            return score_rationales(self.discriminator, params, batch, ids, None)

        def loss_fn(params, inputs, rows):
            batch, positives, negatives, choice = inputs
            dropout = [Draws.of(key).of_rows(rows) for key in keys]
            read = batch['predict_ids'], batch['explain_ids'], batch['label_ids']
            read = *read, positives.ids, negatives.ids
            label, rationales, positives, negatives, scheme = decode_selected(
                student, params, batch, positives, negatives, contrast, choice, dropout
            )
            mask = label.targets.token_mask
            prediction = share(label.token_losses(), mask, counts.label_tokens)
            values, scores = rationales.sequence_losses(), score(batch, rationales.targets.ids)
            per_question, metrics = contrast_rationales(
                values, scores, positives, negatives, contrast, scheme
            )
            contrastive = share(per_question, batch['example_mask'], counts.questions)
            loss = losses.total_loss(
                prediction,
                contrastive,
                alpha_pred=contrast.alpha_pred,
                alpha_cl=contrast.alpha_cl,
            )
            used = rationales.first(positives.mask.shape[1])
            term, shared = mutual_information(used, label, self.shared, counts, parts=self.parts)
            return loss + term, metrics | shared | {
                'padding': padding(read, student.pad_id),
                'prediction_loss': single(prediction, self.parts),
                'contrastive_loss': single(contrastive, self.parts),
            }

        inputs = batch, positives, negatives, choice
        return update_student(state, self.optimizer, loss_fn, inputs, parts=self.parts)

    def _alpha_disc(self, state: TrainState) -> Float[Array, '']:
        """alpha_3 of this step (section 4.1: 0.5, times 0.9 per iteration)."""
        contrast = self.contrast
        decays = state.discriminator.updates if contrast.decay_every == 'update' else state.step
        return contrast.alpha_disc * contrast.alpha_disc_decay ** decays.astype(jnp.float32)
