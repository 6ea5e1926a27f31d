"""A field that the identity of a run ignores is not read by the run, and changes nothing of it."""

import contextlib

import pytest
from ml_collections import config_dict

from qcrd_jax import files, validation
from qcrd_jax.experiments import identity, plan, running
from qcrd_jax.runs.timing import TIMES
from tests.support.small_grid import small_run
from tests.support.toy_student import use_toy_students

CASES = {
    'finetune': {'method': 'finetune'},
    'single_task': {'method': 'single_task'},
    'dss': {'method': 'dss'},
    'mi': {'method': 'mi'},
    'qcrd': {'method': 'qcrd'},
    'qcrd_without_negatives': {'method': 'qcrd', 'negatives.source': 'none'},
    'qcrd_without_scores': {'method': 'qcrd', 'discriminator.weigh': False},
    'mi_qcrd_fixed': {'method': 'mi_qcrd', 'negatives.source': 'fixed'},
    'mi_qcrd_of_the_teacher': {
        'method': 'mi_qcrd',
        'negatives.source': 'self_consistency',
        'discriminator.weigh': False,
    },
    'kto': {'method': 'kto'},
    'redi_fixed': {'method': 'redi', 'negatives.source': 'fixed'},
    'advdistill': {'method': 'advdistill'},
}

COMPARED = ('dss', 'qcrd', 'qcrd_without_scores')
"""Cases that are run once more, with another value of every field that is ignored."""

READ_WITHOUT_EFFECT = {
    'data.answer_type': 'the answer type of a dataset that has none of its own, here mwp',
    'data.cache': 'where data is kept',
    'discriminator.learning_rate': 'optimisers of the discriminator are built for every method',
    'discriminator.online_learning_rate': 'likewise',
    'discriminator.pretrain_steps': 'likewise',
    'negatives.source': 'asked before it is asked whether the method has negatives',
    'negatives.count': 'likewise',
    'negatives.lag': 'likewise',
    'negatives.interval': 'likewise',
    'negatives.together': 'a fixed generator has no ring: there is nothing to sample together',
    'negatives.ring_dtype': 'a fixed generator has no ring',
    'loss.alpha_disc': 'of the constants of QCRD, those of a discriminator that is not there',
    'loss.alpha_disc_decay': 'likewise',
    'loss.discriminator': 'likewise',
    'discriminator.decay_every': 'likewise',
    'discriminator.update_every': 'likewise',
    'student.size': 'part of what a random student is called',
    'student.version': 'likewise',
    'train.checkpoint_minutes': 'when a position is saved',
}
"""Why a field may be read although the identity ignores it. No run may read any other."""


@contextlib.contextmanager
def reads():
    """The fields that runs read of their configurations, from when these are built to the end."""
    read, names, resting = set(), {}, []
    build = running._config_of_run
    get, to_dict = config_dict.ConfigDict.__getitem__, config_dict.ConfigDict.to_dict

    def watch(group, prefix):
        names[id(group)] = (prefix, group)  # which keeps it alive, and its id its own
        for name, inner in group.items():
            if isinstance(inner, config_dict.ConfigDict):
                watch(inner, f'{prefix}{name}.')

    def watched(*args):
        resting.append('while it is built')
        config = build(*args)
        watch(config, '')
        resting.pop()
        return config

    def recorded(group, key):
        value = get(group, key)
        if id(group) in names and not resting and not isinstance(value, config_dict.ConfigDict):
            read.add(names[id(group)][0] + key)
        return value

    def whole(group, *args, **kwargs):
        whole_run = names.get(id(group), (None,))[0] == ''  # to compare or to write it
        resting.extend(['while it is written'] * whole_run)
        try:
            return to_dict(group, *args, **kwargs)
        finally:
            del resting[len(resting) - whole_run :]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, '_config_of_run', watched)
        patch.setattr(config_dict.ConfigDict, '__getitem__', recorded)
        patch.setattr(config_dict.ConfigDict, 'to_dict', whole)
        yield read


def configured(case):
    config = small_run()
    config.update_from_flattened_dict(CASES[case])
    return config


def run(config, workdir):
    """Runs the configuration as the one cell of a grid; returns what it left behind."""
    config.reproduce.update(name='one', seeds=(0,))
    config.reproduce.cells = ({'row': 'row', 'column': 'column'},)
    made = plan.read(config, workdir)
    (cell,) = made.cells
    for failures in running.run(made):
        assert not failures
    folder = plan.run_folder(made, cell, 0)
    summary = files.read_json(folder / 'summary.json')
    left = {name: value for name, value in summary.items() if name not in TIMES}
    for name in ('predictions.jsonl', 'case_study.jsonl', 'scores.json'):
        if (folder / name).is_file():
            left[name] = (folder / name).read_text()
    left['validation'] = [
        {name: value for name, value in record.items() if name not in TIMES}
        for _, record in files.read_jsonl(folder / 'metrics.jsonl')
    ]
    return left


def another(name, value):
    """Another value of a field that no validation refuses."""
    choices = validation.CHOICES.get(name)
    if choices:
        return next(choice for choice in choices if choice != value)
    if isinstance(value, bool):
        return not value
    if isinstance(value, tuple):
        return (*value, *value[-1:])
    if isinstance(value, float):
        return value / 2 or 0.5
    return value + ('else' if isinstance(value, str) else 1)


@pytest.fixture
def toys(monkeypatch):
    """Runs that take seconds; none of what is left out reads a configuration."""
    use_toy_students(monkeypatch)
    monkeypatch.setattr(running, 'write_report', lambda workdir: None)


@pytest.mark.parametrize('case', CASES)
def test_what_is_ignored_is_not_read(case, tmp_path, toys):
    config = configured(case)
    with reads() as read:
        left = run(config, tmp_path / 'first')
    ignored = identity.fields_ignored(config)
    assert {'method', 'optimizer.learning_rate', 'data.mwp.train'} <= read  # it does record
    assert read & ignored <= READ_WITHOUT_EFFECT.keys()
    if case in COMPARED:
        changed = configured(case)
        free = ignored - {'data.source', 'data.teacher_samples'}  # refused beside what is generated
        changed.update_from_flattened_dict({name: another(name, changed[name]) for name in free})
        assert identity.of_run(changed) == identity.of_run(config)
        assert run(changed, tmp_path / 'changed') == left


def test_what_counts_is_seen_by_that_comparison(tmp_path, toys):
    config, other = configured('dss'), configured('dss')
    other.loss.alpha_pred = 0.25
    assert run(config, tmp_path / 'first') != run(other, tmp_path / 'other')
