"""A run as its configuration and its data determine it; what training changes is a `Position`."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from ml_collections import config_dict

from qcrd_jax.data import batches
from qcrd_jax.data.batches import BatchStream
from qcrd_jax.data.corpus import Corpus
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation.answering import Answering, Batches
from qcrd_jax.methods.method import Method
from qcrd_jax.methods.table import METHODS, Entry
from qcrd_jax.models import architectures, huggingface
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.protocol import Params, Student

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

    def student_parameters(self) -> Params:
        """theta_0, made anew: pretrained or random."""
        pretrained = self.config.student.pretrained
        if pretrained:
            return huggingface.load_student(pretrained)[1]
        return self.student.init(self.key('student'))

    def discriminator_parameters(self, theta_0: Params) -> Params:
        """The discriminator before its pretraining, made anew.

        Args:
          theta_0: the student's initial parameters; read where the discriminator begins as a part
            of it.
        """
        assert self.discriminator is not None
        params = self.discriminator.init(self.key('discriminator'))
        pretrained = self.config.discriminator.pretrained
        if pretrained == 'student':
            taken = jax.tree.map(jnp.copy, self.student.encoder.take(theta_0))
            return self.discriminator.with_encoder(params, taken)
        if pretrained:
            _, encoder = huggingface.load_encoder(pretrained)
            return self.discriminator.with_encoder(params, encoder)
        return params

    def fixed_generator(self, theta_0: Callable[[], Params]) -> Params | None:
        """What source 'fixed' samples (Table A3): a finished student, or theta_0; None for others.

        Args:
          theta_0: makes the student's initial parameters, where they are needed.
        """
        negatives, fixed = self.method.negatives, self.config.negatives.fixed
        if negatives is None or negatives.lag:
            return None
        if not fixed:
            return theta_0()
        architecture, params = huggingface.load_student(fixed)
        expected, got = (
            jax.tree.map(jnp.shape, tree)
            for tree in (jax.eval_shape(self.student.init, jax.random.key(0)), params)
        )
        if expected != got or architecture.vocab_size != self.student.vocab_size:
            raise InputError(
                f'--config.negatives.fixed: {fixed} has another architecture than the student; '
                'name a student of the same size and vocabulary.'
            )
        return params

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


def student_name(config: config_dict.ConfigDict) -> str:
    """How summaries call the student."""
    settings = config.student
    random = f'{architectures.describe(settings.size, settings.version)} (random)'
    return settings.pretrained or random
