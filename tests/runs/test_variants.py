"""`run.py` with other methods and sources of negatives, and with a gradient that explodes."""

import json
import re

import numpy as np
import pytest

from qcrd_jax import files, modes
from tests.support.runs import PATIENCE, Workbench, last_checkpoint, read_metrics, small_config


@pytest.fixture(scope='module')
def bench(tmp_path_factory) -> Workbench:
    return Workbench(tmp_path_factory.mktemp('run'))


OTHERS = {  # fields; whether it writes scores, whether it samples negatives
    'finetune': ({'method': 'finetune'}, False, False),
    'mi': ({'method': 'mi'}, False, False),
    'none': (
        {'method': 'mi_qcrd', 'negatives.source': 'none', 'discriminator.weigh': False},
        False,
        False,
    ),
    'self_consistency': (
        {
            'negatives.source': 'self_consistency',
            'loss.scheme': 'sampling',
            'discriminator.pretrain_steps': 0,
        },
        True,
        False,
    ),
    'fixed': (
        {
            'negatives.source': 'fixed',
            'discriminator.pretrained': '',
            'discriminator.size': 'tiny',
            'discriminator.holdout': 0.0,
        },
        True,
        True,
    ),
    'kto': ({'method': 'kto'}, False, True),
    'advdistill': ({'method': 'advdistill'}, False, False),
}


@pytest.mark.parametrize('name', OTHERS)
def test_the_other_methods_and_sources_run(tmp_path, toy_students, name):
    fields, scores, samples = OTHERS[name]
    config = small_config()
    shared = {'train.steps': 12, 'train.shapes': 1, 'optimizer.learning_rate': 0.1}
    config.update_from_flattened_dict(shared | fields)
    modes.run('train', config, tmp_path)
    summary = json.loads((tmp_path / 'summary.json').read_text())
    losses = [record['loss'] for record in read_metrics(tmp_path, 'train')]
    assert len(losses) == 8  # windows end at every second and every third step
    assert np.isfinite(losses).all()
    assert losses[-1] < losses[0]
    assert (tmp_path / 'hf' / 'model.safetensors').is_file()
    (launch,) = files.read_json(tmp_path / 'provenance.json')['launches']
    shown = f'jaxlib</th><td class="value">{launch["versions"]["jaxlib"]}</td>'
    assert shown in (tmp_path / 'report' / 'index.html').read_text()
    assert (tmp_path / 'scores.json').is_file() == scores
    study = [record for _, record in files.read_jsonl(tmp_path / 'case_study.jsonl')]
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
