"""Discriminators of several seeds are pretrained in one program, and each is what it is alone."""

import contextlib
import dataclasses
import functools
import os
import signal

import jax
import numpy as np
import pytest

from qcrd_jax import interruption
from qcrd_jax.errors import InputError
from qcrd_jax.runs import initial, loop, pretraining, pretraining_steps
from qcrd_jax.runs.assembly import assemble
from qcrd_jax.runs.log import MetricsLog
from tests.support.runs import small_config
from tests.support.toy_student import use_toy_students

STEPS = 12


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    """A run of a toy student, whose data and programs others use."""
    with pytest.MonkeyPatch.context() as patch:
        use_toy_students(patch)
        folder = tmp_path_factory.mktemp('toy')
        return assemble(configured(folder, seed=0), folder / 'run')


def configured(folder, **fields):
    config = small_config()
    config.discriminator.pretrain_steps = STEPS
    config.student.dropout = 0.0
    config.train.update(steps=2, log_every=2, evaluate_every=2, checkpoint_every=2)
    config.train.checkpoint_minutes = 1000.0
    config.data.cache = str(folder / 'data')
    config.update_from_flattened_dict(fields)
    return config


def seeds(twin, folder, count=2, **fields):
    """Runs that only differ in their seed, with a cache of their own."""
    return [
        assemble(configured(folder, seed=seed, **fields), folder / f'seed{seed}', twin=twin)
        for seed in range(count)
    ]


def pretrain(runs):
    """Only pretrains, all in one call; returns what was pretrained and what is logged of it."""
    with contextlib.ExitStack() as stack:
        logs = [stack.enter_context(MetricsLog(run.workdir)) for run in runs]
        begun = [pretraining.begin(*each) for each in zip(runs, logs, strict=True)]
        make = [
            functools.partial(
                initial.discriminator_parameters, run, initial.student_parameters(run)
            )
            for run in runs
        ]
        return pretraining.pretrain(begun, make)


@contextlib.contextmanager
def counted(then=lambda count: None):
    """Collects of how many runs each step of a pretraining was; calls a function at each."""
    steps, batch = [], pretraining_steps.batch

    def watched(streams, *args):
        steps.append(len(streams))
        then(len(steps))
        return batch(streams, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pretraining_steps, 'batch', watched)
        yield steps


def assert_close(ours, theirs):
    """Sums are taken in another order, and AdamW divides by their roots: one step moves 1e-3."""
    assert len(ours) == len(theirs)
    for left, right in zip(ours, theirs, strict=True):
        for a, b in zip(jax.tree.leaves(left.state), jax.tree.leaves(right.state), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)
        np.testing.assert_allclose(left.separation, right.separation, rtol=1e-4)
        for record, expected in zip(left.lines, right.lines, strict=True):
            assert record.keys() == expected.keys()
            for name in record.keys() - {'phase', 'seconds_per_step'}:
                np.testing.assert_allclose(record[name], expected[name], rtol=1e-4, err_msg=name)


def assert_same(ours, theirs):
    for left, right in zip(ours, theirs, strict=True):
        for a, b in zip(jax.tree.leaves(left.state), jax.tree.leaves(right.state), strict=True):
            np.testing.assert_array_equal(a, b)
        assert left.separation == right.separation
        for record, expected in zip(left.lines, right.lines, strict=True):
            assert record | {'seconds_per_step': 0} == expected | {'seconds_per_step': 0}


def test_each_seed_is_what_it_is_by_itself(tmp_path):
    # The students of the models, not toys.
    fields = {'discriminator.pretrain_steps': 4}
    run = assemble(configured(tmp_path, **fields), tmp_path / 'run')
    with counted() as steps:
        together = pretrain(seeds(run, tmp_path / 'together', **fields))
    assert steps == [2] * 4
    with counted() as steps:
        alone = [pretrain([each])[0] for each in seeds(run, tmp_path / 'alone', **fields)]
    assert steps == [1] * 8
    assert_close(together, alone)
    losses = [each.lines[0]['loss'] for each in alone]
    assert abs(losses[0] - losses[1]) > 0.01  # they are others


def test_only_those_that_were_not_pretrained_before_are(toy, tmp_path, capsys):
    expected = pretrain(seeds(toy, tmp_path / 'apart', 3))
    _, middle, _ = seeds(toy, tmp_path, 3)
    (before,) = pretrain([dataclasses.replace(middle, workdir=tmp_path / 'before')])
    with counted() as steps:
        done = pretrain(seeds(toy, tmp_path, 3))
    assert steps == [2] * STEPS
    assert capsys.readouterr().out.count('the discriminator was pretrained before (') == 1
    assert_same([done[1]], [before])
    assert_close(done, expected)


def test_batches_are_padded_to_what_holds_those_of_all_seeds():
    def batch(source, negatives, first):
        ids = np.arange(first, first + 2 * source, dtype=np.int32).reshape(2, source)
        mask = np.ones((2, negatives), bool)
        return {'question_ids': ids, 'negative_mask': mask}

    stacked = pretraining_steps._stacked([batch(3, 1, 10), batch(2, 2, 50)], pad_id=7)
    np.testing.assert_array_equal(
        stacked['question_ids'], [[[10, 11, 12], [13, 14, 15]], [[50, 51, 7], [52, 53, 7]]]
    )
    np.testing.assert_array_equal(
        stacked['negative_mask'],
        [[[True, False], [True, False]], [[True, True], [True, True]]],
    )
    assert stacked['question_ids'].dtype == np.int32


@contextlib.contextmanager
def interrupted(step):
    """Expects that a signal that comes in a step ends it after the step, which is saved."""

    def signalled(count):
        if count == step:
            os.kill(os.getpid(), signal.SIGTERM)

    said = pytest.raises(interruption.Interrupted, match=f'step {step} of the pretraining is saved')
    with interruption.handled(), said, interruption.polling(), counted(signalled) as steps:
        yield steps


def test_interrupted_they_resume_together(toy, tmp_path):
    expected = pretrain(seeds(toy, tmp_path / 'whole'))
    runs = seeds(toy, tmp_path / 'stopped')
    with interrupted(11) as steps:
        pretrain(runs)
    assert steps == [2] * 11
    with counted() as steps:
        assert_same(pretrain(runs), expected)
    assert steps == [2]


def test_who_is_behind_after_a_kill_catches_up_first(toy, tmp_path):
    expected = pretrain(seeds(toy, tmp_path / 'whole'))
    runs = seeds(toy, tmp_path / 'killed')
    with interrupted(4):
        pretrain(runs[1:])
    with counted() as steps:
        done = pretrain(runs)
    assert steps == [1] * 4 + [2] * (STEPS - 4)
    assert_close(done, expected)


def test_a_gradient_that_is_not_finite_is_said_of_its_seed(toy, tmp_path, monkeypatch):
    runs, made = seeds(toy, tmp_path, 2), initial.discriminator_parameters

    def broken(run, theta_0):
        params = made(run, theta_0)
        return jax.tree.map(lambda leaf: leaf * np.nan, params) if run.config.seed == 1 else params

    monkeypatch.setattr(initial, 'discriminator_parameters', broken)
    with pytest.raises(InputError, match='discriminator, step 0: the gradient is not finite'):
        pretrain(runs)
    assert (runs[0].workdir / 'metrics.jsonl').read_text() == ''
    assert '"nonfinite": 1' in (runs[1].workdir / 'metrics.jsonl').read_text()


def test_seeds_that_train_together_pretrain_together(toy, tmp_path):
    with counted() as steps:
        reached = loop.train(seeds(toy, tmp_path))
    assert steps == [2] * STEPS
    assert [position.step for position in reached] == [2, 2]
    assert [position.separation is None for position in reached] == [False, False]
