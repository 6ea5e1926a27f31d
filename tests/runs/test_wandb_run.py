"""Numbers of a run in Weights & Biases: what is sent, and that no fault of theirs ends a run."""

import json
import sys
import types

import pytest

from qcrd_jax.errors import InputError
from qcrd_jax.runs.log import MetricsLog


class Run:
    """What `wandb.init` returns, as far as it is used."""

    def __init__(self, fails_at=None):
        self.sent, self.axes, self.ended, self.fails_at = [], {}, 0, fails_at

    def define_metric(self, name, step_metric):
        self.axes[name] = step_metric

    def log(self, values):
        if len(self.sent) == self.fails_at:
            raise ConnectionError('the network is gone')
        self.sent.append(values)

    def finish(self):
        self.ended += 1


@pytest.fixture
def wandb(monkeypatch):
    module = types.ModuleType('wandb')
    module.asked, module.runs = [], []

    def init(**asked):
        module.asked.append(asked)
        module.runs.append(Run(module.fails_at))
        return module.runs[-1]

    module.init, module.Settings, module.fails_at = init, dict, None
    monkeypatch.setitem(sys.modules, 'wandb', module)
    return module


def test_every_phase_counts_its_own_steps(wandb, tmp_path):
    (tmp_path / 'config.json').write_text(json.dumps({'seed': 3}))
    with MetricsLog(tmp_path, 'mine') as log:
        log.write('discriminator', 50, {'loss': 0.5})
        log.write('train', 2, {'loss': 1.5, 'norm': float('nan'), 'best': True})
        log.write('train', 4, {'loss': 1.0})
    (asked,), (run,) = wandb.asked, wandb.runs
    assert (asked['project'], asked['config'], asked['resume']) == ('mine', {'seed': 3}, 'allow')
    assert run.axes == {
        'discriminator/*': 'discriminator/step',
        'train/*': 'train/step',
    }
    assert run.sent == [
        {'discriminator/step': 50, 'discriminator/loss': 0.5},
        {'train/step': 2, 'train/loss': 1.5},
        {'train/step': 4, 'train/loss': 1.0},
    ]
    assert run.ended == 1
    # A run that resumes is the same one, and another workdir another.
    MetricsLog(tmp_path, 'mine').close()
    MetricsLog(tmp_path / 'other', 'mine').close()
    first, again, other = (each['id'] for each in wandb.asked)
    assert first == again != other


def test_a_fault_ends_the_copy_and_not_the_run(wandb, tmp_path, log):
    wandb.fails_at = 1
    with MetricsLog(tmp_path, 'mine') as metrics:
        for step in range(3):
            metrics.write('train', step, {'loss': 1.0})
    assert len((tmp_path / 'metrics.jsonl').read_text().splitlines()) == 3
    assert len(wandb.runs[0].sent) == 1
    said = {each.getMessage() for each in log.records}
    assert said == {
        'Weights & Biases gets no more of this run (ConnectionError: the network is gone); '
        'metrics.jsonl has all of it.'
    }


def test_without_the_package_the_field_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'wandb', None)
    with pytest.raises(InputError, match=r'--config.train.wandb: mine: .* pip install wandb'):
        MetricsLog(tmp_path, 'mine')


def test_without_a_project_nothing_is_sent(wandb, tmp_path):
    with MetricsLog(tmp_path) as metrics:
        metrics.write('train', 1, {'loss': 1.0})
    assert wandb.asked == []
