"""The loop with several seeds: what each leaves, and a kill that leaves one ahead of another."""

import contextlib
import shutil

import jax
import numpy as np
import pytest

from qcrd_jax.errors import InputError
from qcrd_jax.runs import disk, loop
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


def test_every_seed_is_the_run_that_it_would_be_alone(unbroken, tmp_path):
    folder, together = unbroken
    (first, second), built = params_of(together), assembled(tmp_path)
    (single,) = loop.train(built[1:])
    assert_trees_close(second, params_of([single])[0], rtol=1e-4, atol=1e-5)
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
        assert_trees_close(ours, expected, rtol=1e-4, atol=1e-5)
    for seed in SEEDS:
        steps = [record['step'] for record in read_metrics(tmp_path / f'seed{seed}', 'train')]
        assert steps == [2, 4]


def damage(workdir):
    for path in (workdir / 'checkpoints').rglob('d/*'):
        path.write_bytes(path.read_bytes()[:-20])


def test_where_no_checkpoint_is_whole_a_run_starts_anew_only_if_it_is_asked_to(unbroken, tmp_path):
    _, together = unbroken
    run = assembled(tmp_path)[0]
    loop.train([run])
    damage(run.workdir)
    before = (run.workdir / 'metrics.jsonl').read_bytes()
    with pytest.raises(InputError, match=r'no checkpoint is whole.*--config\.train\.restart=True'):
        loop.train([run])
    assert (run.workdir / 'metrics.jsonl').read_bytes() == before
    shutil.rmtree(run.workdir / 'checkpoints')
    with pytest.raises(InputError, match=r'holds metrics\.jsonl of a run, but no checkpoint'):
        loop.train([run])
    assert (run.workdir / 'metrics.jsonl').read_bytes() == before

    config = small_config()
    config.update(run.config.to_dict())
    config.train.restart = True
    (again,) = loop.train([assemble(config, run.workdir, twin=run)])
    assert_trees_close(params_of([again])[0], params_of(together)[0], rtol=1e-4, atol=1e-5)
    assert (run.workdir / 'previous-1' / 'metrics.jsonl').read_bytes() == before
    steps = [record['step'] for record in read_metrics(run.workdir, 'train')]
    assert steps == [2, 4]


def test_a_folder_of_a_step_that_orbax_does_not_list_is_no_reason_to_start_anew(tmp_path):
    run = assembled(tmp_path)[0]
    (run.workdir / 'checkpoints' / '7').mkdir(parents=True)
    with pytest.raises(InputError, match='checkpoint'):
        loop.train([run])
    assert [path.name for path in (run.workdir / 'checkpoints').iterdir()] == ['7']


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    run = assembled(tmp_path)[0]
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage._replace(free=20_000_000))
    with pytest.raises(InputError, match=r'20\.0 MB are free, and \d+\.\d MB are expected'):
        loop.train([run])
    assert not list(run.workdir.iterdir())


def test_what_a_run_needs_of_the_disk_is_more_than_it_ever_takes(tmp_path):
    run = assembled(tmp_path)[0]
    sizes = []

    class Watched(loop.Checkpointer):
        def wait(self):
            super().wait()
            sizes.append(disk.used(run.workdir))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, 'Checkpointer', Watched)
        loop.train([run])
    assert len(sizes) >= 3
    # Without the allowance for logs: theta, two moments, and the best student, three times.
    weights = sum(leaf.nbytes for leaf in jax.tree.leaves(run.student.init(jax.random.key(0))))
    need = disk.need(*positions.saved_bytes(run))
    assert need - disk._REST == pytest.approx(13 * weights, rel=1e-3)
    assert max(sizes) < need


def test_updates_that_are_never_finite_end_a_run_that_skips_them(tmp_path, capsys):
    config = small_config()
    config.update(method='finetune')
    config.train.update(steps=40, log_every=10, evaluate_every=40, checkpoint_every=10)
    config.train.update(on_nonfinite='skip', nonfinite_limit=12)
    config.optimizer.learning_rate = 1e30
    run = assemble(config, tmp_path)
    with pytest.raises(InputError, match=r'step 1\d: .* in 12 steps in a row|more than half'):
        loop.train([run])
    position = positions.latest(run)
    assert position.step in (0, 10)
    assert np.isfinite(position.best.params['embedding']).all()
