"""From a configuration to the objects of a run: data, student, discriminator, steps.

Everything here is determined by the configuration and the data, so a resumed run assembles the
same objects again; only what training changes is in a checkpoint.
"""

import math
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import optax
from ml_collections import config_dict

from qcrd_jax import config as configuration
from qcrd_jax.methods import (optimizers, steps)
from qcrd_jax.data.sources import builders
from qcrd_jax.data.batches import Lengths
from qcrd_jax.data import corpus as corpora
from qcrd_jax.data.corpus import Corpus
from qcrd_jax.data.splits import Dataset
from qcrd_jax.errors import InputError
from qcrd_jax.models import (architectures, huggingface)
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.protocol import (Params, Student)
from qcrd_jax.methods.rationales import NegativeSampling

_MEASURED_QUESTIONS = 1000  # that are kept for measuring a discriminator that learns from fewer


def read_dataset(config: config_dict.ConfigDict, workdir: pathlib.Path) -> Dataset:
    """Reads the dataset; see `builders.load`."""
    return builders.load(config.data, workdir / 'data')


def build_corpus(config: config_dict.ConfigDict, dataset: Dataset, workdir: pathlib.Path) -> Corpus:
    """Tokenises the dataset for the method; see `data.corpus`."""
    return corpora.build_corpus(
        config,
        dataset,
        workdir,
        positives=config.data.positives if contrastive(config) else 'first',
        joint=config.method == 'single_task',
    )


def build_student(config: config_dict.ConfigDict, tokenizer: Any) -> tuple[Student, Params]:
    """The student and its initial parameters, pretrained or random."""
    settings = config.student
    if settings.pretrained:
        architecture, params = huggingface.load_student(settings.pretrained)
        if len(tokenizer) > architecture.vocab_size:
            raise InputError(
                f'--config.student.tokenizer: has {len(tokenizer)} pieces, but the embedding of '
                f'{settings.pretrained} has {architecture.vocab_size} rows; name the tokenizer '
                'that belongs to it.'
            )
    else:
        architecture = architectures.random_architecture(settings.size, settings.version, tokenizer)
        params = None
    student = architectures.student_for(
        architecture,
        tokenizer,
        dropout_rate=settings.dropout,
        compute_dtype=_compute_dtype(settings.compute_dtype),
    )
    return student, student.init(key_of(config, 'student')) if params is None else params


def build_discriminator(
    config: config_dict.ConfigDict, tokenizer: Any, student: Student, student_params: Params
) -> tuple[Discriminator, Params] | None:
    """The discriminator and its initial parameters; None for a method that has no use for it."""
    settings = config.discriminator
    if not contrastive(config) or not settings.weigh:
        return None
    if settings.pretrained == 'student':
        architecture = student.config
        weights = jax.tree.map(jnp.copy, student.encoder.take(student_params))
    elif settings.pretrained:
        architecture, weights = huggingface.load_encoder(settings.pretrained)
        if architecture.vocab_size < len(tokenizer):
            raise InputError(
                f'--config.discriminator.pretrained: {settings.pretrained} knows '
                f'{architecture.vocab_size} pieces, the student has {len(tokenizer)}; it judges '
                "the student's token ids, so take one with the same vocabulary, or 'student'."
            )
    else:
        version = config.student.version
        architecture = architectures.random_architecture(settings.size, version, tokenizer)
        weights = None
    encoder = architectures.encoder_for(
        architecture,
        tokenizer,
        dropout_rate=config.student.dropout,
        compute_dtype=_compute_dtype(config.student.compute_dtype),
    )
    discriminator = Discriminator(encoder)
    params = discriminator.init(key_of(config, 'discriminator'))
    if weights is not None:
        params = discriminator.with_encoder(params, weights)
    return discriminator, params


def build_optimizer(
    config: config_dict.ConfigDict,
) -> tuple[optax.GradientTransformation, optax.Schedule]:
    """The student's optimiser, and its learning rate by step."""
    settings = config.optimizer
    schedule = optimizers.learning_rate_schedule(
        settings.learning_rate,
        schedule=settings.schedule,
        steps=config.train.steps,
        warmup_steps=settings.warmup_steps,
    )
    return _adamw(config, schedule), schedule


def build_discriminator_optimizers(
    config: config_dict.ConfigDict,
) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """The discriminator's optimisers, of the pretraining and online; they share their state."""
    settings = config.discriminator
    pretraining = optimizers.learning_rate_schedule(
        settings.learning_rate, schedule='linear', steps=settings.pretrain_steps
    )
    online = optimizers.learning_rate_schedule(
        settings.online_learning_rate, schedule='constant', steps=config.train.steps
    )
    return _adamw(config, pretraining), _adamw(config, online)


def contrast(config: config_dict.ConfigDict) -> steps.Contrast:
    """The constants of QCRD's losses."""
    loss = config.loss
    return steps.Contrast(
        alpha_pred=loss.alpha_pred,
        alpha_cl=loss.alpha_cl,
        alpha_disc=loss.alpha_disc,
        alpha_disc_decay=loss.alpha_disc_decay,
        decay_every=config.discriminator.decay_every,
        beta=loss.beta,
        margin=loss.margin,
        scheme=loss.scheme,
        discriminator=loss.discriminator,
        update_every=config.discriminator.update_every,
        teacher_negatives=config.negatives.source == 'self_consistency',
    )


def shared_information(config: config_dict.ConfigDict) -> steps.MutualInformation | None:
    """MI's term; None for a method without it."""
    if config.method not in ('mi', 'mi_qcrd'):
        return None
    return steps.MutualInformation(config.mi.weight, config.mi.variant)


def negative_sampling(config: config_dict.ConfigDict, lengths: Lengths) -> NegativeSampling | None:
    """How the generator is sampled; None where nothing is sampled."""
    if not _samples(config):
        return None
    settings = config.negatives
    return NegativeSampling(
        count=settings.count,
        temperature=settings.temperature,
        max_length=min(settings.max_length or lengths.rationale, lengths.rationale),
    )


def generator_lag(config: config_dict.ConfigDict) -> int:
    """Optimiser steps between the student and its generator, j I; 0 where there is no ring."""
    settings = config.negatives
    if not _samples(config) or settings.source != 'ring':
        return 0
    return settings.lag * settings.interval


def contrastive(config: config_dict.ConfigDict) -> bool:
    """Whether the method has negatives and a discriminator."""
    return config.method in configuration.CONTRASTIVE


def _samples(config: config_dict.ConfigDict) -> bool:
    """Whether anything is sampled from a generator."""
    settings = config.negatives
    sampling = settings.source in ('ring', 'fixed') and settings.count > 0
    return contrastive(config) and sampling


def fixed_generator(
    config: config_dict.ConfigDict, student: Student, theta_0: Params
) -> Params | None:
    """What source 'fixed' samples from (Table A3): a finished student, or theta_0."""
    if not contrastive(config) or config.negatives.source != 'fixed':
        return None
    if not config.negatives.fixed:
        return jax.tree.map(jnp.copy, theta_0)
    architecture, params = huggingface.load_student(config.negatives.fixed)
    expected, got = (jax.tree.map(jnp.shape, tree) for tree in (theta_0, params))
    if expected != got or architecture.vocab_size != student.vocab_size:
        raise InputError(
            f'--config.negatives.fixed: {config.negatives.fixed} has another architecture than '
            'the student; name a student of the same size and vocabulary.'
        )
    return params


def judged_questions(config: config_dict.ConfigDict) -> int:
    """How many questions the discriminator's pretraining visits, and those held out from it."""
    settings = config.discriminator
    visited = settings.pretrain_steps * settings.batch_size
    return max(math.ceil(visited / (1 - settings.holdout)), _MEASURED_QUESTIONS)


def key_of(config: config_dict.ConfigDict, consumer: str) -> jax.Array:
    """The key of one consumer of randomness: 'student', 'discriminator', 'pretrain' or 'train'."""
    consumers = ('student', 'discriminator', 'pretrain', 'train')
    return jax.random.fold_in(jax.random.key(config.seed), consumers.index(consumer))


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


def _compute_dtype(name: str) -> Any:
    if name == 'auto':
        return jnp.float32 if jax.default_backend() == 'cpu' else jnp.bfloat16
    return jnp.dtype(name)


def student_name(config: config_dict.ConfigDict) -> str:
    """How summaries call the student."""
    settings = config.student
    random = f'{architectures.describe(settings.size, settings.version)} (random)'
    return settings.pretrained or random
