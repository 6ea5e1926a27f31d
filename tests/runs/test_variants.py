"""`run.py` with other methods and sources of negatives, and with a gradient that explodes."""

import json
import re

import numpy as np
import pytest

from qcrd_jax import files
from tests.support.runs import PATIENCE, Workbench, last_checkpoint, read_metrics


@pytest.fixture(scope='module')
def bench(tmp_path_factory) -> Workbench:
    return Workbench(tmp_path_factory.mktemp('run'))


OTHERS = {  # flags; whether it writes scores, whether it samples negatives
    'finetune': (['--config.method=finetune'], False, False),
    'mi': (['--config.method=mi'], False, False),
    'none': (
        [
            '--config.method=mi_qcrd',
            '--config.negatives.source=none',
            '--config.discriminator.weigh=False',
        ],
        False,
        False,
    ),
    'self_consistency': (
        [
            '--config.negatives.source=self_consistency',
            '--config.loss.scheme=sampling',
            '--config.discriminator.pretrain_steps=0',
        ],
        True,
        False,
    ),
    'fixed': (
        [
            '--config.negatives.source=fixed',
            '--config.discriminator.pretrained=',
            '--config.discriminator.size=tiny',
            '--config.discriminator.holdout=0',
        ],
        True,
        True,
    ),
}


@pytest.mark.parametrize('name', OTHERS)
def test_the_other_methods_and_sources_run(bench, name):
    flags, scores, samples = OTHERS[name]
    workdir = bench.folder / name
    bench.run(workdir, *flags, '--config.train.steps=4', '--config.train.shapes=1')
    summary = json.loads((workdir / 'summary.json').read_text())
    losses = [record['loss'] for record in read_metrics(workdir, 'train')]
    assert len(losses) == 3  # of the windows that end at steps 2, 3 and 4
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert (workdir / 'hf' / 'model.safetensors').is_file()
    assert (workdir / 'scores.json').is_file() == scores
    study = [record for _, record in files.read_jsonl(workdir / 'case_study.jsonl')]
    assert [each['score'] is not None for each in study[0]['rationales']] == [scores] * 3
    assert (summary['pretraining_seconds'] is not None) == (scores and name != 'self_consistency')
    assert (summary['negative_sampling_share'] is not None) == samples


def test_a_gradient_that_is_not_finite_stops_the_run_and_keeps_what_was_before(bench):
    workdir = bench.folder / 'nonfinite'
    flags = ['--config.method=finetune', '--config.optimizer.learning_rate=1e30']
    assert bench.start(workdir, *flags).wait(timeout=PATIENCE) == 1
    last = (workdir / 'stderr').read_text().splitlines()[-1]
    assert re.match(r'error: step [1-7]: the gradient is not finite', last), last
    step, arrays, _ = last_checkpoint(workdir)
    assert step < int(last.split()[2].rstrip(':'))
    assert read_metrics(workdir, 'train')[-1]['nonfinite'] > 0
    assert np.isfinite(np.asarray(arrays['best.embedding'])).all()
