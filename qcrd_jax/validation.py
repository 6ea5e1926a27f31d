"""What a field of the configuration may be: its choices, its range, and what belongs together."""

import math
from typing import Any, get_args

from ml_collections import config_dict

from qcrd_jax import grid, losses
from qcrd_jax.data.leaks import LeaksRule
from qcrd_jax.data.pairs import PairsFormat
from qcrd_jax.data.schema import AnswerType, LabelsRule, PositivesRule
from qcrd_jax.data.sources.remotes import Release
from qcrd_jax.data.sources.table import DATASETS
from qcrd_jax.data.tagging import TaggerName
from qcrd_jax.errors import InputError
from qcrd_jax.methods.host_scores import ScoresSource
from qcrd_jax.methods.objectives import DecayEvery
from qcrd_jax.methods.optimizers import Schedule, check_warmup
from qcrd_jax.methods.table import METHODS, NegativesSource
from qcrd_jax.models.architectures import SIZES
from qcrd_jax.models.lora import LoraTargets

_SIZE_NAMES = tuple(dict.fromkeys(size for sizes in SIZES.values() for size in sizes))
# Owned by those who implement them, as far as these stand above the configuration.
CHOICES = {
    'method': METHODS,
    'data.name': DATASETS,
    'data.release': get_args(Release),
    'data.answer_type': get_args(AnswerType),
    'data.positives': get_args(PositivesRule),
    'data.labels': get_args(LabelsRule),
    'data.tagger': get_args(TaggerName),
    'data.leaks': get_args(LeaksRule),
    'student.size': _SIZE_NAMES,
    'student.version': tuple(SIZES),
    'student.compute_dtype': ('auto', 'float32', 'bfloat16'),
    'lora.targets': get_args(LoraTargets),
    'discriminator.size': _SIZE_NAMES,
    'discriminator.scores': get_args(ScoresSource),
    'discriminator.decay_every': get_args(DecayEvery),
    'negatives.source': get_args(NegativesSource),
    'loss.scheme': losses.SCHEMES,
    'loss.discriminator': losses.DISCRIMINATOR_LOSSES,
    'mi.variant': losses.MUTUAL_INFORMATION_VARIANTS,
    'optimizer.schedule': get_args(Schedule),
    'reproduce.kind': grid.KINDS,
    'reproduce.panel': grid.PANELS,
    'reproduce.keep': grid.KEEP,
    'train.on_nonfinite': ('stop', 'skip'),
    'train.remat': ('none', 'layers'),
    'negatives.ring_dtype': ('auto', 'float32', 'bfloat16'),
    'teacher.through': ('server', 'batch'),
    'pairs.format': get_args(PairsFormat),
}

# Lower and upper bound, both included; None: any finite number.
RANGES = {
    'seed': (0, 2**32 - 1),
    'data.samples': (1, None),
    'data.folds': (0, None),
    'data.fold': (0, None),
    'data.fraction': (1e-9, 1),
    'data.max_source_length': (2, None),
    'data.max_label_length': (2, None),
    'data.max_rationale_length': (2, None),
    'data.length_bucket': (1, None),
    'student.vocab_size': (1, None),
    'student.dropout': (0, 0.99),
    'lora.rank': (0, None),
    'lora.alpha': (1e-9, None),
    'discriminator.pretrain_steps': (0, None),
    'discriminator.batch_size': (1, None),
    'discriminator.learning_rate': (0, None),
    'discriminator.online_learning_rate': (0, None),
    'discriminator.update_every': (0, None),
    'discriminator.holdout': (0, 0.9),
    'negatives.lag': (1, None),
    'negatives.interval': (1, None),
    'negatives.temperature': (0, None),
    'negatives.count': (1, None),
    'negatives.max_length': (0, None),
    'loss.alpha_pred': (0, None),
    'loss.alpha_cl': (0, None),
    'loss.alpha_disc': (0, None),
    'loss.alpha_disc_decay': (0, 1),
    'loss.beta': (0, None),
    'loss.margin': (0, None),
    'mi.weight': (0, None),
    'preference.redi_weight': (0, None),
    'preference.spin_beta': (0, None),
    'preference.dpo_beta': (0, None),
    'preference.dpo_smoothing': (0, 0.5),
    'preference.simpo_beta': (0, None),
    'preference.simpo_gamma_ratio': (0, None),
    'preference.orpo_weight': (0, None),
    'preference.kto_beta': (0, None),
    'preference.unlikelihood_weight': (0, None),
    'preference.anchor': (0, None),
    'preference.advantage_temperature': (1e-3, None),
    'optimizer.learning_rate': (0, None),
    'optimizer.warmup_steps': (0, None),
    'optimizer.weight_decay': (0, None),
    'optimizer.clip_norm': (0, None),
    'optimizer.b1': (0, 0.99999),
    'optimizer.b2': (0, 0.99999),
    'optimizer.eps': (0, None),
    'mesh.data': (-1, None),
    'mesh.fsdp': (1, None),
    'train.steps': (1, None),
    'train.epochs': (0, None),
    'train.patience': (0, None),
    'train.batch_size': (1, None),
    'train.accumulate': (1, None),
    'train.shapes': (1, 64),
    'train.log_every': (1, None),
    'train.evaluate_every': (1, None),
    'train.checkpoint_every': (1, None),
    'train.checkpoint_minutes': (0, None),
    'train.nonfinite_limit': (1, None),
    'evaluation.batch_size': (1, None),
    'evaluation.together': (1, None),
    'evaluation.max_length': (1, None),
    'evaluation.examples': (0, None),
    'teacher.temperature': (0, 2),
    'teacher.max_tokens': (1, None),
    'teacher.limit': (0, None),
    'teacher.concurrency': (1, 1024),
    'teacher.choices': (1, 128),
    'teacher.timeout': (0.001, None),
    'teacher.attempts': (1, None),
    'teacher.input_price': (0, None),
    'teacher.output_price': (0, None),
    'teacher.budget': (0, None),
    'teacher.max_tokens_total': (0, None),
    'reproduce.detect': (0, 100),
    'reproduce.together': (0, None),
    'pairs.most': (0, None),
    'judge.questions': (1, None),
    'judge.seed': (0, 2**32 - 1),
    'judge.temperature': (0, 2),
    'judge.max_tokens': (1, None),
}


def validate(config: config_dict.ConfigDict) -> None:
    """Refuses what no run could mean.

    Raises:
      InputError: naming the field, what was expected, and what came.
    """
    for name, choices in CHOICES.items():
        value = _get(config, name)
        if value not in choices:
            raise InputError(f'--config.{name}: expected {" | ".join(choices)}, got {value!r}.')
    for name, (low, high) in RANGES.items():
        value = _get(config, name)
        if not (_is_number(value) and low <= value and (high is None or value <= high)):
            wanted = f'at least {low}' if high is None else f'{low} to {high}'
            raise InputError(f'--config.{name}: expected {wanted}, got {value!r}.')
    for name in ('student', 'discriminator'):
        settings, sizes = config[name], SIZES[config.student.version]
        if not settings.pretrained and settings.size not in sizes:
            raise InputError(
                f'--config.{name}.size: expected {" | ".join(sizes)} with '
                f'--config.student.version={config.student.version}, got {settings.size!r}.'
            )
    _check_folds(config.data)
    _check_sense(config)
    train = config.train
    if train.batch_size % train.accumulate:
        raise InputError(
            f'--config.train.accumulate: expected a divisor of train.batch_size '
            f'({train.batch_size}), got {train.accumulate}.'
        )
    if config.discriminator.frozen and config.optimizer.weight_decay:
        raise InputError(
            '--config.discriminator.frozen: weight decay would move the encoder all the same; '
            'expected --config.optimizer.weight_decay=0 with it.'
        )
    prefixes = config.data.prefixes
    if len(prefixes) != 2 or not all(isinstance(prefix, str) for prefix in prefixes):
        raise InputError(
            '--config.data.prefixes: expected two texts, of the label and of the rationale task, '
            f'got {prefixes!r}.'
        )
    for name, wanted in (
        ('temperatures', 'above 0'),
        ('rationales', 'above 0'),
        ('case_temperatures', 'of at least 0'),
    ):
        values, zero = config.evaluation[name], wanted != 'above 0'
        if not all(_is_number(value) and (value > 0 or (zero and value == 0)) for value in values):
            raise InputError(
                f'--config.evaluation.{name}: expected numbers {wanted}, got {values!r}.'
            )
    _expect_texts('data.classes', config.data.classes, at_least=2)
    _expect_texts('judge.runs', config.judge.runs, at_least=2, at_most=2)
    seeds = config.reproduce.seeds
    whole = all(isinstance(seed, int) and 0 <= seed < 2**32 for seed in seeds)
    if not seeds or not whole or len(set(seeds)) < len(seeds):
        raise InputError(
            f'--config.reproduce.seeds: expected different whole numbers, got {seeds!r}.'
        )
    for name in ('teacher', 'pairs'):
        splits = config[name].splits
        if not splits or set(splits) - {'train', 'validation', 'test'}:
            raise InputError(
                f'--config.{name}.splits: expected some of train, validation, test, got {splits!r}.'
            )


def _check_sense(config: config_dict.ConfigDict) -> None:
    """Refuses fields that are right by themselves and mean nothing together."""
    data = config.data
    if not config.train.epochs:  # which the data makes steps of
        check_warmup(config.optimizer.warmup_steps, config.train.steps)
    if config.lora.rank and not config.student.pretrained:
        raise InputError(
            '--config.lora.rank: adapters stand beside the weights of a pretrained student; name '
            'one by --config.student.pretrained; expected 0 without, which trains all weights.'
        )
    negatives = config.negatives
    if config.lora.rank and negatives.source == 'fixed' and negatives.fixed:
        raise InputError(
            '--config.negatives.fixed: a student with adapters samples adapters; expected '
            "'' (theta_0) with --config.lora.rank."
        )
    if DATASETS[data.name].generator:
        for name in ('source', 'teacher_samples'):
            if data[name]:
                raise InputError(
                    f'--config.data.{name}: {data.name} is generated and reads no file; leave it '
                    f"'', or name the dataset of {data[name]} by --config.data.name."
                )


def _check_folds(data: config_dict.ConfigDict) -> None:
    for name in ('folds', 'fold'):
        if not isinstance(data[name], int):
            raise InputError(f'--config.data.{name}: expected a whole number, got {data[name]!r}.')
    if data.folds == 1:
        raise InputError(
            '--config.data.folds: expected 0 (the released splits) or at least 2, got 1.'
        )
    if data.fold >= max(data.folds, 1):
        wanted = f'0 to {data.folds - 1}' if data.folds else '0 where data.folds is 0'
        raise InputError(f'--config.data.fold: expected {wanted}, got {data.fold}.')


def _expect_texts(name: str, value: Any, at_least: int, at_most: int | None = None) -> None:
    texts = isinstance(value, tuple | list) and all(isinstance(text, str) for text in value)
    if not texts or len(value) < at_least or (at_most is not None and len(value) > at_most):
        number = f'{at_least}' if at_least == at_most else f'at least {at_least}'
        raise InputError(f'--config.{name}: expected {number} texts, got {value!r}.')


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _get(config: config_dict.ConfigDict, name: str) -> Any:
    """The field of a dotted name."""
    for part in name.split('.'):
        config = config[part]
    return config
