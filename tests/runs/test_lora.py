"""Runs that train adapters beside frozen weights: what is kept, resumed, merged and refused."""

import contextlib
import shutil

import jax
import numpy as np
import pytest

from qcrd_jax.config import base_config
from qcrd_jax.errors import InputError
from qcrd_jax.models import LoraStudent, T5Student, merge_adapters, parameter_count
from qcrd_jax.models.huggingface import load_student, save_student
from qcrd_jax.runs import assembly, chosen, exported, initial, loop, results
from qcrd_jax.runs import position as positions
from qcrd_jax.validation import validate
from tests.support import gguf_writing, small
from tests.support.toys import assert_trees_close

SEEDS = (0, 1)
CLOSE = {'rtol': 1e-4, 'atol': 5e-5}  # as test_loop has it


def write_weights(path, kind: str = 'F32'):
    config = gguf_writing.config_of('llama', vocab_size=420, num_layers=1)
    return gguf_writing.write_model(path, config, (kind,), **gguf_writing.byte_level())


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    return write_weights(tmp_path_factory.mktemp('model') / 'model.gguf')


def config_of(weights, seed: int = 0, **fields):
    config = base_config()
    config.seed = seed
    config.data.update(name='mwp', samples=2)
    config.data.mwp.update(train=24, validation=4, test=5, two_step=0.0, distractors=0.0)
    config.data.mwp.update(max_number=20, stories=1)
    config.student.update(pretrained=str(weights), dropout=0.1)
    config.lora.update(rank=2, alpha=8.0)
    config.discriminator.update(pretrain_steps=2, batch_size=4, update_every=2, weigh=False)
    config.negatives.update(lag=2, max_length=8)
    config.optimizer.learning_rate = 1e-2
    config.train.update(steps=4, batch_size=4, log_every=2, evaluate_every=2, shapes=1)
    config.train.update(checkpoint_every=2, checkpoint_minutes=0.0, keep_state=True)
    config.evaluation.update(batch_size=4, max_length=6, examples=1, temperatures=())
    config.evaluation.update(rationales=(), case_temperatures=(0.0,))
    for name, value in fields.items():
        group, field = name.split('__')
        config[group][field] = value
    return config


def assembled(weights, folder, seeds=SEEDS, **fields):
    built = []
    for seed in seeds:
        config = config_of(weights, seed, **fields)
        config.data.cache = str(folder / 'data')
        twin = built[0] if built else None
        built.append(assembly.assemble(config.lock(), folder / f'seed{seed}', twin=twin))
    return built


def adapters_of(position):
    return jax.device_get(position.progress.state.params)


@pytest.fixture(scope='module')
def unbroken(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp('unbroken')
    runs = assembled(weights, folder)
    return runs, loop.train(runs)


def test_adapters_are_all_that_is_trained_kept_and_sampled(weights, unbroken):
    runs, trained = unbroken
    run, position = runs[0], trained[0]
    _, base = load_student(weights)
    adapters = parameter_count(run.method.student.init(jax.random.key(0)))
    assert adapters < parameter_count(base) / 5
    state, ring = position.progress
    assert parameter_count(state.params) == adapters == parameter_count(position.best.params)
    assert parameter_count(ring.slots) == run.config.negatives.lag * adapters
    moments = [leaf.size for leaf in jax.tree.leaves(state.opt_state) if leaf.ndim]
    assert sum(moments) == 2 * adapters
    saved = positions.shape(run)
    assert parameter_count(saved) < (1 + 2 + 1 + run.config.negatives.lag) * adapters + 10
    assert positions.saved_bytes(run)[1] == 4 * parameter_count(base)  # the whole is exported
    # Learned, from values that change nothing; and each seed another thing.
    b = [each['b'] for each in state.params['layers']['feed_forward'].values()]
    assert all(np.abs(leaf).max() > 1e-3 for leaf in b)
    others = jax.tree.leaves(adapters_of(trained[1]))
    for one, other in zip(jax.tree.leaves(adapters_of(position)), others, strict=True):
        assert np.abs(one - other).max() > 1e-3


def test_a_seed_alone_and_killed_is_the_run_that_it_is_with_another(
    weights, unbroken, tmp_path, monkeypatch
):
    save = positions.save

    def killed(run, checkpointer, position):
        save(run, checkpointer, position)
        if position.step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(positions, 'save', killed)
        with contextlib.suppress(KeyboardInterrupt):
            loop.train(assembled(weights, tmp_path, seeds=(1,)))
    (run,) = assembled(weights, tmp_path, seeds=(1,))
    assert positions.latest(run).step == 2
    (resumed,) = loop.train([run])
    assert_trees_close(adapters_of(resumed), adapters_of(unbroken[1][1]), **CLOSE)


def test_what_is_exported_and_asked_is_merged(weights, unbroken):
    runs, trained = unbroken
    run, position = runs[0], trained[0]
    summary = results.finish(run, position)
    _, base = load_student(weights)
    expected = merge_adapters(base, position.best.params, 8.0)
    assert summary['parameters'] == parameter_count(base)
    assert summary['trained_parameters'] == parameter_count(position.best.params)
    architecture, written = load_student(run.workdir / 'hf')
    assert_trees_close(written, jax.tree.map(np.float32, expected), rtol=0, atol=0)
    # Of a checkpoint alone, without an export.
    shutil.rmtree(run.workdir / 'hf')
    exported.describe(run)
    asked = chosen.load(run.config, run.workdir).pipeline
    assert_trees_close(asked.params, jax.tree.map(np.float32, expected), rtol=0, atol=0)
    assert asked.student.config.num_layers == architecture.num_layers


def test_a_discriminator_begins_as_the_frozen_weights(weights, tmp_path):
    (run,) = assembled(weights, tmp_path, seeds=(0,), discriminator__weigh=True)
    _, base = load_student(weights)
    begun = initial.discriminator_parameters(run, initial.student_parameters(run))
    assert_trees_close(begun['encoder'], run.student.encoder.take(base), rtol=0, atol=0)
    (position,) = loop.train([run])
    assert int(position.progress.state.discriminator.updates) == 2
    assert results.finish(run, position)['discriminator_auc_test'] is not None


def test_other_weights_under_the_same_name_are_refused(tmp_path):
    weights = write_weights(tmp_path / 'model.gguf')
    (run,) = assembled(weights, tmp_path, seeds=(0,))
    loop.train([run])
    write_weights(tmp_path / 'model.gguf', 'Q8_0')
    (run,) = assembled(weights, tmp_path, seeds=(0,))
    expected = r'--config\.student\.pretrained: the weights of .*model\.gguf are not those beside'
    with pytest.raises(InputError, match=expected):
        positions.latest(run)
    with pytest.raises(InputError, match=expected):
        chosen.load(run.config, run.workdir)


def test_what_has_no_adapters_is_refused(weights, tmp_path):
    with pytest.raises(InputError, match=r'lora\.rank: adapters stand beside .* a pretrained'):
        validate(config_of('', data__name='mwp'))
    with pytest.raises(InputError, match=r'negatives\.fixed: .* samples adapters'):
        validate(config_of(weights, negatives__source='fixed', negatives__fixed='x'))
    t5 = T5Student(small.t5())
    save_student(tmp_path / 't5', t5.config, t5.init(jax.random.key(0)), None)
    with pytest.raises(InputError, match=r'lora\.rank: .* decoder-only students; .*t5 is a t5'):
        assembly.assemble(config_of(tmp_path / 't5').lock(), tmp_path)
    assert isinstance(assembled(weights, tmp_path, (0,))[0].method.student, LoraStudent)
