"""From a configuration to a run: data, student, discriminator, method.

A resumed run is assembled again, and is the same: only what training changes is in a checkpoint.
"""

import dataclasses
import functools
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import optax
from absl import logging
from ml_collections import config_dict

from qcrd_jax.data import corpus
from qcrd_jax.data import tokenizer as tokenizers
from qcrd_jax.data.corpus import Corpus
from qcrd_jax.data.sources import builders
from qcrd_jax.errors import InputError
from qcrd_jax.methods import optimizers
from qcrd_jax.methods.table import METHODS, Parts
from qcrd_jax.models import architectures, huggingface
from qcrd_jax.models.base import compute_dtype
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.lora import LoraStudent
from qcrd_jax.models.protocol import Student
from qcrd_jax.placement import Placement
from qcrd_jax.runs import frozen, text_scores
from qcrd_jax.runs.frozen import Frozen
from qcrd_jax.runs.run import Run


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
        config = _with_steps(config, twin.corpus)
        return dataclasses.replace(twin, config=config, workdir=workdir)
    placement = Placement.of(config.mesh.data, config.mesh.fsdp)
    _check_models(config)
    data = read_corpus(config, workdir)
    _check_rationales(config, data)
    config = _with_steps(config, data)
    student = _student(config, data.tokenizer)
    discriminator = _discriminator(config, data.tokenizer, student)
    schedule, pretraining, online = _schedules(config)
    adamw = functools.partial(_adamw, config)
    optimizer, pretraining, online = map(adamw, (schedule, pretraining, online))
    scores = None
    if METHODS[config.method].scores_texts(config):
        scores = text_scores.host_scores(config, data)
    parts = Parts(
        _trained(config, student), optimizer, discriminator, online, data.lengths.rationale, scores
    )
    method = METHODS[config.method].build(config, parts)
    return Run(
        config=config,
        workdir=workdir,
        corpus=data,
        method=method,
        schedule=schedule,
        discriminator=discriminator,
        pretraining_optimizer=pretraining,
        discriminator_optimizer=online,
        placement=placement,
        frozen=_frozen(config),
    )


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


def _with_steps(config: config_dict.ConfigDict, data: Corpus) -> config_dict.ConfigDict:
    """The configuration whose steps are those of its epochs, where it has any."""
    train = config.train
    if not train.epochs:
        return config
    questions = len(data.encoded['train'])
    own = config.copy_and_resolve_references()
    own.train.steps = max(1, math.ceil(train.epochs * questions / train.batch_size))
    optimizers.check_warmup(own.optimizer.warmup_steps, own.train.steps)
    return own


def _check_models(config: config_dict.ConfigDict) -> None:
    """Opens what the run names beside its data: refused now, not after the data was read."""
    student, entry = config.student, METHODS[config.method]
    if student.pretrained:
        architecture = huggingface.load_architecture(student.pretrained)
        if config.lora.rank and not architectures.takes_adapters(architecture):
            raise InputError(
                f'--config.lora.rank: adapters are trained of decoder-only students; '
                f'{student.pretrained} is a {architecture.model_type}. Expected 0 with it, which '
                'trains all weights.'
            )
    if name := student.tokenizer or student.pretrained:
        tokenizers.load_tokenizer(name)
    if entry.weighs(config) and config.discriminator.pretrained not in ('', 'student'):
        huggingface.load_encoder_architecture(config.discriminator.pretrained)
    samples = any(name.startswith('negatives') for name in entry.reads(config))
    if samples and config.negatives.source == 'fixed' and config.negatives.fixed:
        huggingface.load_architecture(config.negatives.fixed)


def _check_rationales(config: config_dict.ConfigDict, data: Corpus) -> None:
    """Says what is cut or missing; refuses a method of rationales where there are none.

    Raises:
      InputError: if no training question has a rationale that the method could learn.
    """
    for truncation in data.truncations:
        logging.warning('%s', truncation)
    counts = data.encoded['train'].counts()
    learns = METHODS[config.method].rationales
    if learns and counts['without_positive'] == counts['examples']:
        raise InputError(
            f'--config.method: {config.method} learns rationales, and none of the '
            f'{counts["examples"]} training questions has one that is held to be right; name the '
            "teacher's answers by --config.data.teacher_samples (--mode=annotate asks an LLM for "
            'them, --mode=prepare says what can be read), or take --config.method=finetune.'
        )
    if learns and counts['without_positive'] * 2 > counts['examples']:
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
        compute_dtype=compute_dtype(settings.compute_dtype),
        remat=config.train.remat == 'layers',
    )


def _trained(config: config_dict.ConfigDict, student: Student) -> Student:
    """The student as it is trained: whole, or its adapters."""
    settings = config.lora
    if not settings.rank:
        return student
    return LoraStudent(student, settings.rank, settings.alpha, settings.targets)


def _frozen(config: config_dict.ConfigDict) -> Frozen | None:
    if not config.lora.rank:
        return None
    return frozen.of(huggingface.load_student(config.student.pretrained)[1])


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
        architecture = huggingface.load_encoder_architecture(settings.pretrained)
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
            compute_dtype=compute_dtype(config.student.compute_dtype),
            remat=config.train.remat == 'layers',
        ),
        frozen=settings.frozen,
    )


def _schedules(config: config_dict.ConfigDict) -> Sequence[optax.Schedule]:
    """Learning rates of the student, of the discriminator's pretraining, and of its updates."""
    settings, discriminator = config.optimizer, config.discriminator
    return (
        optimizers.learning_rate_schedule(
            settings.learning_rate,
            schedule=settings.schedule,
            steps=config.train.steps,
            warmup_steps=settings.warmup_steps,
        ),
        optimizers.learning_rate_schedule(
            discriminator.learning_rate, schedule='linear', steps=discriminator.pretrain_steps
        ),
        optimizers.learning_rate_schedule(
            discriminator.online_learning_rate, schedule='constant', steps=config.train.steps
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
