"""Runs that end before their last step, and runs whose steps are those of so many epochs."""

import jax
import pytest

from qcrd_jax import files
from qcrd_jax.errors import InputError
from qcrd_jax.evaluation.metrics import Ratio
from qcrd_jax.report import write_report
from qcrd_jax.runs import loop, results
from qcrd_jax.runs import workdir as workdirs
from qcrd_jax.runs.assembly import assemble
from tests.support.runs import read_metrics, small_config
from tests.support.toys import assert_trees_close

pytestmark = pytest.mark.usefixtures('toy_students')

# Right validation questions of 8, by seed, at steps 2, 4, 6 and 8.
RIGHT = {0: (4, 3, 8, 8), 1: (1, 2, 3, 3)}


def assembled(folder, seeds=(0, 1), **train):
    built = []
    for seed in seeds:
        config = small_config()
        config.update(method='finetune', seed=seed)
        config.train.update(steps=8, log_every=4, evaluate_every=2, checkpoint_every=8)
        config.train.update(train)
        config.data.cache = str(folder / 'data')
        (folder / f'seed{seed}').mkdir(parents=True, exist_ok=True)
        workdirs.claim(folder / f'seed{seed}', config)
        twin = built[0] if built else None
        built.append(assemble(config, folder / f'seed{seed}', twin=twin))
    return built


@pytest.fixture
def scripted(monkeypatch):
    asked = {seed: iter(right) for seed, right in RIGHT.items()}
    monkeypatch.setattr(loop, 'validate', lambda run, _: Ratio(next(asked[run.config.seed]), 8))


def params_of(position):
    return jax.device_get(position.progress.state.params)


def test_a_seed_ends_when_it_has_waited_and_the_others_go_on(scripted, tmp_path, monkeypatch):
    runs = assembled(tmp_path, patience=1)
    first, second = loop.train(runs)
    assert (first.step, first.best.step, first.best.accuracy) == (4, 2, 0.5)
    assert (second.step, second.best.step) == (8, 6)
    logged = [record['step'] for record in read_metrics(tmp_path / 'seed0', 'validation')]
    assert logged == [2, 4]
    # It is over after a restart too, and nothing is computed again.
    monkeypatch.setattr(loop, '_advance', None)
    again = loop.train(assembled(tmp_path, patience=1))
    assert [each.step for each in again] == [4, 8]
    summary = results.finish(runs[0], again[0], timed=False)
    assert (summary['steps'], summary['best_step']) == (4, 2)
    assert '4 of 8 steps' in write_report(tmp_path / 'seed0').read_text()


def test_the_seed_that_goes_on_is_the_one_that_it_would_be_alone(scripted, tmp_path):
    _, together = loop.train(assembled(tmp_path / 'together', patience=1))
    (alone,) = _alone(tmp_path / 'alone')
    assert_trees_close(params_of(together), params_of(alone), rtol=1e-4, atol=5e-5)


def _alone(folder):
    with pytest.MonkeyPatch.context() as patch:
        right = iter(RIGHT[1])
        patch.setattr(loop, 'validate', lambda *_: Ratio(next(right), 8))
        return loop.train(assembled(folder, seeds=(1,), patience=1))


def test_more_patience_sees_what_comes_later(scripted, tmp_path):
    (first,) = loop.train(assembled(tmp_path, seeds=(0,), patience=2))
    assert (first.step, first.best.step) == (8, 6)


def test_epochs_are_steps_of_the_data_that_is_there(scripted, tmp_path):
    # 48 questions, of which a half is used, in batches of 4: 6 steps an epoch.
    config = small_config()
    config.update(method='finetune')
    config.data.fraction = 0.5
    config.train.update(epochs=1.1, evaluate_every=100, keep_state=False)
    workdirs.claim(tmp_path, config)
    run = assemble(config, tmp_path)
    assert run.config.train.steps == 7
    assert [float(run.schedule(step)) for step in (0, 7)] == [pytest.approx(1e-3), 0.0]
    (position,) = loop.train([run])
    assert position.step == 7
    assert results.finish(run, position, timed=False)['steps'] == 7
    # The configuration says epochs, and whoever resumes it need not know the steps.
    assert files.read_json(tmp_path / 'config.json')['train']['epochs'] == 1.1
    workdirs.claim(tmp_path, config)
    (again,) = loop.train([assemble(config, tmp_path)])
    assert again.step == 7
    assert '7 steps' in write_report(tmp_path).read_text()
    config.optimizer.warmup_steps = 8
    with pytest.raises(InputError, match=r'at most train.steps \(7\), got 8'):
        assemble(config, tmp_path)
