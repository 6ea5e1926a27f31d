"""The loop with several seeds: what each leaves, and a kill that leaves one ahead of another."""

import contextlib

import jax
import numpy as np
import pytest

from qcrd_jax.runs import loop
from qcrd_jax.runs import position as positions
from qcrd_jax.runs.assembly import assemble
from tests.support.runs import read_metrics, small_config
from tests.support.toys import assert_trees_close

SEEDS = (0, 1)


def assembled(folder):
    """Two seeds of a small run, each with its workdir; the second uses the first one's data."""
    built = []
    for seed in SEEDS:
        config = small_config()
        config.update(method='finetune', seed=seed)
        config.train.update(steps=4, log_every=2, evaluate_every=2, checkpoint_every=2)
        config.data.cache = str(folder / 'data')
        twin = built[0] if built else None
        built.append(assemble(config, folder / f'seed{seed}', twin=twin))
    return built


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp('loop')
    return folder, loop.train(assembled(folder))


def params_of(trained):
    return [jax.device_get(run.progress.state.params) for run in trained]


# Together, sums are taken in another order. Adam divides by a gradient's own size: where that is
# all but zero, rounding decides over some hundredths of a step of 1e-3.
CLOSE = {'rtol': 1e-4, 'atol': 5e-5}


def test_every_seed_is_the_run_that_it_would_be_alone(unbroken, tmp_path):
    folder, together = unbroken
    (first, second), built = params_of(together), assembled(tmp_path)
    (single,) = loop.train(built[1:])
    assert_trees_close(second, params_of([single])[0], **CLOSE)
    assert np.abs(first['embedding'] - second['embedding']).max() > 0.1
    ours, theirs = (
        [record for record in read_metrics(place / 'seed1') if record['phase'] != 'test']
        for place in (folder, tmp_path)
    )
    assert [record['step'] for record in ours] == [2, 2, 4, 4]
    for own, other in zip(ours, theirs, strict=True):
        assert own.keys() == other.keys()
        for name in own.keys() - {'phase', 'best'}:
            np.testing.assert_allclose(own[name], other[name], rtol=1e-4, err_msg=name)


def test_a_seed_that_is_behind_after_a_kill_catches_up_first(unbroken, tmp_path, monkeypatch):
    _, together = unbroken
    save, saved = positions.save, []

    def killed(run, checkpointer, position):
        if len(saved) == 3:  # both at step 0 and the first at step 2 are on disk
            raise KeyboardInterrupt
        saved.append((run.config.seed, position.step))
        save(run, checkpointer, position)

    with monkeypatch.context() as patch:
        patch.setattr(positions, 'save', killed)
        with contextlib.suppress(KeyboardInterrupt):
            loop.train(assembled(tmp_path))
    assert saved == [(0, 0), (1, 0), (0, 2)]

    advance, groups = loop._advance, []

    def watched(records, taken, limit):
        groups.append(([each.run.config.seed for each in records], limit))
        return advance(records, taken, limit)

    monkeypatch.setattr(loop, '_advance', watched)
    resumed = loop.train(assembled(tmp_path))
    assert groups == [([1], 2), ([0, 1], 4)]
    for ours, expected in zip(params_of(resumed), params_of(together), strict=True):
        assert_trees_close(ours, expected, **CLOSE)
    for seed in SEEDS:
        steps = [record['step'] for record in read_metrics(tmp_path / f'seed{seed}', 'train')]
        assert steps == [2, 4]
