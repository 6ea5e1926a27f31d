"""The table of methods: the only place where a method's name stands.

To add a method, write its two functions (`method.Method`) in a file of its family and enter it
here. Configuration, assembly, report, experiments and benchmarks read what they need to know of it.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp
import optax
from ml_collections import config_dict

from qcrd_jax.data.schema import PositivesRule
from qcrd_jax.errors import InputError
from qcrd_jax.losses import SELECTING_SCHEMES
from qcrd_jax.methods.dss import Dss, Finetune
from qcrd_jax.methods.host_scores import HostScores
from qcrd_jax.methods.method import Method
from qcrd_jax.methods.objectives import Contrast, MutualInformation
from qcrd_jax.methods.preference import (
    REFERRING,
    Advantage,
    Preference,
    PreferenceLoss,
    PreferenceName,
)
from qcrd_jax.methods.qcrd import Qcrd
from qcrd_jax.methods.rationales import NegativeSampling
from qcrd_jax.models.discriminator import Discriminator
from qcrd_jax.models.protocol import Student

NegativesSource = Literal['ring', 'fixed', 'self_consistency', 'none']


class Parts(NamedTuple):
    """What a run has for its method.

    Attributes:
      student: the model.
      optimizer: the student's.
      discriminator: None where the entry has no use for one (`Entry.weighs`).
      discriminator_optimizer: of its online updates.
      rationale_length: tokens of the longest rationale of the data, as far as it is not cut.
      scores: of rationales by their texts, in the place of a discriminator's; None: there are none.
    """

    student: Student
    optimizer: optax.GradientTransformation
    discriminator: Discriminator | None
    discriminator_optimizer: optax.GradientTransformation
    rationale_length: int
    scores: HostScores | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the rest of the project knows of a method.

    Attributes:
      title: how the report calls it.
      build: makes it, from a run's configuration and parts.
      reads: the fields of the configuration that decide its numbers, of those that some method does
        not read (`CONTESTED`); a group stands for all its fields.
      positives: how the teacher's samples become positives; None: as `data.positives` says.
      rationales: whether it learns from rationales at all.
      joint: whether rationale and label are one target.
      discriminator: whether it can weigh rationales by a discriminator's scores.
      scores: whether it can take scores from elsewhere (`discriminator.scores`).
      paper_hours: of training on SVAMP with T5-base and with T5-small (Table A7).
      paper_hours_unweighed: likewise, without the discriminator.
    """

    title: str
    build: Callable[[config_dict.ConfigDict, Parts], Method]
    reads: Callable[[config_dict.ConfigDict], tuple[str, ...]]
    positives: PositivesRule | None = 'first'
    rationales: bool = True
    joint: bool = False
    discriminator: bool = False
    scores: bool = False
    paper_hours: tuple[float, float] | None = None
    paper_hours_unweighed: tuple[float, float] | None = None

    def weighs(self, config: config_dict.ConfigDict) -> bool:
        """Whether a run has a discriminator."""
        settings = config.discriminator
        return self.discriminator and settings.weigh and settings.scores == 'discriminator'

    def scores_texts(self, config: config_dict.ConfigDict) -> bool:
        """Whether a run has scores by the texts of rationales."""
        settings = config.discriminator
        return self.scores and settings.weigh and settings.scores != 'discriminator'


CONTESTED = (
    'data.augment',
    'data.positives',
    'data.tagger',
    'discriminator',
    'evaluation.temperatures',
    'loss',
    'mi',
    'negatives',
    'preference',
)
"""Groups and fields that a method may leave unread."""


def _finetune(config: config_dict.ConfigDict, parts: Parts) -> Method:
    return Finetune(parts.student, parts.optimizer, parts=config.train.accumulate)


def _dss(config: config_dict.ConfigDict, parts: Parts) -> Dss:
    accumulate = config.train.accumulate
    return Dss(parts.student, parts.optimizer, config.loss.alpha_pred, parts=accumulate)


def _mi(config: config_dict.ConfigDict, parts: Parts) -> Method:
    return dataclasses.replace(_dss(config, parts), shared=_shared(config))


def _qcrd(config: config_dict.ConfigDict, parts: Parts) -> Qcrd:
    return Qcrd(
        student=parts.student,
        optimizer=parts.optimizer,
        contrast=_contrast(config),
        negatives=_negatives(config, parts.student, parts.rationale_length),
        discriminator=parts.discriminator,
        discriminator_optimizer=parts.discriminator_optimizer,
        scores=parts.scores,
        parts=config.train.accumulate,
    )


def _mi_qcrd(config: config_dict.ConfigDict, parts: Parts) -> Method:
    return dataclasses.replace(_qcrd(config, parts), shared=_shared(config))


def _preference(name: PreferenceName, config: config_dict.ConfigDict, parts: Parts) -> Preference:
    negatives = _negatives(config, parts.student, parts.rationale_length)
    if negatives is None:
        raise InputError(
            f'--config.method: {name} learns from pairs with a sampled rationale; set '
            '--config.negatives.source=ring or fixed, and --config.negatives.count to 1 or more.'
        )
    if config.loss.scheme not in SELECTING_SCHEMES:
        raise InputError(
            f'--config.loss.scheme: {name} learns from one pair a question; expected one of '
            f'{", ".join(SELECTING_SCHEMES)}, got {config.loss.scheme}.'
        )
    return Preference(
        student=parts.student,
        optimizer=parts.optimizer,
        loss=_LOSSES[name](config.preference),
        negatives=dataclasses.replace(negatives, reference=name in REFERRING),
        contrast=Contrast(
            alpha_pred=config.loss.alpha_pred,
            alpha_cl=config.loss.alpha_cl,
            scheme=config.loss.scheme,
        ),
        parts=config.train.accumulate,
    )


def _advantage(config: config_dict.ConfigDict, parts: Parts) -> Method:
    return Advantage(
        student=parts.student,
        optimizer=parts.optimizer,
        alpha=config.loss.alpha_pred,
        temperature=config.preference.advantage_temperature,
        scores=parts.scores,
        parts=config.train.accumulate,
    )


def _shared(config: config_dict.ConfigDict) -> MutualInformation:
    return MutualInformation(config.mi.weight, config.mi.variant)


def _contrast(config: config_dict.ConfigDict) -> Contrast:
    loss = config.loss
    return Contrast(
        alpha_pred=loss.alpha_pred,
        alpha_cl=loss.alpha_cl,
        alpha_disc=loss.alpha_disc,
        alpha_disc_decay=loss.alpha_disc_decay,
        decay_every=config.discriminator.decay_every,
        beta=loss.beta,
        margin=loss.margin,
        scheme=loss.scheme,
        discriminator_loss=loss.discriminator,
        update_every=config.discriminator.update_every,
        teacher_negatives=config.negatives.source == 'self_consistency',
    )


def _negatives(
    config: config_dict.ConfigDict, student: Student, rationale_length: int
) -> NegativeSampling | None:
    """How the generator is sampled; None where nothing is sampled."""
    settings = config.negatives
    if not _samples(config):
        return None
    return NegativeSampling(
        count=settings.count,
        temperature=settings.temperature,
        max_length=min(settings.max_length or rationale_length, rationale_length),
        lag=settings.lag * settings.interval if settings.source == 'ring' else 0,
        together=settings.together,
        ring_dtype=_ring_dtype(settings.ring_dtype, student),
    )


def _ring_dtype(name: str, student: Student) -> Any:
    """That of the ring's matrices: 'auto' is what the student computes in."""
    return student.encoder.compute_dtype if name == 'auto' else jnp.dtype(name)


def _samples(config: config_dict.ConfigDict) -> bool:
    settings = config.negatives
    return settings.source in ('ring', 'fixed') and settings.count > 0


_LOSSES: dict[PreferenceName, Callable[[config_dict.ConfigDict], PreferenceLoss]] = {
    'redi': lambda preference: PreferenceLoss('redi', weight=preference.redi_weight),
    'spin': lambda preference: PreferenceLoss(
        'spin', beta=preference.spin_beta, anchor=preference.anchor
    ),
    'dpo': lambda preference: PreferenceLoss(
        'dpo',
        beta=preference.dpo_beta,
        smoothing=preference.dpo_smoothing,
        anchor=preference.anchor,
    ),
    'simpo': lambda preference: PreferenceLoss(
        'simpo',
        beta=preference.simpo_beta,
        gamma_ratio=preference.simpo_gamma_ratio,
        anchor=preference.anchor,
    ),
    'orpo': lambda preference: PreferenceLoss('orpo', weight=preference.orpo_weight),
    'kto': lambda preference: PreferenceLoss(
        'kto', beta=preference.kto_beta, anchor=preference.anchor
    ),
    'unlikelihood': lambda preference: PreferenceLoss(
        'unlikelihood', weight=preference.unlikelihood_weight
    ),
}
"""The losses of pairs, and which fields of the group `preference` are their constants."""

_READ: dict[PreferenceName, tuple[str, ...]] = {
    'redi': ('redi_weight',),
    'spin': ('spin_beta', 'anchor'),
    'dpo': ('dpo_beta', 'dpo_smoothing', 'anchor'),
    'simpo': ('simpo_beta', 'simpo_gamma_ratio', 'anchor'),
    'orpo': ('orpo_weight',),
    'kto': ('kto_beta', 'anchor'),
    'unlikelihood': ('unlikelihood_weight',),
}


def _reads_nothing(config: config_dict.ConfigDict) -> tuple[str, ...]:
    return ()


def _reads_dss(config: config_dict.ConfigDict) -> tuple[str, ...]:
    return ('loss.alpha_pred',)


def _reads_mi(config: config_dict.ConfigDict) -> tuple[str, ...]:
    return (*_reads_dss(config), 'mi')


def _reads_preference(name: PreferenceName, config: config_dict.ConfigDict) -> tuple[str, ...]:
    read = ['data.positives', 'negatives.source', *_reads_sampling(config)]
    read += [f'loss.{field}' for field in ('alpha_pred', 'alpha_cl', 'scheme')]
    return (*read, *(f'preference.{field}' for field in _READ[name]))


def _reads_advantage(config: config_dict.ConfigDict) -> tuple[str, ...]:
    scores = ('discriminator.weigh', 'discriminator.scores')
    return ('data.positives', 'loss.alpha_pred', 'preference.advantage_temperature', *scores)


def _reads_sampling(config: config_dict.ConfigDict) -> list[str]:
    if config.negatives.source not in ('ring', 'fixed'):
        return []
    ring = ('lag', 'interval', 'together', 'ring_dtype')
    own = ring if config.negatives.source == 'ring' else ('fixed',)
    return [f'negatives.{name}' for name in ('count', 'temperature', 'max_length', *own)]


def _reads_qcrd(config: config_dict.ConfigDict) -> tuple[str, ...]:
    read = ['data.positives', 'negatives.source', 'discriminator.weigh', *_reads_sampling(config)]
    read += [f'loss.{name}' for name in ('alpha_pred', 'alpha_cl', 'beta', 'margin', 'scheme')]
    if config.discriminator.weigh:
        read.append('discriminator.scores')
    if METHODS['qcrd'].weighs(config):
        read += ['loss.alpha_disc', 'loss.alpha_disc_decay', 'loss.discriminator']
        read += ['data.augment', 'data.tagger', 'evaluation.temperatures']
        unread = {'size'} if config.discriminator.pretrained else set()
        read += [f'discriminator.{name}' for name in set(config.discriminator) - unread]
    return tuple(read)


def _reads_mi_qcrd(config: config_dict.ConfigDict) -> tuple[str, ...]:
    return (*_reads_qcrd(config), 'mi')


def _rival(title: str, name: PreferenceName) -> Entry:
    return Entry(
        title,
        functools.partial(_preference, name),
        functools.partial(_reads_preference, name),
        positives=None,
    )


METHODS: dict[str, Entry] = {
    'finetune': Entry(
        'Fine-tuning', _finetune, _reads_nothing, rationales=False, paper_hours=(2.0, 1.25)
    ),
    'single_task': Entry('Single-task distillation', _finetune, _reads_nothing, joint=True),
    'dss': Entry('Distilling step-by-step', _dss, _reads_dss, paper_hours=(4.0, 2.5)),
    'mi': Entry('Mutual-information distillation', _mi, _reads_mi, paper_hours=(4.2, 2.6)),
    'qcrd': Entry(
        'QCRD',
        _qcrd,
        _reads_qcrd,
        positives=None,
        discriminator=True,
        scores=True,
        paper_hours=(13.0, 8.5),
        paper_hours_unweighed=(12.0, 7.5),
    ),
    'mi_qcrd': Entry(
        'MI + QCRD', _mi_qcrd, _reads_mi_qcrd, positives=None, discriminator=True, scores=True
    ),
    'redi': _rival('REDI', 'redi'),
    'spin': _rival('SPIN', 'spin'),
    'dpo': _rival('DPO', 'dpo'),
    'simpo': _rival('SimPO', 'simpo'),
    'orpo': _rival('ORPO', 'orpo'),
    'kto': _rival('KTO', 'kto'),
    'unlikelihood': _rival('Unlikelihood', 'unlikelihood'),
    'advdistill': Entry('AdvDistill', _advantage, _reads_advantage, positives=None, scores=True),
}
"""Every method by its name in a configuration, the paper's (sections 4.1 and A.4) and rivals."""
