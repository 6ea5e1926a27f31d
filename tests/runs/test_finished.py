"""What a finished run keeps: enough to be asked, exported and reported again."""

import json

import jax
import numpy as np
import pytest

from qcrd_jax import sums
from qcrd_jax.errors import InputError
from qcrd_jax.runs import exported, loop, results
from qcrd_jax.runs import position as positions
from qcrd_jax.runs.assembly import assemble
from qcrd_jax.runs.checkpoint import Checkpointer
from tests.support.runs import TIMINGS, small_config

RESULTS = ('predictions.jsonl', 'scores.json', 'case_study.jsonl', 'hf/model.safetensors')

pytestmark = pytest.mark.usefixtures('toy_students')


@pytest.fixture(scope='module')
def finished(tmp_path_factory, toy_students):
    folder = tmp_path_factory.mktemp('finished')
    config = small_config()
    config.train.update(steps=4, log_every=2, evaluate_every=4, keep_state=False)
    config.evaluation.case_temperatures = (0.0,)
    run = assemble(config, folder)
    (position,) = loop.train([run])
    results.finish(run, position)
    return run


def left_of(run):
    written = {name: (run.workdir / name).read_bytes() for name in RESULTS}
    summary = json.loads((run.workdir / 'summary.json').read_text())
    log = [json.loads(line) for line in (run.workdir / 'metrics.jsonl').read_text().splitlines()]
    for record in (summary, *log):
        for name in TIMINGS & record.keys():
            assert record.pop(name) is not None
    return written, summary, log


def test_only_the_student_and_its_discriminator_are_kept(finished):
    with Checkpointer(finished.workdir / 'checkpoints') as checkpointer:
        assert checkpointer.steps() == [4]
        names = checkpointer._read_record(4)['arrays']
    parts = {'.'.join(name.split('.')[:4]) for name in names}
    assert {part for part in parts if not part.startswith('best.')} == {
        'progress.state.step',
        'progress.state.discriminator.params',
        'progress.state.discriminator.updates',
    }
    used = sum(
        path.stat().st_size
        for path in (finished.workdir / 'checkpoints').rglob('*')
        if path.is_file()
    )
    student, discriminator = (
        sum(leaf.nbytes for leaf in jax.tree.leaves(model.init(jax.random.key(0))))
        for model in (finished.student, finished.discriminator)
    )
    assert used < 1.1 * (student + discriminator) + 100_000


def test_run_again_it_says_the_same_and_trains_nothing(finished):
    before = left_of(finished)
    run = assemble(finished.config, finished.workdir, twin=finished)
    (position,) = loop.train([run])
    assert position.progress.state.opt_state is None
    results.finish(run, position)
    assert left_of(run) == before


def test_its_results_have_digests_that_coreutils_would_check(finished):
    assert sums.faults(finished.workdir, {'predictions.jsonl', 'scores.json', 'summary.json'}) == []
    with open(finished.workdir / 'predictions.jsonl', 'ab') as file:
        file.write(b' ')
    assert 'predictions.jsonl' in ' '.join(
        sums.faults(finished.workdir, {'predictions.jsonl', 'summary.json'})
    )


@pytest.mark.parametrize('value', [np.nan, np.inf, 1e6])
def test_a_student_that_has_diverged_is_not_exported(finished, tmp_path, value):
    run = assemble(finished.config, tmp_path, twin=finished)
    position = positions.latest(finished)
    embedding = np.array(position.best.params['embedding'])
    embedding[3, 2] = value
    best = position.best._replace(params={**position.best.params, 'embedding': embedding})
    with pytest.raises(InputError, match='student: embedding has weights of magnitude'):
        exported.export(run, best.params, position.scales)
    assert not (tmp_path / 'hf').exists()
