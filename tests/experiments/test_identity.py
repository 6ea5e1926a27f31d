"""Identities: what changes the name of a run, and what does not."""

import pytest

from qcrd_jax import grid
from qcrd_jax.config import base_config
from qcrd_jax.experiments import identity, plan
from qcrd_jax.methods.table import METHODS
from tests.support import REPOSITORY
from tests.support.small_grid import load_config

SCORES = {
    'discriminator.pretrain_steps': 7,
    'discriminator.learning_rate': 1.0,
    'discriminator.update_every': 7,
    'discriminator.decay_every': 'step',
    'discriminator.frozen': True,
    'discriminator.scores': 'gold',
    'loss.alpha_disc': 0.7,
    'loss.alpha_disc_decay': 0.7,
    'loss.discriminator': 'bce',
    'data.augment': False,
    'data.tagger': 'stanza',
    'evaluation.temperatures': (0.7,),
}
RING = {'negatives.lag': 7, 'negatives.interval': 7, 'negatives.together': False}
SAMPLING = {
    'negatives.temperature': 0.7,
    'negatives.count': 7,
    'negatives.max_length': 7,
}
CONTRAST = {
    'discriminator.weigh': False,
    'data.positives': 'gold',
    'negatives.source': 'fixed',
    'loss.alpha_cl': 0.7,
    'loss.beta': 0.7,
    'loss.margin': 0.7,
    'loss.scheme': 'mean',
}
QCRD = CONTRAST | SCORES | RING | SAMPLING
MI = {'mi.weight': 0.7, 'mi.variant': 'masked'}
ALPHA = {'loss.alpha_pred': 0.7}
CONSTANTS = {
    'redi': {'preference.redi_weight': 0.7},
    'spin': {'preference.spin_beta': 0.7, 'preference.anchor': 0.7},
    'dpo': {
        'preference.dpo_beta': 0.7,
        'preference.dpo_smoothing': 0.2,
        'preference.anchor': 0.7,
    },
    'simpo': {
        'preference.simpo_beta': 0.7,
        'preference.simpo_gamma_ratio': 0.7,
        'preference.anchor': 0.7,
    },
    'orpo': {'preference.orpo_weight': 0.7},
    'kto': {'preference.kto_beta': 0.7, 'preference.anchor': 0.7},
    'unlikelihood': {'preference.unlikelihood_weight': 0.7},
}
PAIRS = {name: CONTRAST[name] for name in ('data.positives', 'negatives.source', 'loss.alpha_cl')}
PAIRS |= {'loss.scheme': 'max_min'} | RING | SAMPLING | ALPHA
ADVANTAGE = ALPHA | {
    'data.positives': 'gold',
    'preference.advantage_temperature': 0.7,
    'discriminator.weigh': False,
    'discriminator.scores': 'gold',
}
EVERYTHING = QCRD | MI | PAIRS | ADVANTAGE
for _constants in CONSTANTS.values():
    EVERYTHING |= _constants
BY_METHOD = {
    'finetune': {},
    'single_task': {},
    'dss': ALPHA,
    'mi': ALPHA | MI,
    'qcrd': ALPHA | QCRD,
    'mi_qcrd': ALPHA | QCRD | MI,
    **{name: PAIRS | constants for name, constants in CONSTANTS.items()},
    'advdistill': ADVANTAGE,
}


def one(**cell):
    return grid.Cell(row='row', column='column', **cell)


def of(**fields):
    """The identity of the paper's setting with other fields."""
    return name_of(base_config(), fields)


def name_of(config, fields):
    return identity.of_run(plan.resolve(config, one(overrides=fields)))


def seen(base, fields):
    """Which of the fields change the name, each by itself."""
    first = name_of(base_config(), base)
    return {
        name
        for name, value in fields.items()
        if name_of(base_config(), base | {name: value}) != first
    }


def test_a_setting_has_one_name_in_whatever_table_it_stands(tmp_path):
    def name(table, row):
        config = load_config(REPOSITORY / 'configs' / 'paper' / f'{table}.py')
        return plan.read(config, tmp_path).identities[row, 'SVAMP']

    assert name('table1', 'QCRD') == name('table5', 'MinMax')
    assert name('table1', 'QCRD') != name('table5', 'MaxMin')


def test_what_can_change_a_number_changes_the_name(tmp_path, monkeypatch):
    config = base_config()
    folder = tmp_path / 'student'
    folder.mkdir()
    (folder / 'model.safetensors').write_bytes(b'one')
    config.student.pretrained = str(folder)

    def name(needed=None, **overrides):
        identity._checkpoint_digest.cache_clear()
        flat = {field.replace('__', '.'): value for field, value in overrides.items()}
        return identity.of_run(plan.resolve(config, one(overrides=flat)), needed)

    first = name()
    assert name() == first
    assert name(seed=3, data__cache='elsewhere', teacher__model='x', judge__seed=5) == first
    others = {
        name(loss__margin=2.0),
        name(train__steps=9),
        name({'negatives.fixed': 'another run'}),
        name(evaluation__max_length=9),
    }
    (folder / 'model.safetensors').write_bytes(b'two')
    others.add(name())
    monkeypatch.setattr(identity, 'code_version', lambda: 'another')
    others.add(name())
    assert len(others | {first}) == 7


def test_where_a_checkpoint_is_kept_does_not_change_the_name(tmp_path):
    config, names = base_config(), set()
    for place in ('here', 'there'):
        (tmp_path / place).mkdir()
        (tmp_path / place / 'model.safetensors').write_bytes(b'weights')
        config.student.pretrained = str(tmp_path / place)
        names.add(identity.of_run(plan.resolve(config, one())))
    assert len(names) == 1


def test_changed_answers_of_the_teacher_change_the_name(tmp_path):
    path = tmp_path / 'answers.jsonl'
    config = base_config()
    config.data.teacher_samples = str(path)
    path.write_text('{"id": 1}\n')
    first = identity.of_run(plan.resolve(config, one()))
    path.write_text('{"id": 2}\n')
    assert identity.of_run(plan.resolve(config, one())) != first


def test_every_method_has_its_fields():
    assert BY_METHOD.keys() == set(METHODS)


@pytest.mark.parametrize('method', BY_METHOD)
def test_a_run_is_blind_to_what_its_method_does_not_read(method):
    assert seen({'method': method}, EVERYTHING) == BY_METHOD[method].keys()


def test_without_scores_nothing_of_the_discriminator_counts():
    fields = EVERYTHING | {'discriminator.weigh': True}
    expected = (ALPHA | QCRD).keys() - SCORES.keys()
    assert seen({'discriminator.weigh': False}, fields) == expected


@pytest.mark.parametrize(
    ('source', 'counting'),
    [
        ('none', {}),
        ('self_consistency', {}),
        ('ring', SAMPLING | RING),
        ('fixed', SAMPLING | {'negatives.fixed': 'a-student'}),
    ],
)
def test_negatives_count_by_their_source(source, counting):
    fields = SAMPLING | RING | {'negatives.fixed': 'a-student'}
    assert seen({'negatives.source': source}, fields) == counting.keys()


def test_a_random_student_counts_by_size_and_a_trained_tokenizer_by_its_settings():
    student = {
        'student.size': 'small',
        'student.version': 'v1.1',
        'student.vocab_size': 99,
        'student.split_digits': False,
    }
    assert seen({'student.pretrained': 't5-base'}, student) == set()
    assert seen({'student.pretrained': ''}, student) == student.keys()
    named = {'student.pretrained': '', 'student.tokenizer': 't5-base'}
    assert seen(named, student) == {'student.size', 'student.version'}
    # A random discriminator has the student's version, and a size of its own.
    scores = {'discriminator.size': 'small', 'student.version': 'v1.1'}
    assert seen({'discriminator.pretrained': ''}, scores) == scores.keys()
    assert seen({'discriminator.pretrained': 'student'}, scores) == set()
    assert seen({'discriminator.pretrained': '', 'method': 'dss'}, scores) == set()


def test_data_counts_by_where_it_comes_from(tmp_path):
    path = tmp_path / 'questions.jsonl'
    path.write_text('{}')
    fields = {
        'data.release': 'original',
        'data.answer_type': 'choice',
        'data.classes': ('yes', 'no'),
        'data.mwp.train': 7,
        'data.samples': 7,
        'data.labels': 'teacher',
    }
    always = {'data.samples', 'data.labels'}
    assert seen({'data.name': 'mwp'}, fields) == always | {'data.mwp.train'}
    assert seen({'data.name': 'svamp'}, fields) == always | {'data.release'}
    assert seen({'data.name': 'svamp', 'data.source': str(path)}, fields) == always
    custom = {'data.name': 'custom', 'data.source': str(path)}
    assert seen(custom, fields) == always | {'data.answer_type', 'data.classes'}


def test_what_is_ignored_is_no_more_than_what_is_said():
    config = base_config()
    config.method = 'mi_qcrd'
    assert identity.fields_ignored(config) == {
        'train.checkpoint_minutes',
        'data.answer_type',  # SVAMP has its own
        'data.classes',
        *(f'data.mwp.{name}' for name in config.data.mwp),
        'student.size',  # t5-base has its own, and its tokenizer
        'student.version',
        'student.vocab_size',
        'student.split_digits',
        'discriminator.size',
        *(f'preference.{name}' for name in config.preference),
        'negatives.fixed',  # of another source
    }


def test_figures_of_a_dataset_have_a_name_of_the_data(tmp_path):
    config = base_config()
    config.data.name = 'mwp'
    first = identity.of_count(config)
    config.method, config.train.steps, config.data.positives = 'dss', 9, 'gold'
    assert identity.of_count(config) == first
    names = {first}
    for field, value in {'data.samples': 3, 'data.fraction': 0.5, 'data.mwp.seed': 1}.items():
        config.update_from_flattened_dict({field: value})
        names.add(identity.of_count(config))
    assert len(names) == 4
