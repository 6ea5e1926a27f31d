"""The configuration: what is refused, and that nothing in it goes unread."""

import importlib.util
import re

import pytest

from qcrd_jax import files, validation
from qcrd_jax.config import base_config
from qcrd_jax.data.sources import mwp
from qcrd_jax.errors import InputError
from qcrd_jax.validation import validate
from tests.support import REPOSITORY

FLAT = files.flatten(base_config().to_dict())


def changed(name: str, value):
    config = base_config()
    with config.ignore_type():
        config.update_from_flattened_dict({name: value})
    return config


def test_the_defaults_are_valid_and_those_of_the_paper():
    config = base_config()
    validate(config)
    # Section 4.1 and appendix A.2 of the paper.
    assert config.data.samples == 5
    assert (config.loss.alpha_pred, config.loss.alpha_cl, config.loss.alpha_disc) == (0.5, 0.5, 0.5)
    assert (config.loss.beta, config.loss.margin, config.loss.alpha_disc_decay) == (0.2, 3.0, 0.9)
    assert (config.negatives.lag, config.negatives.count) == (5, 1)
    assert config.negatives.temperature == 1.5
    assert (config.optimizer.learning_rate, config.train.batch_size) == (5e-5, 8)
    assert config.train.steps == 10000


@pytest.mark.parametrize(
    'path', sorted((REPOSITORY / 'configs').rglob('*.py')), ids=lambda p: p.stem
)
def test_every_configuration_file_loads_and_validates(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    config = module.get_config()
    validate(config)
    assert files.flatten(config.to_dict()).keys() == FLAT.keys()
    for word in ('Command:', 'Hardware:', 'Score:'):
        assert word in module.__doc__


def test_a_mistyped_field_in_a_configuration_file_is_refused():
    with pytest.raises(AttributeError, match='step'):
        base_config().train.step = 5


@pytest.mark.parametrize('name', validation.CHOICES)
def test_every_choice_is_checked_and_named(name):
    for value in validation.CHOICES[name]:
        validate(changed(name, value))
    with pytest.raises(InputError, match=f"--config.{name}: expected .*, got 'other'"):
        validate(changed(name, 'other'))


@pytest.mark.parametrize('name', validation.RANGES)
def test_every_range_is_checked_and_named(name):
    low, high = validation.RANGES[name]
    validate(changed(name, low))
    outside = [low - 1, float('nan'), float('inf'), -float('inf')]
    if high is not None:
        validate(changed(name, high))
        outside.append(high + 1)
    for value in outside:
        with pytest.raises(InputError, match=f'--config.{name}: expected '):
            validate(changed(name, value))


@pytest.mark.parametrize(
    ('name', 'value'),
    [
        ('data.prefixes', ('predict: ',)),
        ('data.prefixes', ('predict: ', 3)),
        ('evaluation.temperatures', (1.5, 0)),
        ('evaluation.temperatures', (float('nan'),)),
        ('evaluation.temperatures', ('hot',)),
        ('evaluation.rationales', (0.0,)),
        ('evaluation.case_temperatures', (0.0, -0.5)),
        ('data.classes', ('one',)),
        ('judge.runs', ('a', 'b', 'c')),
        ('teacher.splits', ('train', 'dev')),
        ('teacher.splits', ()),
        ('pairs.splits', ('dev',)),
    ],
)
def test_bad_tuples_are_refused(name, value):
    with pytest.raises(InputError, match=f'--config.{name}: expected '):
        validate(changed(name, value))


def test_what_makes_no_sense_together_is_refused():
    config = changed('optimizer.warmup_steps', 30)
    config.train.steps = 30
    validate(config)
    config.train.steps = 29
    with pytest.raises(
        InputError, match=r'warmup_steps: expected at most train.steps \(29\), got 30'
    ):
        validate(config)
    for name in ('source', 'teacher_samples'):
        config = changed('data.name', 'mwp')
        config.data[name] = 'mine.jsonl'
        with pytest.raises(InputError, match=rf'--config.data.{name}: mwp is generated and reads'):
            validate(config)


def test_a_batch_is_cut_into_equal_parts():
    validate(changed('train.accumulate', 4))
    with pytest.raises(InputError, match=r'train.accumulate: expected a divisor .*\(8\), got 3'):
        validate(changed('train.accumulate', 3))


def test_every_number_and_every_name_of_a_kind_is_checked():
    # `data.mwp` is checked by the generator; texts are names and folders, checked when read.
    free = {
        name
        for name, value in FLAT.items()
        if not name.startswith('data.mwp.')
        and name not in validation.RANGES
        and name not in validation.CHOICES
        and not isinstance(value, bool | tuple)
    }
    assert free == {
        'data.source',
        'data.teacher_samples',
        'data.cache',
        'student.pretrained',
        'student.tokenizer',
        'discriminator.pretrained',
        'negatives.fixed',
        'train.wandb',
        'teacher.base_url',
        'teacher.model',
        'teacher.key_variable',
        'teacher.prompt',
        'teacher.extra',
        'judge.rationales',
        'judge.prompt',
        'reproduce.name',
        'reproduce.title',
        'reproduce.caption',
        'reproduce.unit',
        'reproduce.baseline',
        'reproduce.models',
    }


def test_every_field_has_a_reader():
    sources = {
        path: path.read_text()
        for path in (REPOSITORY / 'qcrd_jax').rglob('*.py')
        if path.name not in ('config.py', 'validation.py')
    }
    code = '\n'.join(sources.values())
    generated = {f'data.mwp.{field}' for field in mwp.Settings.__dataclass_fields__}
    aliases = r'(?:config|settings|data|loss|data_config)'  # what the code calls a group
    unread = []
    for name in FLAT.keys() - generated:
        group, _, field = name.rpartition('.')
        holders = [rf'\b{aliases}\.{field}\b']
        if group:
            holders.append(rf'\b{group.rpartition(".")[2]}\.{field}\b')
        if not any(re.search(holder, code) for holder in holders):
            unread.append(name)
    assert unread == []
