"""Methods that sample nothing: fine-tuning, Single-Task, DSS and MI."""

import dataclasses
from typing import Any

import jax
import optax
from jaxtyping import Array, Key

from qcrd_jax import losses
from qcrd_jax.methods.method import update_student
from qcrd_jax.methods.metrics import Metrics, single
from qcrd_jax.methods.objectives import (
    Decoded,
    MutualInformation,
    encode_both_tasks,
    label_loss,
    mutual_information,
)
from qcrd_jax.methods.rationales import Batch
from qcrd_jax.methods.state import TrainState
from qcrd_jax.models.protocol import Params, Student


@dataclasses.dataclass(frozen=True)
class _Supervised:
    """What these methods share: nothing is sampled.

    Attributes:
      student: the model.
      optimizer: the student's.
    """

    student: Student
    optimizer: optax.GradientTransformation

    @property
    def negatives(self) -> None:
        """Nothing is sampled."""

    def sample(self, generators: Params | None, batches: Batch, keys: Key[Array, '*lead']) -> None:
        """Samples nothing."""


@dataclasses.dataclass(frozen=True)
class Finetune(_Supervised):
    """Plain fine-tuning: only the label's cross-entropy.

    With `label_ids` that hold rationale and label in one (`data.targets`) it is Single-Task.
    """

    def update(
        self, state: TrainState, batch: Batch, sampled: Any, key: Key[Array, '']
    ) -> tuple[TrainState, Metrics]:
        """See `method.Method`."""

        def loss_fn(params):
            encode_key, label_key = jax.random.split(jax.random.fold_in(key, state.step))
            questions = batch['predict_ids']
            context = self.student.encode(
                params, questions, questions != self.student.pad_id, encode_key
            )
            loss, _ = label_loss(self.student, params, context, batch, label_key)
            return loss, {'prediction_loss': single(loss)}

        return update_student(state, self.optimizer, loss_fn)


@dataclasses.dataclass(frozen=True)
class Dss(_Supervised):
    """Distilling step-by-step: the label and the first rationale of every question, as two tasks.

    Both terms are means over all tokens of the batch, as in the trainer that DSS released; the
    rationale is `positive_ids[:, 0]`. With `shared` it is MI, which adds its term.

    Attributes:
      alpha: weight of the label; 1 - alpha is that of the rationale.
      shared: MI's term, or None.
    """

    alpha: float = 0.5
    shared: MutualInformation | None = None

    def update(
        self, state: TrainState, batch: Batch, sampled: Any, key: Key[Array, '']
    ) -> tuple[TrainState, Metrics]:
        """See `method.Method`."""
        student = self.student

        def loss_fn(params):
            encode_key, label_key, rationale_key = jax.random.split(
                jax.random.fold_in(key, state.step), 3
            )
            predict, explain = encode_both_tasks(student, params, batch, encode_key)
            prediction, label = label_loss(student, params, predict, batch, label_key)
            ids, exists = batch['positive_ids'][:, :1], batch['positive_mask'][:, :1]
            logits = student.decode(params, explain, ids, rationale_key)
            mask = (ids != student.pad_id) & exists[..., None]
            explanation = losses.seq2seq_loss(logits, ids, mask)
            loss = losses.dss_loss(prediction, explanation, alpha=self.alpha)
            term, metrics = mutual_information(Decoded(logits, mask, exists), label, self.shared)
            return loss + term, metrics | {
                'prediction_loss': single(prediction),
                'explanation_loss': single(explanation),
            }

        return update_student(state, self.optimizer, loss_fn)
