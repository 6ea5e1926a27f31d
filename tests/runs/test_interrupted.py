"""Interrupted wherever a run can stop, and resumed: nothing differs from a whole run."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal

import jax
import numpy as np
import pytest

from qcrd_jax import interruption
from qcrd_jax.interruption import Interrupted
from qcrd_jax.methods.compiled import Programs
from qcrd_jax.runs import loop, pretraining_steps
from qcrd_jax.runs import position as positions
from qcrd_jax.runs.assembly import assemble
from tests.support.runs import read_metrics, small_config

STEPS = 8

pytestmark = pytest.mark.usefixtures('toy_students')


@pytest.fixture(scope='module')
def whole(tmp_path_factory, toy_students):
    """A run that nothing disturbed, as it was built and where it ended."""
    folder = tmp_path_factory.mktemp('whole')
    config = small_config()
    # A window of several programs (two chunks of two steps, then single ones), to stop within.
    config.train.update(steps=STEPS, log_every=5, evaluate_every=6, checkpoint_every=5)
    config.train.share_pretraining = False  # each pretrains its own, to be interrupted in that
    config.data.cache = str(folder / 'data')
    run = assemble(config, folder / 'run')
    (position,) = loop.train([run])
    return run, position


def again(whole, workdir):
    """The same run in another workdir; it uses what was compiled."""
    run, _ = whole
    return assemble(run.config, workdir, twin=run)


@contextlib.contextmanager
def signalled_at(place):
    """Sends SIGTERM when a function is called for the n-th time: `place` is (owner, name, n)."""
    owner, name, count = place
    original, calls = getattr(owner, name), 0

    def counted(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == count:
            os.kill(os.getpid(), signal.SIGTERM)
        return original(*args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, counted)
        yield


def interrupted(run, place):
    """Trains until a signal comes at a place; returns what the interruption says."""
    with interruption.handled(), signalled_at(place), pytest.raises(Interrupted) as caught:
        loop.train([run])
    assert caught.value.status == 143
    return str(caught.value)


def assert_same_end(run, position, whole):
    expected_run, expected = whole
    assert position.step == expected.step
    assert (position.best.step, position.best.accuracy) == (
        expected.best.step,
        expected.best.accuracy,
    )
    assert position.separation == expected.separation
    for ours, theirs in zip(
        jax.tree.leaves((position.progress, position.best.params)),
        jax.tree.leaves((expected.progress, expected.best.params)),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
    assert read_metrics(run.workdir) == read_metrics(expected_run.workdir)


# Programs of the run: chunks of steps 0-1 and 2-3, step 4 (window ends), 5 (validated after), 6, 7.
@pytest.mark.parametrize(
    ('program', 'step'), [(1, 2), (2, 4), (3, 5), (4, 6), (5, 8)], ids=lambda value: str(value)
)
def test_after_any_program_the_step_is_saved_and_resumed(whole, tmp_path, program, step):
    run = again(whole, tmp_path)
    said = interrupted(run, (Programs, 'take', program))
    assert f'step {step} is saved; run the same command again' in said
    (position,) = loop.train([run])
    assert_same_end(run, position, whole)


def test_the_programs_are_those_that_the_test_means(whole, tmp_path, monkeypatch):
    run, taken, take = again(whole, tmp_path), [], Programs.take

    def watched(self, progress, ready, *rest):
        before = taken[-1][1] if taken else 0
        taken.append((before, before + len(ready.batches)))
        return take(self, progress, ready, *rest)

    monkeypatch.setattr(Programs, 'take', watched)
    loop.train([run])
    assert taken == [(0, 2), (2, 4), (4, 5), (5, 6), (6, 8)]


@pytest.mark.parametrize(('call', 'step'), [(1, 6), (2, 8)])
def test_an_interrupted_validation_is_made_up_for(whole, tmp_path, call, step):
    run = again(whole, tmp_path)
    assert f'step {step} is saved' in interrupted(run, (loop, 'validate', call))
    assert len(read_metrics(tmp_path, 'validation')) == call - 1
    (position,) = loop.train([run])
    assert_same_end(run, position, whole)


def test_what_validation_said_before_an_interrupted_window_stays_in_the_log(whole, tmp_path):
    config = small_config()
    config.method = 'finetune'  # single steps
    config.train.update(steps=8, log_every=8, evaluate_every=4, checkpoint_every=8)
    config.data.cache = whole[0].config.data.cache
    run = assemble(config, tmp_path / 'whole')
    unbroken = run, loop.train([run])[0]
    again = assemble(config, tmp_path / 'stopped', twin=run)
    assert 'step 6 is saved' in interrupted(again, (Programs, 'take', 6))
    (position,) = loop.train([again])
    assert_same_end(again, position, unbroken)
    assert [line['step'] for line in read_metrics(again.workdir, 'validation')] == [4, 8]


def test_one_interruption_after_another(whole, tmp_path):
    run = again(whole, tmp_path)
    for place in (
        (pretraining_steps, 'joined_length', 2),
        (pretraining_steps, 'joined_length', 1),
        (positions, 'first', 1),  # in between: what is saved next is the position before step 0
        (Programs, 'take', 1),
        (loop, 'validate', 1),
        (loop, 'validate', 1),  # again, as it resumes
        (Programs, 'take', 1),
    ):
        interrupted(run, place)
    (position,) = loop.train([run])
    assert_same_end(run, position, whole)


def test_the_pretraining_resumes_at_its_step(whole, tmp_path, capsys):
    run = again(whole, tmp_path)
    said = interrupted(run, (pretraining_steps, 'joined_length', 3))
    assert 'step 3 of the pretraining is saved' in said
    assert sorted(path.name for path in (tmp_path / 'pretraining').iterdir()) == ['0', '3']
    (position,) = loop.train([run])
    assert 'resuming the pretraining of the discriminator from step 3' in capsys.readouterr().out
    assert_same_end(run, position, whole)
    assert not (tmp_path / 'pretraining').exists()


def test_a_pretraining_that_was_killed_logs_no_line_twice(whole, tmp_path):
    def built(folder, twin=None):
        config = small_config()
        config.discriminator.pretrain_steps = 25
        # Steps 10 and 20 are logged; beside the first step nothing is saved.
        config.train.update(steps=2, log_every=2, evaluate_every=2, checkpoint_minutes=1000.0)
        config.train.share_pretraining = False
        config.data.cache = whole[0].config.data.cache
        return assemble(config, tmp_path / folder, twin=twin)

    unbroken = built('whole')
    loop.train([unbroken])
    killed, taken, count = built('killed', unbroken), pretraining_steps.joined_length, 0

    def kill_at_step_15(*args):
        nonlocal count
        count += 1
        if count == 15:
            raise RuntimeError('killed')
        return taken(*args)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(RuntimeError, match='killed'):
        patch.setattr(pretraining_steps, 'joined_length', kill_at_step_15)
        loop.train([killed])
    assert [line['step'] for line in read_metrics(killed.workdir)] == [10]
    loop.train([killed])
    assert [line['step'] for line in read_metrics(killed.workdir, 'discriminator')] == [10, 20, 25]
    assert read_metrics(killed.workdir) == read_metrics(unbroken.workdir)


def test_a_damaged_checkpoint_of_the_pretraining_falls_back(whole, tmp_path):
    run = again(whole, tmp_path)
    interrupted(run, (pretraining_steps, 'joined_length', 3))
    shutil.rmtree(tmp_path / 'pretraining' / '3' / 'state')
    (position,) = loop.train([run])
    assert_same_end(run, position, whole)


def test_two_seeds_that_were_interrupted_in_their_validation(whole, tmp_path):
    def seeds(folder):
        built = []
        for seed in (0, 1):
            config = small_config()
            config.update(seed=seed, method='finetune')
            config.train.update(steps=4, log_every=2, evaluate_every=2, checkpoint_every=2)
            config.data.cache = whole[0].config.data.cache
            built.append(assemble(config, folder / str(seed), twin=built[0] if built else None))
        return built

    expected = loop.train(seeds(tmp_path / 'whole'))
    runs = seeds(tmp_path / 'stopped')
    # The first seed is validated and its line is written; the second one's is not.
    with interruption.handled(), signalled_at((loop, 'validate', 2)), pytest.raises(Interrupted):
        loop.train(runs)
    resumed = loop.train(runs)
    for seed, (ours, theirs) in enumerate(zip(resumed, expected, strict=True)):
        for left, right in zip(
            jax.tree.leaves(ours.progress), jax.tree.leaves(theirs.progress), strict=True
        ):
            np.testing.assert_array_equal(left, right)
        stopped, unbroken = (
            read_metrics(tmp_path / name / str(seed)) for name in ('stopped', 'whole')
        )
        assert stopped == unbroken


def test_the_time_of_a_window_is_that_of_its_parts(whole, tmp_path):
    run = again(whole, tmp_path)
    interrupted(run, (Programs, 'take', 2))
    with loop.Checkpointer(tmp_path / 'checkpoints') as checkpointer:
        position = positions.restore(run, checkpointer)
    assert position is not None
    assert position.window.steps == 4
    before = position.window.seconds
    assert before > 0
    loop.train([run])
    lines = (tmp_path / 'metrics.jsonl').read_text().splitlines()
    first = next(record for record in map(json.loads, lines) if record['phase'] == 'train')
    assert first['step'] == 5
    assert first['seconds_per_step'] * 5 > before
    assert dataclasses.asdict(position.window)['in_a_row'] == 0
