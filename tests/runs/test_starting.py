"""How a run starts: not anew where one was, not without room; and one that learns nothing ends."""

import shutil

import jax
import numpy as np
import pytest

from qcrd_jax.errors import InputError
from qcrd_jax.runs import disk, loop
from qcrd_jax.runs import position as positions
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.assembly import assemble
from tests.support.runs import read_metrics, small_config

pytestmark = pytest.mark.usefixtures('toy_students')


def assembled(folder, **train):
    """A small run of fine-tuning."""
    return assemble(configured(**train), folder)


def configured(**train):
    config = small_config()
    config.method = 'finetune'
    settings = {'steps': 4, 'log_every': 2, 'evaluate_every': 2, 'checkpoint_every': 2}
    config.train.update(settings | train)
    return config


def damage(workdir):
    for path in (workdir / 'checkpoints').rglob('d/*'):
        path.write_bytes(path.read_bytes()[:-20])


def test_where_no_checkpoint_is_whole_a_run_starts_anew_only_if_it_is_asked_to(tmp_path):
    run = assembled(tmp_path)
    workdirs.claim(run.workdir, run.config)
    written = (run.workdir / 'config.json').read_bytes()
    (expected,) = loop.train([run])
    damage(run.workdir)
    before = (run.workdir / 'metrics.jsonl').read_bytes()
    with pytest.raises(InputError, match=r'no checkpoint is whole.*--config\.train\.restart=True'):
        loop.train([run])
    assert (run.workdir / 'metrics.jsonl').read_bytes() == before
    shutil.rmtree(run.workdir / 'checkpoints')
    with pytest.raises(InputError, match=r'holds metrics\.jsonl of a run, but no checkpoint'):
        loop.train([run])
    assert (run.workdir / 'metrics.jsonl').read_bytes() == before

    restarting = assemble(configured(restart=True), run.workdir, twin=run)
    (again,) = loop.train([restarting])
    embedding = again.progress.state.params['embedding']
    np.testing.assert_array_equal(embedding, expected.progress.state.params['embedding'])
    assert (run.workdir / 'previous-1' / 'metrics.jsonl').read_bytes() == before
    assert (run.workdir / 'config.json').read_bytes() == written
    assert (run.workdir / 'previous-1' / 'config.json').read_bytes() == written
    steps = [record['step'] for record in read_metrics(run.workdir, 'train')]
    assert steps == [2, 4]


def test_a_folder_of_a_step_that_orbax_does_not_list_is_no_reason_to_start_anew(tmp_path):
    run = assembled(tmp_path)
    (run.workdir / 'checkpoints' / '7').mkdir(parents=True)
    with pytest.raises(InputError, match='checkpoint'):
        loop.train([run])
    assert [path.name for path in (run.workdir / 'checkpoints').iterdir()] == ['7']


def test_a_disk_that_is_too_small_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    run = assembled(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, 'disk_usage', lambda _: usage._replace(free=5 << 20))
    with pytest.raises(InputError, match=r'5\.0 MiB are free, and \d+\.\d MiB are expected'):
        loop.train([run])
    assert [path.name for path in run.workdir.iterdir()] == ['data']


def test_what_a_run_needs_of_the_disk_is_more_than_it_ever_takes(tmp_path):
    run = assembled(tmp_path)
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


def test_updates_that_are_never_finite_end_a_run_that_skips_them(tmp_path):
    every = {'steps': 40, 'log_every': 10, 'evaluate_every': 40, 'checkpoint_every': 10}
    config = configured(on_nonfinite='skip', nonfinite_limit=12, **every)
    config.optimizer.learning_rate = 1e30
    run = assemble(config, tmp_path)
    with pytest.raises(InputError, match=r'step 1\d: .* in 12 steps in a row|more than half'):
        loop.train([run])
    position = positions.latest(run)
    assert position.step in (0, 10)
    assert np.isfinite(position.best.params['embedding']).all()
