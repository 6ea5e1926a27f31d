"""A run as its configuration and its data determine it; what training changes is a `Position`."""

import dataclasses
import functools
import pathlib

import jax
import optax
from ml_collections import config_dict

from qcrd_jax.data import batches
from qcrd_jax.data.batches import BatchStream
from qcrd_jax.data.corpus import Corpus
from qcrd_jax.evaluation.answering import Answering, Batches
from qcrd_jax.methods.method import Method
from qcrd_jax.methods.table import METHODS, Entry
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.protocol import Student

_CONSUMERS = ('student', 'discriminator', 'pretrain', 'train')  # of randomness


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A run, as its configuration and its data determine it; it holds no parameters.

    Attributes:
      config: of the run.
      workdir: of the run.
      corpus: its data, tokenised.
      method: what a step computes; runs that only differ in their seed share it.
      schedule: learning rate of the student by step.
      discriminator: None where the method has none, or does not weigh by it.
      pretraining_optimizer: of the discriminator before training.
      discriminator_optimizer: of its online updates, which continue the pretraining.
    """

    config: config_dict.ConfigDict
    workdir: pathlib.Path
    corpus: Corpus
    method: Method
    schedule: optax.Schedule
    discriminator: Discriminator | None
    pretraining_optimizer: optax.GradientTransformation
    discriminator_optimizer: optax.GradientTransformation

    @property
    def student(self) -> Student:
        """The model that is trained."""
        return self.method.student

    @property
    def entry(self) -> Entry:
        """What the table of methods says of the run's method."""
        return METHODS[self.config.method]

    def key(self, consumer: str) -> jax.Array:
        """The key of 'student', 'discriminator', 'pretrain' or 'train'."""
        base = jax.random.key(self.config.seed)
        return jax.random.fold_in(base, _CONSUMERS.index(consumer))

    def training_batches(self) -> BatchStream:
        """The batch of every step."""
        return batches.training_batches(
            self.corpus.encoded['train'],
            self.corpus.lengths,
            batch_size=self.config.train.batch_size,
            seed=self.config.seed,
        )

    def evaluation_batches(self, split: str) -> Batches:
        """The batches of a split, each example once."""
        return batches.evaluation_batches(
            self.corpus.encoded[split],
            self.corpus.lengths,
            batch_size=self.config.evaluation.batch_size,
        )

    @property
    def answering(self) -> Answering:
        """How the run's student is asked."""
        lengths, shortest = self.corpus.lengths, self.config.evaluation.max_length
        return Answering(
            student=self.student,
            tokenizer=self.corpus.tokenizer,
            label_length=max(lengths.label, shortest) if self.entry.joint else shortest,
            rationale_length=lengths.rationale,
            joint=self.entry.joint,
            seed=self.config.seed,
        )

    @functools.cached_property
    def fingerprint(self) -> dict[str, str]:
        """Of what is trained on, selected on and reported, by split."""
        return {
            split: batches.fingerprint(
                encoded,
                self.corpus.lengths,
                batch_size=self.config.train.batch_size,
                seed=self.config.seed,
            )
            for split, encoded in self.corpus.encoded.items()
        }
