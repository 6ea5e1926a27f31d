"""A discriminator is pretrained once for all runs that would pretrain the same."""

import contextlib
import dataclasses
import functools
import os
import shutil
import signal

import jax
import numpy as np
import pytest
from ml_collections import config_dict

from qcrd_jax import files, interruption
from qcrd_jax.models.protocol import parameter_bytes
from qcrd_jax.runs import (
    discriminator_data,
    initial,
    loop,
    pretrained,
    pretraining,
    pretraining_steps,
)
from qcrd_jax.runs import position as positions
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.assembly import assemble
from qcrd_jax.runs.log import MetricsLog
from tests.support.runs import small_config

pytestmark = pytest.mark.usefixtures('toy_students')

STEPS = 12
SAID = 'the discriminator was pretrained before ('

# Fields that decide nothing of a pretraining, though most of them change a student.
OTHERS = {
    'loss.scheme': 'weighted_mean',
    'loss.beta': 0.7,
    'loss.margin': 1.0,
    'loss.alpha_pred': 0.1,
    'loss.alpha_cl': 0.9,
    'loss.alpha_disc': 0.2,
    'loss.alpha_disc_decay': 0.5,
    'negatives.source': 'fixed',
    'negatives.lag': 2,
    'negatives.interval': 1,
    'negatives.temperature': 0.5,
    'negatives.count': 2,
    'negatives.max_length': 4,
    'negatives.together': False,
    'optimizer.learning_rate': 3e-4,
    'optimizer.schedule': 'constant',
    'optimizer.warmup_steps': 1,
    'discriminator.online_learning_rate': 1e-6,
    'discriminator.update_every': 0,
    'discriminator.decay_every': 'step',
    'train.steps': 4,
    'train.batch_size': 8,
    'train.log_every': 1,
    'train.evaluate_every': 4,
    'train.checkpoint_every': 4,
    'evaluation.max_length': 5,
    'mi.weight': 0.3,
}


def configured(cache, **fields):
    config = small_config()
    config.discriminator.update(pretrain_steps=STEPS, holdout=0.25)
    config.train.update(steps=2, log_every=2, evaluate_every=2, checkpoint_every=2)
    config.train.checkpoint_minutes = 1000.0
    config.data.cache = str(cache)
    config.update_from_flattened_dict(fields)
    return config


@pytest.fixture(scope='module')
def first(tmp_path_factory, toy_students):
    """A run that pretrained its discriminator and left it in its cache, and where it ended."""
    folder = tmp_path_factory.mktemp('first')
    run = assemble(configured(folder / 'data'), folder / 'run')
    with counted() as steps:
        (position,) = loop.train([run])
    assert steps == [1] * STEPS
    return run, position


@pytest.fixture
def second(first, tmp_path):
    """The same run in another workdir, with a copy of the cache."""
    shutil.copytree(first[0].config.data.cache, tmp_path / 'data')
    return again(first, tmp_path / 'run', configured(tmp_path / 'data'))


def again(first, workdir, config):
    return assemble(config, workdir, twin=first[0])


@contextlib.contextmanager
def counted():
    """Collects of how many runs each step of a pretraining was."""
    steps, batch = [], pretraining_steps.batch

    def watched(streams, *args):
        steps.append(len(streams))
        return batch(streams, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining_steps, 'batch', watched)
        yield steps


def pretrain(run):
    """Only pretrains."""
    with MetricsLog(run.workdir) as log:
        make = functools.partial(
            initial.discriminator_parameters, run, initial.student_parameters(run)
        )
        (done,) = pretraining.pretrain([pretraining.begin(run, log)], [make])
    return done


def kept(run):
    """The folders of discriminators in the cache of a run."""
    parent = run.workdir.parent / 'data' / 'discriminators'
    return [path for path in parent.glob('*') if path.is_dir()]


def lines(run):
    """The lines of the pretraining as they stand in the log, with the times that it took."""
    written = (run.workdir / 'metrics.jsonl').read_bytes().splitlines()
    return [line for line in written if line.startswith(b'{"phase": "discriminator"')]


def assert_same(ours, theirs):
    for left, right in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


def test_what_is_found_is_what_was_pretrained_bit_for_bit(first, second, capsys):
    with counted() as steps:
        (position,) = loop.train([second])
    assert steps == []
    (folder,) = kept(second)
    assert f'{SAID}{folder})' in capsys.readouterr().out
    _, expected = first
    assert_same(position.progress, expected.progress)
    assert position.separation == expected.separation
    assert len(lines(second)) == 2
    assert lines(second) == lines(first[0])
    assert not workdirs.pretraining(second.workdir).exists()


def test_no_axis_of_a_table_decides_a_pretraining(first, tmp_path):
    own = configured(tmp_path / 'data', **OTHERS, **{'train.share_pretraining': False})
    alone, shared = assemble(own, tmp_path / 'alone'), configured(tmp_path / 'data', **OTHERS)
    shutil.copytree(first[0].config.data.cache, tmp_path / 'data', dirs_exist_ok=True)
    with counted() as steps:
        expected = pretrain(alone)
        assert len(steps) == STEPS
        found = pretrain(assemble(shared, tmp_path / 'shared', twin=alone))
        assert len(steps) == STEPS
    assert_same(found.state, expected.state)
    assert found.separation == expected.separation


def test_a_pretraining_reads_no_field_that_its_key_leaves_out(first, tmp_path, monkeypatch):
    config, read = configured(tmp_path / 'data'), set()
    run, names = again(first, tmp_path / 'run', config), {}
    for name, group in config.items():
        if isinstance(group, config_dict.ConfigDict):
            names[id(group)] = name
    get, flatten = config_dict.ConfigDict.__getitem__, config_dict.ConfigDict.to_dict
    resting = []

    def recorded(group, field):
        if id(group) in names and not resting:
            read.add(f'{names[id(group)]}.{field}')
        return get(group, field)

    def whole(group, *args, **kwargs):  # for its digest
        resting.append(True)
        try:
            return flatten(group, *args, **kwargs)
        finally:
            resting.pop()

    monkeypatch.setattr(config_dict.ConfigDict, '__getitem__', recorded)
    monkeypatch.setattr(config_dict.ConfigDict, 'to_dict', whole)
    pretrain(run)
    assert 'discriminator.pretrain_steps' in read  # it does record
    without_effect = {'data.cache', 'train.share_pretraining', 'train.checkpoint_minutes'}
    initial_parameters = {'student.pretrained', 'discriminator.pretrained'}  # these are compared
    own_checkpoints = {'train.batch_size'}  # their fingerprint of the data has it
    assert read <= {*pretrained.FIELDS} | without_effect | initial_parameters | own_checkpoints


def test_what_decides_a_pretraining_is_in_its_key(first, monkeypatch):
    run, _ = first
    params = run.discriminator.init(jax.random.key(0))

    def key(config=run.config, data='d', discriminator=run.discriminator, params=params):
        return pretrained.key(config, data, discriminator, params)

    found = {key()}
    assert found == {key()}
    for name, value in files.flatten(run.config.to_dict()).items():
        if name in pretrained.FIELDS:
            config = config_dict.ConfigDict(run.config.to_dict())
            other = not value if isinstance(value, bool) else f'{value}9'
            with config.ignore_type():
                config.update_from_flattened_dict({name: other})
            found.add(key(config))
    assert len(found) == 1 + len(pretrained.FIELDS)
    bit = jax.tree.map(np.array, params)
    bit['head']['out']['bias'].view(np.uint32)[0] ^= 1
    wide = run.discriminator.encoder.config
    encoder = type(run.discriminator.encoder)(wide, width=8)
    found |= {key(data='e'), key(params=bit), key(discriminator=type(run.discriminator)(encoder))}
    monkeypatch.setattr(pretrained.syntax, 'code_version', lambda _: 'another')
    found.add(key())
    assert len(found) == 5 + len(pretrained.FIELDS)


def test_what_it_learns_from_is_compared_by_texts_and_by_tokens(first):
    run, corpus = first[0], first[0].corpus
    examples, place = [*corpus.examples['train']], 5
    sample = examples[place].samples[0]
    other = dataclasses.replace(sample, rationale=f'{sample.rationale} ')

    def digest(examples=examples, encoded=corpus.encoded['train'], lengths=corpus.lengths):
        changed = dataclasses.replace(
            corpus,
            examples={**corpus.examples, 'train': examples},
            encoded={**corpus.encoded, 'train': encoded},
            lengths=lengths,
        )
        return discriminator_data.digest(run.config, changed)

    assert digest() == discriminator_data.digest(run.config, corpus)
    examples_changed = [*examples]
    examples_changed[place] = dataclasses.replace(examples[place], samples=(other,))
    tokens = corpus.encoded['train'].take([1, 0, *range(2, len(examples))])
    longer = dataclasses.replace(corpus.lengths, source=corpus.lengths.source + 8)
    assert len({digest(), digest(examples_changed), digest(encoded=tokens)}) == 3
    assert digest(lengths=longer) != digest()


def test_what_is_damaged_is_said_and_pretrained_again(first, second, log):
    (folder,) = kept(second)
    path = folder / 'discriminator.safetensors'
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with counted() as steps:
        found = pretrain(second)
    assert len(steps) == STEPS
    said = "is not whole ('discriminator.safetensors' was changed): the discriminator is pretrained"
    assert said in log.text
    assert found.separation == first[1].separation
    assert path.read_bytes() == whole
    assert kept(second) == [folder]


def test_who_is_killed_after_it_was_found_finds_it_again(first, second, monkeypatch):
    def killed(*_):
        raise RuntimeError('killed')

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match='killed'):
        patch.setattr(positions, 'first', killed)
        loop.train([second])
    assert lines(second) == lines(first[0])
    with counted() as steps:
        (position,) = loop.train([second])
    assert steps == []
    assert_same(position.progress, first[1].progress)
    assert lines(second) == lines(first[0])


def test_one_that_was_interrupted_is_kept_when_it_is_done(first, tmp_path):
    def sent(*_):
        os.kill(os.getpid(), signal.SIGTERM)
        return taken(*_)

    taken = pretraining_steps.joined_length
    run = again(first, tmp_path / 'run', configured(tmp_path / 'data'))
    with interruption.handled(), interruption.polling(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining_steps, 'joined_length', sent)
        with pytest.raises(interruption.Interrupted, match='step 1 of the pretraining is saved'):
            pretrain(run)
    assert kept(run) == []
    with counted() as steps:
        pretrain(run)
        assert len(steps) == STEPS - 1
        other = again(first, tmp_path / 'other', run.config)
        found = pretrain(other)
        assert len(steps) == STEPS - 1
    assert found.separation == first[1].separation


@pytest.mark.parametrize('fields', [{'data.cache': ''}, {'train.share_pretraining': False}])
def test_where_runs_share_no_cache_nothing_is_kept(first, tmp_path, fields):
    config = configured(tmp_path / 'data', **fields)
    run = again(first, tmp_path / 'run', config)
    for _ in range(2):
        with counted() as steps:
            pretrain(run)
        assert len(steps) == STEPS
        shutil.rmtree(run.workdir)
    assert not list(tmp_path.rglob('discriminators'))


def test_without_room_it_is_not_kept_and_the_run_does_not_end(first, tmp_path, log, monkeypatch):
    run = again(first, tmp_path / 'run', configured(tmp_path / 'data'))
    usage, size = (
        shutil.disk_usage(tmp_path),
        parameter_bytes(first[1].progress.state.discriminator),
    )
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage._replace(free=size + 99))
    with MetricsLog(run.workdir) as metrics:
        make = [lambda: initial.discriminator_parameters(run, initial.student_parameters(run))]
        pretraining.pretrain([pretraining.begin(run, metrics)], make, reserved=100)
    assert 'the pretrained discriminator is not kept for other runs: it takes' in log.text
    assert kept(run) == []


def test_a_cache_that_cannot_be_written_ends_no_run(first, tmp_path, log):
    (tmp_path / 'data').mkdir()
    (tmp_path / 'data' / 'discriminators').write_text('in the way')
    run = again(first, tmp_path / 'run', configured(tmp_path / 'data'))
    assert pretrain(run).separation == first[1].separation
    assert 'the pretrained discriminator is not kept for other runs. [Errno' in log.text
