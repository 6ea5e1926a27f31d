"""From a configuration to a run: data, student, discriminator, method.

A `Run` is determined by the configuration and the data, so a resumed run is assembled again; what
training changes is a `position.Position`.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from absl import logging
from ml_collections import config_dict

from qcrd_jax.data import batches, corpus
from qcrd_jax.data.corpus import Corpus
from qcrd_jax.data.sources import builders
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation.answering import Answering, Batches
from qcrd_jax.methods import METHODS, Entry, Method, Parts, optimizers
from qcrd_jax.methods.programs import BatchStream
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
        return _key(self.config, consumer)

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


def assemble(
    config: config_dict.ConfigDict, workdir: pathlib.Path, *, twin: Run | None = None
) -> Run:
    """Reads the data and builds the models.

    Args:
      config: of the run.
      workdir: of the run.
      twin: a run of the same configuration but for the seed, whose data and programs are used.
    """
    if twin is not None:
        return dataclasses.replace(twin, config=config, workdir=workdir)
    data = read_corpus(config, workdir)
    _warn(config, data)
    student = _student(config, data.tokenizer)
    discriminator = _discriminator(config, data.tokenizer, student)
    schedule, pretraining, online = _schedules(config)
    adamw = functools.partial(_adamw, config)
    optimizer, pretraining, online = map(adamw, (schedule, pretraining, online))
    parts = Parts(student, optimizer, discriminator, online, data.lengths.rationale)
    method = METHODS[config.method].build(config, parts)
    return Run(config, workdir, data, method, schedule, discriminator, pretraining, online)


def read_corpus(config: config_dict.ConfigDict, workdir: pathlib.Path) -> Corpus:
    """Reads and tokenises the data as the method needs it."""
    entry = METHODS[config.method]
    return corpus.build_corpus(
        config,
        builders.load(config.data, workdir / 'data'),
        workdir,
        positives=entry.positives or config.data.positives,
        joint=entry.joint,
    )


def _warn(config: config_dict.ConfigDict, data: Corpus) -> None:
    """Says what is cut or missing."""
    for truncation in data.truncations:
        logging.warning('%s', truncation)
    counts = data.encoded['train'].counts()
    if config.method != 'finetune' and counts['without_positive'] * 2 > counts['examples']:
        logging.warning(
            '%d of %d training questions have no positive rationale and train only on their '
            'label; look at the data by --mode=prepare.',
            counts['without_positive'], counts['examples'],
        )  # fmt: skip


def student_name(config: config_dict.ConfigDict) -> str:
    """How summaries call the student."""
    settings = config.student
    random = f'{architectures.describe(settings.size, settings.version)} (random)'
    return settings.pretrained or random


def _student(config: config_dict.ConfigDict, tokenizer: Any) -> Student:
    settings = config.student
    if settings.pretrained:
        architecture = huggingface.load_architecture(settings.pretrained)
        if len(tokenizer) > architecture.vocab_size:
            raise InputError(
                f'--config.student.tokenizer: has {len(tokenizer)} pieces, but the embedding of '
                f'{settings.pretrained} has {architecture.vocab_size} rows; name the tokenizer '
                'that belongs to it.'
            )
    else:
        architecture = architectures.random_architecture(settings.size, settings.version, tokenizer)
    return architectures.student_for(
        architecture,
        tokenizer,
        dropout_rate=settings.dropout,
        compute_dtype=_compute_dtype(settings.compute_dtype),
    )


def _discriminator(
    config: config_dict.ConfigDict, tokenizer: Any, student: Student
) -> Discriminator | None:
    """None for a method that has no use for one."""
    settings = config.discriminator
    if not METHODS[config.method].weighs(config):
        return None
    if settings.pretrained == 'student':
        architecture = student.config
    elif settings.pretrained:
        architecture = huggingface.load_encoder(settings.pretrained)[0]
        if architecture.vocab_size < len(tokenizer):
            raise InputError(
                f'--config.discriminator.pretrained: {settings.pretrained} knows '
                f'{architecture.vocab_size} pieces, the student has {len(tokenizer)}; it reads '
                "the student's token ids, so take one with the same vocabulary, or 'student'."
            )
    else:
        version = config.student.version
        architecture = architectures.random_architecture(settings.size, version, tokenizer)
    return Discriminator(
        architectures.encoder_for(
            architecture,
            tokenizer,
            dropout_rate=config.student.dropout,
            compute_dtype=_compute_dtype(config.student.compute_dtype),
        )
    )


def _schedules(config: config_dict.ConfigDict) -> Sequence[optax.Schedule]:
    """Learning rates of the student, of the discriminator's pretraining, and of its updates."""
    settings, own = config.optimizer, config.discriminator
    return (
        optimizers.learning_rate_schedule(
            settings.learning_rate,
            schedule=settings.schedule,
            steps=config.train.steps,
            warmup_steps=settings.warmup_steps,
        ),
        optimizers.learning_rate_schedule(
            own.learning_rate, schedule='linear', steps=own.pretrain_steps
        ),
        optimizers.learning_rate_schedule(
            own.online_learning_rate, schedule='constant', steps=config.train.steps
        ),
    )


def _adamw(
    config: config_dict.ConfigDict, schedule: optax.Schedule
) -> optax.GradientTransformation:
    settings = config.optimizer
    return optimizers.adamw(
        schedule,
        clip_norm=settings.clip_norm,
        weight_decay=settings.weight_decay,
        b1=settings.b1,
        b2=settings.b2,
        eps=settings.eps,
    )


def _key(config: config_dict.ConfigDict, consumer: str) -> jax.Array:
    return jax.random.fold_in(jax.random.key(config.seed), _CONSUMERS.index(consumer))


def _compute_dtype(name: str) -> Any:
    if name == 'auto':
        return jnp.float32 if jax.default_backend() == 'cpu' else jnp.bfloat16
    return jnp.dtype(name)
